package demo

import (
	"context"
	"encoding/json"
	"fmt"

	"tailscale.com/types/logger"

	"selvage"
	"selvage/internal/netmap"
)

// clientLog returns where the client engines log.
func (d *demo) clientLog() logger.Logf {
	if !d.o.Verbose {
		return logger.Discard
	}
	return func(format string, args ...any) { d.o.Log.Debug(fmt.Sprintf(format, args...)) }
}

func (d *demo) closeDevices() {
	for _, dev := range []*device{d.laptop, d.database, d.build} {
		if dev != nil {
			dev.ts.Close()
		}
	}
}

// invite says how to look around and how to join a device of one's own.
func (d *demo) invite(ctx context.Context) error {
	link, err := d.srv.OwnerLink(ctx, d.net)
	if err != nil {
		return err
	}
	key, err := d.newKey(ctx, selvage.AuthKey{User: d.alice.ID, Reusable: true, Ephemeral: true})
	if err != nil {
		return err
	}
	if d.o.JSON {
		return json.NewEncoder(d.o.Out).Encode(map[string]string{
			"ownerLink": link, "url": d.srv.URL(), "authKey": key, "dataDir": d.dir,
		})
	}
	d.title("Now you")
	fmt.Fprintf(d.o.Out, `  Look around (the link works once and signs you in as the owner):

      %s

  Join a device of your own, as Alice:

      sudo tailscale up --login-server=%s --auth-key=%s

  Ask the server, in another terminal:

      selvage --data-dir %s node list

  Ctrl-C ends the demo and removes all of it.

`, link, d.srv.URL(), key, d.dir)
	return nil
}

// stay tells of devices that come and go, until ctx ends.
func (d *demo) stay(ctx context.Context) error {
	v := d.net.View()
	known := online(v)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-v.Superseded():
		}
		v = d.net.View()
		now := online(v)
		for name := range now {
			if !known[name] {
				d.tellOf(name, true)
			}
		}
		for name := range known {
			if !now[name] {
				d.tellOf(name, false)
			}
		}
		known = now
	}
}

// tellOf says that a device came or went.
func (d *demo) tellOf(device string, connected bool) {
	switch {
	case d.o.JSON:
		json.NewEncoder(d.o.Out).Encode(map[string]any{"device": device, "connected": connected})
	case connected:
		fmt.Fprintf(d.o.Out, "  %s is connected\n", device)
	default:
		fmt.Fprintf(d.o.Out, "  %s is gone\n", device)
	}
}

func online(v *netmap.View) map[string]bool {
	names := map[string]bool{}
	for n := range v.Nodes() {
		if n.Online {
			names[n.Name] = true
		}
	}
	return names
}
