package control

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/identity"
	"selvage/internal/netmap"
)

// followupWait is how long a client's question "am I connected yet?" is held before
// it is answered with the same link again.
const followupWait = 5 * time.Minute

// serveRegister answers /machine/register. Every outcome that a person must see is a
// RegisterResponse with Error; other statuses make the client try again.
func (s *Server) serveRegister(w http.ResponseWriter, r *http.Request) {
	c := from(r.Context())
	// First of all, so that what is too much costs nothing.
	if wait, ok := s.limits.allow(c.machine, s.now()); !ok {
		refuseBusy(w, "this machine registers too often", wait)
		return
	}
	var req tailcfg.RegisterRequest
	if !decode(w, r, &req) {
		return
	}
	resp, err := s.register(r.Context(), c, &req)
	switch kind := selvage.KindOf(err); {
	case err == nil:
		if resp.MachineAuthorized {
			c.admission.done()
		}
		s.metrics.registrations.WithLabelValues(outcome(resp)).Inc()
		writeJSON(w, resp)
	case r.Context().Err() != nil:
		// The client is gone; nobody reads an answer.
	case kind == selvage.KindBusy:
		s.metrics.registrations.WithLabelValues("failed").Inc()
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterDrain()))
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case kind == selvage.KindInternal:
		s.metrics.registrations.WithLabelValues("failed").Inc()
		s.log.Error("registration failed", "machine", c.machine, "remote", c.remote, "err", err)
		http.Error(w, "internal error; the server's log has the cause", http.StatusInternalServerError)
	default:
		s.metrics.registrations.WithLabelValues("refused").Inc()
		s.log.Info("registration refused", "machine", c.machine, "remote", c.remote, "err", err)
		writeJSON(w, tailcfg.RegisterResponse{Error: err.Error()})
	}
}

func outcome(resp *tailcfg.RegisterResponse) string {
	switch {
	case resp.AuthURL != "":
		return "waiting"
	case resp.NodeKeyExpired:
		return "expired"
	}
	return "ok"
}

func (s *Server) register(ctx context.Context, c *connection, req *tailcfg.RegisterRequest) (*tailcfg.RegisterResponse, error) {
	if err := s.checkVersion(max(c.version, req.Version)); err != nil {
		return nil, err
	}
	if req.NodeKey.IsZero() {
		return nil, selvage.Errorf(selvage.KindInvalid, "the request has no node key")
	}
	var err error
	if req.Hostinfo, err = checkHostinfo(req.Hostinfo); err != nil {
		return nil, err
	}
	net, node := s.hub.NodeByKey(req.NodeKey)
	if node != nil {
		return s.registerKnown(ctx, c, req, net, node)
	}
	if past(req.Expiry, s.now()) {
		return &tailcfg.RegisterResponse{}, nil // logging out what is not there
	}
	if req.Auth != nil && req.Auth.AuthKey != "" {
		return s.registerWithKey(ctx, c, req)
	}
	return s.registerInBrowser(ctx, c, req)
}

// registerKnown serves restarts, repeated requests, log-outs and wishes for a
// sooner expiry.
func (s *Server) registerKnown(ctx context.Context, c *connection, req *tailcfg.RegisterRequest, net *netmap.Net, node *netmap.Node) (*tailcfg.RegisterResponse, error) {
	if node.Machine != c.machine {
		return nil, selvage.Errorf(selvage.KindDenied, "this node key belongs to another machine; run `tailscale logout` and log in again")
	}
	switch {
	case past(req.Expiry, s.now()):
		if err := net.Logout(ctx, nodeActor(c, node), node.ID); err != nil {
			return nil, fmt.Errorf("log out node %d: %w", node.ID, err)
		}
		return &tailcfg.RegisterResponse{}, nil
	case node.Node.Expired(s.now()):
		return &tailcfg.RegisterResponse{NodeKeyExpired: true}, nil
	case req.Auth != nil && req.Auth.AuthKey != "":
		elsewhere, err := s.isOfOther(net, req.Auth.AuthKey)
		if err != nil {
			return nil, err
		}
		if elsewhere {
			// A node key is of one tailnet. The client makes a new one and comes back.
			return &tailcfg.RegisterResponse{NodeKeyExpired: true}, nil
		}
	}
	if !req.Expiry.IsZero() && (node.KeyExpiry.IsZero() || req.Expiry.Before(node.KeyExpiry)) {
		if err := net.ShortenExpiry(ctx, nodeActor(c, node), node.ID, req.Expiry); err != nil {
			return nil, fmt.Errorf("shorten expiry of node %d: %w", node.ID, err)
		}
	}
	return registered(net.View(), node), nil
}

// isOfOther reports whether an auth key is a good one of another tailnet than net. Keys
// that the server doesn't know are not looked at: devices keep the one that they came
// with long after it was deleted.
func (s *Server) isOfOther(net *netmap.Net, text string) (bool, error) {
	id, err := identity.ParseAuthKey(text)
	if err != nil {
		return false, nil
	}
	other, k := s.hub.AuthKey(id)
	if k == nil || other == net {
		return false, nil
	}
	if err := identity.VerifyAuthKey(text, k); err != nil {
		return false, err
	}
	return true, k.Usable(s.now()) // else the device would give its place up for nothing
}

// registerWithKey admits a device by an auth key.
func (s *Server) registerWithKey(ctx context.Context, c *connection, req *tailcfg.RegisterRequest) (*tailcfg.RegisterResponse, error) {
	id, err := identity.ParseAuthKey(req.Auth.AuthKey)
	if err != nil {
		return nil, err
	}
	net, k := s.hub.AuthKey(id)
	if k == nil {
		return nil, selvage.Errorf(selvage.KindUnauthenticated, "this auth key is not known here; check that it is complete and of this server")
	}
	if err := identity.VerifyAuthKey(req.Auth.AuthKey, k); err != nil {
		return nil, err
	}
	j := join(c, req)
	j.AuthKey = id
	actor := selvage.Actor{Kind: selvage.ActorKey, ID: string(id), Address: c.remote}
	node, err := net.Join(ctx, actor, j)
	if err != nil {
		return nil, err
	}
	s.pending.drop(s.code(c.machine, req.NodeKey), net, node)
	s.log.Info("device joined", "tailnet", net.View().Tailnet.Name, "node", node.ID, "name", node.Name, "key", id, "remote", c.remote)
	return registered(net.View(), node), nil
}

// registerInBrowser hands out a link and, when the client comes back with it, waits
// until a person has used it.
func (s *Server) registerInBrowser(ctx context.Context, c *connection, req *tailcfg.RegisterRequest) (*tailcfg.RegisterResponse, error) {
	code := s.code(c.machine, req.NodeKey)
	link := &tailcfg.RegisterResponse{AuthURL: s.baseURL(c.host) + "/register/" + code}
	follows := sameCode(req.Followup, code)
	p := s.pending.put(code, join(c, req), c, follows)
	if net, node := s.hub.NodeByKey(req.NodeKey); node != nil {
		// It was admitted after the first look and before it was put down to wait.
		s.pending.drop(code, net, node)
		return s.registerKnown(ctx, c, req, net, node)
	}
	if !follows {
		return link, nil
	}
	s.pending.poll(p, 1)
	defer s.pending.poll(p, -1)
	wait := time.NewTimer(s.followupWait)
	defer wait.Stop()
	select {
	case <-p.done:
	case <-wait.C:
		return link, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.drain:
		return nil, selvage.Errorf(selvage.KindBusy, "the server is stopping; try again")
	}
	if p.err != nil {
		return nil, p.err
	}
	return registered(p.net.View(), p.node), nil
}

func join(c *connection, req *tailcfg.RegisterRequest) netmap.Join {
	return netmap.Join{
		Machine: c.machine, Key: req.NodeKey, OldKey: req.OldNodeKey, LockKey: req.NLKey,
		Hostinfo: req.Hostinfo, Cap: max(c.version, req.Version),
		Ephemeral: req.Ephemeral, Expiry: req.Expiry,
	}
}

// registered is the answer to a device that has become, or is, a node.
func registered(v *netmap.View, n *netmap.Node) *tailcfg.RegisterResponse {
	resp := &tailcfg.RegisterResponse{MachineAuthorized: n.Approved}
	id, login, name, picture := tailcfg.UserID(selvage.TaggedDevices), "tagged-devices", "Tagged Devices", ""
	if u := v.User(n.User); u != nil && !n.Tagged() {
		id, login, name, picture = tailcfg.UserID(u.ID), u.Login, u.Name(), u.PictureURL
	}
	resp.User = tailcfg.User{ID: id, DisplayName: name, ProfilePicURL: picture, Created: n.Created}
	resp.Login = tailcfg.Login{
		ID: tailcfg.LoginID(id), Provider: "selvage", LoginName: login, DisplayName: name, ProfilePicURL: picture,
	}
	return resp
}

func (s *Server) checkVersion(v tailcfg.CapabilityVersion) error {
	if v >= s.oldest {
		return nil
	}
	needs := "Tailscale " + OldestClientName + " or newer (capability version " + strconv.Itoa(int(OldestClient)) + ")"
	if s.oldest != OldestClient {
		needs = "capability version " + strconv.Itoa(int(s.oldest)) + " or newer"
	}
	return selvage.Errorf(selvage.KindInvalid,
		"this Tailscale client is too old (capability version %d): this server needs %s; please update the client", v, needs)
}

func past(t, now time.Time) bool { return !t.IsZero() && t.Before(now) }

func nodeActor(c *connection, n *netmap.Node) selvage.Actor {
	return selvage.Actor{Kind: selvage.ActorNode, ID: n.ID.String(), Name: n.Name, Address: c.remote}
}

// refuseBusy answers a client that asks too often. Newer ones wait as told, older
// ones back off by themselves.
func refuseBusy(w http.ResponseWriter, why string, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	http.Error(w, why+"; wait "+wait.Round(time.Second).String(), http.StatusTooManyRequests)
}
