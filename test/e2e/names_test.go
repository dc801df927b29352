package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// nameTime is how long a change of name settings may take to reach a client.
const nameTime = 10 * time.Second

// Nodes are found by name, by short name and by both families; extra records and
// the names of another name server work as well.
func TestNames(t *testing.T) {
	w := newWorld(t)
	w.serveNames("corp.test.", map[string]string{"app.corp.test.": "192.0.2.7"})
	alice, bob := w.join(w.public("alice")), w.join(w.public("bob"))
	w.meet(alice, bob)
	domain := alice.status().MagicDNSSuffix
	if domain == "" {
		t.Fatal("the tailnet has no MagicDNS suffix")
	}
	full := "bob." + domain

	for _, name := range []string{"bob", full} {
		w.await("getent hosts "+name, nameTime, func() error {
			out, err := alice.Run(w.ctx, "getent", "ahosts", name)
			if err != nil {
				return err
			}
			return missing(out, bob.ip4())
		})
	}
	alice.answers("A", full, bob.ip4())
	alice.answers("AAAA", full, bob.ip6())
	alice.answers("A", "nobody."+domain, "")

	w.server.run("dns", "set", "--record", "printer."+domain+"=192.0.2.9", "--record", "printer."+domain+"=2001:db8::9")
	alice.answers("A", "printer."+domain, "192.0.2.9")
	alice.answers("AAAA", "printer."+domain, "2001:db8::9")

	w.server.run("dns", "set", "--split", "corp.test="+dnsAddr)
	alice.answers("A", "app.corp.test", "192.0.2.7")
	w.await("getent hosts app.corp.test", nameTime, func() error {
		out, err := alice.Run(w.ctx, "getent", "ahosts", "app.corp.test")
		if err != nil {
			return err
		}
		return missing(out, "192.0.2.7")
	})
	// The first names are still there.
	alice.answers("A", "printer."+domain, "192.0.2.9")
	alice.answers("A", full, bob.ip4())
}

// answers waits until the client's own resolver gives the answer, which may be empty.
func (c *client) answers(kind, name, want string) {
	c.w.Helper()
	c.w.await(fmt.Sprintf("%s %s is %q", kind, name, want), nameTime, func() error {
		out, err := c.Run(c.w.ctx, "dig", "+short", "+tries=1", "+time=2", "@100.100.100.100", name, kind)
		if err == nil && strings.TrimSpace(out) != want {
			err = fmt.Errorf("the answer is %q", out)
		}
		return err
	})
}

// serveNames runs a name server for a zone with IPv4 addresses on a host of its own.
func (w *world) serveNames(zone string, names map[string]string) {
	w.Helper()
	h, _ := w.host("ns", dnsAddr)
	pc, err := h.ListenPacket("udp", net.JoinHostPort(dnsAddr, "53"))
	w.ok(err)
	mux := dns.NewServeMux()
	mux.HandleFunc(zone, func(rw dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, one := range q.Question {
			if ip, ok := names[strings.ToLower(one.Name)]; ok && one.Qtype == dns.TypeA {
				m.Answer = append(m.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: one.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
					A:   net.ParseIP(ip),
				})
			}
		}
		_ = rw.WriteMsg(m) // who asks notices
	})
	srv := &dns.Server{PacketConn: pc, Handler: mux}
	go func() { _ = srv.ActivateAndServe() }() // ends with the story
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.ShutdownContext(ctx)
	})
}
