// Command natlab builds a test network by hand, to look around in it. It owns the
// command line only; the network is package natlab.
//
//	natlab up [-prefix p] KIND...     a public segment with the hosts srv and srv2, and for
//	                                  each KIND a router r1, r2, ... with that NAT
//	                                  and one host c1, c2, ... behind it
//	natlab exec [-prefix p] HOST CMD...
//	natlab down [-prefix p]
//
// KIND is easy, hard, fullcone, udpblocked, firewall, webonly or public (no
// router). "up" stays in the foreground until it is interrupted.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"selvage/test/natlab"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: natlab up|exec|down [-prefix p] ...")
	}
	fs := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	prefix := fs.String("prefix", "nlab", "the lab's name, which begins the name of all it makes")
	fs.Parse(os.Args[2:])
	var err error
	switch os.Args[1] {
	case "up":
		err = up(*prefix, fs.Args())
	case "down":
		err = natlab.Remove(*prefix)
	case "exec":
		err = enter(*prefix, fs.Args())
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}

// core is the router of the public segment.
const core = "203.0.113.1"

func enter(prefix string, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("exec needs a host and a command")
	}
	words, err := natlab.Find(prefix, args[0])
	if err != nil {
		return err
	}
	words = append(words, args[1:]...)
	path, err := exec.LookPath(words[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, words, os.Environ())
}

func up(prefix string, kinds []string) error {
	lab, err := natlab.New(prefix)
	if err != nil {
		return err
	}
	defer lab.Close()
	inet, err := lab.Switch("inet", "203.0.113.0/24")
	if err != nil {
		return err
	}
	if err := inet.Core(core); err != nil {
		return err
	}
	for i, name := range []string{"srv", "srv2"} {
		h, err := lab.Host(name)
		if err != nil {
			return err
		}
		if _, err := inet.Plug(h, "eth0", "203.0.113."+strconv.Itoa(10+i), core); err != nil {
			return err
		}
	}
	for i, kind := range kinds {
		if err := site(lab, inet, kind, strconv.Itoa(i+1)); err != nil {
			return err
		}
	}
	fmt.Println("up")
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	<-c
	return nil
}

// natKinds are the kinds of router that up knows, beside fullcone and public.
var natKinds = map[string]natlab.NAT{
	"easy":       natlab.Easy,
	"hard":       natlab.Hard,
	"udpblocked": natlab.UDPBlocked,
	"firewall":   natlab.Firewall,
	"webonly":    natlab.WebOnly,
}

// site makes the host with number n: in public, or behind a router of its own.
func site(lab *natlab.Lab, inet *natlab.Switch, kind, n string) error {
	wan, lan := "203.0.113.2"+n, "10.7"+n+".1.0/24"
	if kind == "public" {
		h, err := lab.Host("c" + n)
		if err != nil {
			return err
		}
		_, err = inet.Plug(h, "eth0", wan, core)
		return err
	}
	nat, ok := natKinds[kind]
	if kind == "fullcone" {
		nat, ok = natlab.NAT{FullCone: netip.MustParseAddr("10.7" + n + ".1.2")}, true
	}
	if !ok {
		return fmt.Errorf("unknown kind %q: want easy, hard, fullcone, udpblocked, firewall, webonly or public", kind)
	}
	r, err := lab.Router("r"+n, inet, wan, core, lan, nat)
	if err != nil {
		return err
	}
	if nat.Plain {
		if err := lab.Route(lan, wan); err != nil {
			return err
		}
	}
	_, _, err = r.Client("c"+n, 2)
	return err
}
