package admin

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/netmap"
)

func contextFor(r *request, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), d)
}

// getVersion tells which program this is. Whoever has come this far may know.
func getVersion(r *request) (any, error) { return r.s.opts.Version, nil }

func getStatus(r *request) (any, error) {
	net, err := r.net(authz.StatusRead)
	if err != nil {
		return nil, err
	}
	v := net.View()
	j := Status{Tailnet: v.Tailnet.Name, Domain: v.Domain(), Nodes: counts(v), Users: len(v.Users())}
	for _, k := range v.AuthKeys() {
		if k.Usable(r.s.now()) == nil {
			j.Keys++
		}
	}
	if rev := v.Policy.Rev; rev != nil {
		j.PolicyRevision = rev.Rev
	}
	switch {
	case v.Policy.Problem != nil:
		j.PolicyProblem = v.Policy.Problem.Error()
	case v.Policy.Failing != nil:
		j.PolicyProblem = "it is in force, but its tests no longer hold: " + v.Policy.Failing.Error()
	}
	if r.s.opts.Status != nil {
		j.Server = r.s.opts.Status(r.Context())
	}
	if r.server(authz.ConfigRead) == nil {
		j.Server.Database = cmp.Or(j.Server.Database, r.s.opts.DB.Place())
	} else {
		// The rest is about the machine and about other tailnets.
		j.Server = ServerStatus{Version: j.Server.Version, URL: j.Server.URL, Started: j.Server.Started}
	}
	j.Server.Version = cmp.Or(j.Server.Version, r.s.opts.Version.Version)
	if r.s.opts.URL != nil {
		j.Server.URL = cmp.Or(j.Server.URL, r.s.opts.URL())
	}
	return j, nil
}

func counts(v *netmap.View) NodeCounts {
	var c NodeCounts
	for n := range v.Nodes() {
		c.Total++
		if n.Online {
			c.Online++
		}
		if n.Expired {
			c.Expired++
		}
		if !n.Approved {
			c.Waiting++
		}
	}
	return c
}

func getConfig(r *request) (any, error) {
	if err := r.server(authz.ConfigRead); err != nil {
		return nil, err
	}
	if r.s.opts.Config == nil {
		return nil, missing("show its configuration")
	}
	return r.s.opts.Config(), nil
}

// getBackup streams the backup. If it breaks off, so does the connection: a client
// must not take the part for the whole.
func getBackup(r *request) (any, error) {
	if err := r.server(authz.Backup); err != nil {
		return nil, err
	}
	if err := r.s.opts.Hub.Flush(r.Context()); err != nil {
		return nil, err
	}
	r.w.Header().Set("Content-Type", "application/gzip")
	// The server's own limit on answers is for short ones; not every writer has one.
	http.NewResponseController(r.w).SetWriteDeadline(time.Time{})
	w := &counter{w: r.w}
	err := r.s.opts.DB.Export(r.Context(), w)
	if err != nil && w.written > 0 {
		r.s.log.Error("backup broke off", "bytes", w.written, "err", err)
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		r.w.Header().Del("Content-Type")
	}
	return nil, err
}

// counter counts what is written through it.
type counter struct {
	w       http.ResponseWriter
	written int64
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.written += int64(n)
	return n, err
}

func tailnetOf(n *netmap.Net) Tailnet {
	v := n.View()
	return Tailnet{
		ID: n.ID(), Name: v.Tailnet.Name, Domain: v.Domain(), Created: v.Tailnet.Created,
		Nodes: counts(v).Total, Users: len(v.Users()),
	}
}

// listTailnets lists all tailnets to those who run the server, and their own to others.
func listTailnets(r *request) (any, error) {
	list := []Tailnet{}
	if err := r.server(authz.TailnetRead); err != nil {
		if authz.Allow(r.actor, authz.StatusRead) != nil {
			return nil, err
		}
		return append(list, tailnetOf(r.home)), nil
	}
	for _, n := range r.s.opts.Hub.Nets() {
		list = append(list, tailnetOf(n))
	}
	return list, nil
}

func createTailnet(r *request) (any, error) {
	if err := r.server(authz.TailnetCreate); err != nil {
		return nil, err
	}
	b, err := body[TailnetCreate](r)
	if err != nil {
		return nil, err
	}
	if b.Name == "" {
		return nil, selvage.Errorf(selvage.KindInvalid, "the new tailnet has no name")
	}
	n, err := r.s.opts.Hub.CreateTailnet(r.Context(), r.actor, b.Name)
	if err != nil {
		return nil, err
	}
	return tailnetOf(n), nil
}
