package control_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"tailscale.com/tailcfg"

	"selvage/internal/control/controltest"
)

func TestIdleConnectionsOfStrangersEnd(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.SetUnprovenIdle(250 * time.Millisecond)
	known := s.Joined("known")
	known.Report()
	until(t, "one connection", func() bool { return s.Connections() == 1 && s.Unproven("127.0.0.1") == 0 })
	stranger := s.Node("stranger")
	link := register(t, stranger, "").AuthURL
	until(t, "the stranger's end", func() bool { return s.Connections() == 1 && s.Unproven("127.0.0.1") == 0 })
	// Who waits for a person is not idle, and dials again.
	got := make(chan *tailcfg.RegisterResponse, 1)
	go func() { got <- register(t, stranger, link) }()
	c := code(t, register(t, stranger, ""))
	until(t, "the wait", func() bool { return s.Polls(c) == 1 })
	admit(t, s, c)
	if resp := wait(t, "end of the registration", got); !resp.MachineAuthorized {
		t.Errorf("got %+v", resp)
	}
	until(t, "two that belong here", func() bool { return s.Connections() == 2 && s.Unproven("127.0.0.1") == 0 })
}

// register asks again, as clients do, when its connection ended before it had an answer:
// a connection can end in the moment in which the request goes out.
func register(t *testing.T, n *controltest.Node, followup string) *tailcfg.RegisterResponse {
	ctx, cancel := context.WithTimeout(t.Context(), controltest.Timeout)
	defer cancel()
	req := n.RegisterRequest()
	req.Followup = followup
	resp := new(tailcfg.RegisterResponse)
	for {
		answer, err := n.Do(ctx, "POST", "/machine/register", req)
		if err == nil {
			err = json.NewDecoder(answer.Body).Decode(resp)
			answer.Body.Close()
		}
		if err == nil {
			return resp
		}
		if ctx.Err() != nil {
			t.Errorf("register: not in time: %v", err)
			return resp
		}
	}
}

func TestConnectionsOfStrangersAreBounded(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	known := s.Joined("known")
	known.Hangup()
	until(t, "no connection", func() bool { return s.Connections() == 0 && s.Unproven("127.0.0.1") == 0 })
	s.FillUnproven("127.0.0.1")
	if got := s.Unproven("127.0.0.1"); got != 256 {
		t.Errorf("%d are let in", got)
	}
	stranger := s.Node("stranger")
	ctx, cancel := context.WithTimeout(t.Context(), controltest.Timeout)
	defer cancel()
	if resp, err := stranger.Do(ctx, "POST", "/machine/register", stranger.RegisterRequest()); err == nil {
		resp.Body.Close()
		t.Errorf("one more stranger gets %d", resp.StatusCode)
	}
	if ctx.Err() != nil {
		t.Error("the stranger was left to wait")
	}
	again := known.On(s)
	if a := again.Ask("POST", "/machine/register", again.RegisterRequest()); a.Status != http.StatusOK {
		t.Errorf("a device of the tailnet gets %+v", a)
	}
}
