package control_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"selvage/internal/control/controltest"
)

func TestIdleConnectionsOfStrangersEnd(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.SetUnprovenIdle(50 * time.Millisecond)
	known := s.Joined("known")
	known.Report()
	until(t, "one connection", func() bool { return s.Connections() == 1 && s.Unproven("127.0.0.1") == 0 })
	stranger := s.Node("stranger")
	link := stranger.Register(stranger.RegisterRequest()).AuthURL
	until(t, "the stranger's end", func() bool { return s.Connections() == 1 && s.Unproven("127.0.0.1") == 0 })
	// Who waits for a person is not idle, and dials again.
	got := follow(stranger, link)
	c := code(t, stranger.Register(stranger.RegisterRequest()))
	until(t, "the wait", func() bool { return s.Polls(c) == 1 })
	admit(t, s, c)
	if resp := wait(t, "end of the registration", got); !resp.MachineAuthorized {
		t.Errorf("got %+v", resp)
	}
	until(t, "two that belong here", func() bool { return s.Connections() == 2 && s.Unproven("127.0.0.1") == 0 })
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
