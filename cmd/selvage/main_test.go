package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/api/admin"
	"selvage/internal/netmap"
	"selvage/internal/store"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"selvage": func() { os.Exit(start()) }})
}

// waitingCode is the code of a device that waits for a person in each script.
const waitingCode = "waiting0code"

// TestScripts runs the commands against the admin API of a server on a database of
// its own, in the test's process. Beside those of testscript there are the commands
//
//	exits CODE COMMAND...      the command ends with that exit code
//	join NAME [LOGIN [ROUTE...]]  a device joins, of the owner if there is no login
//	field FIELD NAME           puts a field of the JSON object in stdout into $NAME
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup:               setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits,
			"join":  cmdJoin,
			"field": cmdField,
		},
	})
}

// setupScript starts a server for one script.
func setupScript(env *testscript.Env) error {
	// The path of a socket may have about 100 bytes, which the folder of a script can
	// go beyond.
	dir, err := os.MkdirTemp("", "slv")
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(dir) })
	ctx := context.Background()
	master := make([]byte, store.MasterKeySize)
	db, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, "selvage.db"), store.Options{MasterKey: master})
	if err != nil {
		return err
	}
	env.Defer(func() { db.Close() })
	log := slog.New(slog.DiscardHandler)
	hub, err := netmap.Open(ctx, netmap.Options{DB: db, Logger: log})
	if err != nil {
		return err
	}
	api := admin.New(admin.Options{
		Hub: hub, DB: db, Logger: log, Version: admin.Version{Version: "1.2.3"},
		URL: func() string { return "https://vpn.example.com" },
		Config: func() map[string]any {
			return map[string]any{"listen": ":443", "relay": map[string]any{"enabled": true}}
		},
		Register: func(ctx context.Context, actor selvage.Actor, n *netmap.Net, code string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error) {
			if code != waitingCode {
				return nil, selvage.Errorf(selvage.KindNotFound, "no device waits with the code %q", code)
			}
			return n.Join(ctx, actor, device("waiting", netmap.Join{User: user, Tags: tags, Preapproved: preapproved}))
		},
		Ping: func(context.Context, selvage.Actor, *netmap.Net, *netmap.Node, netip.Addr, string) (admin.Pong, error) {
			return admin.Pong{LatencySeconds: 0.0123, Endpoint: "192.0.2.1:41641"}, nil
		},
	})
	socket, err := net.Listen("unix", filepath.Join(dir, "selvage.sock"))
	if err != nil {
		return err
	}
	local := &http.Server{Handler: api.Local()}
	go local.Serve(socket) // ends with Close
	env.Defer(func() { local.Close() })
	remote := httptest.NewServer(api.Remote())
	env.Defer(remote.Close)
	env.Values[hubKey{}] = hub
	env.Setenv("SELVAGE_DATA_DIR", dir)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("REMOTE", remote.URL)
	env.Setenv("TZ", "UTC")
	// With the race detector a program sleeps for a second before it ends, unless
	// it is told otherwise; the scripts run a hundred programs.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	return nil
}

type hubKey struct{}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("the exit code is %d, want %d", got, want)
	}
}

// device completes a Join with keys and a host name.
func device(host string, j netmap.Join, routes ...netip.Prefix) netmap.Join {
	j.Machine, j.Key, j.Cap = key.NewMachine().Public(), key.NewNode().Public(), 130
	j.Hostinfo = &tailcfg.Hostinfo{Hostname: host, OS: "linux", IPNVersion: "1.98.1-tabc", RoutableIPs: routes}
	return j
}

func cmdJoin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: join NAME [LOGIN [ROUTE...]]")
	}
	n := ts.Value(hubKey{}).(*netmap.Hub).Nets()[0]
	u := n.View().Owner()
	if len(args) > 1 {
		var err error
		u, err = n.View().UserByLogin(args[1])
		ts.Check(err)
	}
	var routes []netip.Prefix
	for _, r := range args[min(2, len(args)):] {
		p, err := netip.ParsePrefix(r)
		ts.Check(err)
		routes = append(routes, p)
	}
	_, err := n.Join(context.Background(), selvage.Local(), device(args[0], netmap.Join{User: u.ID}, routes...))
	ts.Check(err)
}

func cmdField(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field FIELD NAME")
	}
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &object))
	value, ok := object[args[0]]
	if !ok {
		ts.Fatalf("there is no field %q", args[0])
	}
	ts.Setenv(args[1], fmt.Sprint(value))
}

// scriptTime is a moment for tests of what depends on the clock.
func scriptTime() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
