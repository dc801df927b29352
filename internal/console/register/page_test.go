package register_test

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"selvage"
	"selvage/internal/console"
	"selvage/internal/console/consoletest"
	"selvage/internal/console/site"
	"selvage/internal/netmap"
)

func TestStranger(t *testing.T) {
	k := consoletest.New(t, "")
	code := k.Door.Wait(consoletest.NewDevice("laptop", "linux"), "203.0.113.9")
	t.Run("of a new server", func(t *testing.T) {
		k.Stranger().Get("/register/"+code).Is(http.StatusOK).
			Says("Sign in to connect this device", "laptop", "Linux", "Tailscale 1.102.5", "203.0.113.9", "2 minutes ago",
				"selvage user link owner", "selvage node register "+code+" --user owner").
			Hides("/connect")
	})
	t.Run("of a server that has an owner is not told who that is", func(t *testing.T) {
		k.Owner()
		k.Stranger().Get("/register/"+code).Is(http.StatusOK).
			Says("selvage user link LOGIN", "selvage node register "+code+" --user LOGIN").Hides("ada@example.com")
	})
}

func TestConnect(t *testing.T) {
	k := consoletest.New(t, "")
	k.Owner()
	bob, user := k.Member("bob", selvage.RoleMember)
	code := k.Door.Wait(consoletest.NewDevice("laptop", "linux"), "203.0.113.9")
	a := bob.Get("/register/"+code).Is(http.StatusOK).
		Says("Connect this device?", "laptop wants to join home as a device of bob", "Only connect a device that you are setting up yourself", "This wasn’t me")
	if got := a.Attr("input", "value"); len(got) == 0 || got[0] != "laptop" {
		t.Errorf("the form has %q", got)
	}
	bob.Post("/register/"+code+"/connect", "hostname", "laptop").Redirects("/connected/1")
	n := k.Net.View().Node(1)
	if n == nil || n.User != user.ID || n.Name != "laptop" {
		t.Fatalf("got %+v", n)
	}
	bob.Get("/connected/1").Is(http.StatusOK).Says("Connected", "laptop.home.selvage.internal", n.IPv4.String(), n.IPv6.String())
	// The same again, as from a second window.
	bob.Post("/register/"+code+"/connect", "hostname", "laptop").Redirects("/register/" + code)
	bob.Post("/register/" + code + "/reject").Is(http.StatusOK)
	if k.Net.View().Node(1) == nil {
		t.Error("the device is gone")
	}
}

func TestCodeThatIsNotKnown(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	path := "/register/c0dec0dec0dec0de"
	loads := 0
	for {
		a := owner.Get(path).Is(http.StatusNotFound)
		content := a.Attr("meta", "content")
		_, next, found := strings.Cut(strings.Join(content, " "), "5; url=")
		if !found {
			a.Says("No device waits here", "tailscale up", "tailscale status")
			break
		}
		a.Says("Looking for the device")
		path = strings.Fields(next)[0]
		if loads++; loads > 100 {
			t.Fatal("the page loads again for ever")
		}
	}
	if loads != 12 {
		t.Errorf("the page has loaded again %d times, each after 5 s; want a minute", loads)
	}
	owner.Get("/register/" + strings.Repeat("x", 5000)).Is(http.StatusNotFound)
	owner.Get("/register/x?try=-1").Is(http.StatusNotFound).Says("No device waits here")
	owner.Post("/register/unknown/connect").Redirects("/register/unknown")
}

func TestReject(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	code := k.Door.Wait(consoletest.NewDevice("stranger", "windows"), "203.0.113.9")
	owner.Post("/register/"+code+"/reject").Is(http.StatusOK).Says("Device refused", "stranger")
	if got := k.Door.Rejected(); len(got) == 0 || got[0] != code {
		t.Errorf("refused were %v", got)
	}
}

func TestRenamedMeanwhile(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	code := k.Door.Wait(consoletest.NewDevice("renamed", "linux"), "203.0.113.9")
	owner.Post("/register/"+code+"/connect", "hostname", "laptop").Is(http.StatusUnprocessableEntity).
		Says("Not connected", "calls itself something else", "renamed wants to join")
	for range k.Net.View().Nodes() {
		t.Fatal("the device was connected")
	}
}

// changing is a door whose device can change at any time.
type changing struct {
	*consoletest.Door
	seen   string // what the device is now
	before func() // what happens just before it is admitted
}

func (c *changing) pending(code string) (console.Device, error) {
	d, err := c.Door.Pending(code)
	d.Seen = c.seen
	return d, err
}

func (c *changing) admit(ctx context.Context, actor selvage.Actor, net *netmap.Net, code, seen string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error) {
	c.before()
	if seen != c.seen {
		return nil, selvage.Errorf(selvage.KindConflict, "the device has changed")
	}
	return c.Admit(ctx, actor, net, code, user, tags, preapproved)
}

func TestChangedMeanwhile(t *testing.T) {
	k := consoletest.New(t, "")
	door := &changing{Door: k.Door, seen: "first", before: func() {}}
	k.Handler = console.New(console.Options{
		Options: site.Options{Hub: k.Hub, DB: k.DB, Logger: slog.New(slog.DiscardHandler), Now: k.Clock.Now},
		Door:    console.Door{Pending: door.pending, AdmitSeen: door.admit, Reject: k.Door.Reject},
	}).Handler()
	owner := k.Owner()
	code := k.Door.Wait(consoletest.NewDevice("laptop", "linux"), "203.0.113.9")
	click := func(seen string) *consoletest.Answer {
		return owner.Post("/register/"+code+"/connect", "hostname", "laptop", "seen", seen)
	}
	if got := owner.Get("/register/"+code).Attr("input", "value"); !slices.Contains(got, "first") {
		t.Errorf("the form has %q", got)
	}
	door.seen = "second"
	for _, old := range []string{"first", ""} {
		a := click(old).Is(http.StatusUnprocessableEntity).Says("Not connected", "asks for other tags")
		if got := a.Attr("input", "value"); !slices.Contains(got, "second") {
			t.Errorf("after the refusal the form has %q", got)
		}
	}
	// It changes after the page has looked.
	door.before = func() { door.seen = "third" }
	a := click("second").Is(http.StatusUnprocessableEntity).Says("Not connected", "device has changed")
	if got := a.Attr("input", "value"); !slices.Contains(got, "third") {
		t.Errorf("after the conflict the form has %q", got)
	}
	if k.Net.View().Node(1) != nil {
		t.Fatal("the device was connected")
	}
	click("third").Redirects("/connected/1")
}

func TestTags(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	k.SetPolicy(`{"tagOwners": {"tag:web": ["bob"], "tag:db": []}}`)
	bob, _ := k.Member("bob", selvage.RoleMember)
	wait := func(tags ...string) string {
		j := consoletest.NewDevice("server", "linux")
		j.Hostinfo.RequestTags = tags
		return k.Door.Wait(j, "203.0.113.9")
	}
	t.Run("those that the policy gives the person", func(t *testing.T) {
		code := wait("tag:web")
		bob.Get("/register/"+code).Says("Asks for tags", "tag:web")
		bob.Post("/register/"+code+"/connect", "hostname", "server").Redirects("/connected/1")
		bob.Get("/connected/1").Is(http.StatusOK) // they may see what they may tag
		if n := k.Net.View().Node(1); !n.Tagged() || n.User != 0 {
			t.Errorf("got user %d, tags %v", n.User, n.Tags)
		}
	})
	t.Run("no others", func(t *testing.T) {
		code := wait("tag:db")
		bob.Post("/register/"+code+"/connect", "hostname", "server").Is(http.StatusUnprocessableEntity).
			Says("Not connected", "bob may not use tag:db")
		bob.Get("/register/" + code).Is(http.StatusOK) // it still waits
	})
	t.Run("an administrator gives any", func(t *testing.T) {
		owner.Post("/register/"+wait("tag:db")+"/connect", "hostname", "server").Redirects("/connected/2")
	})
	t.Run("that are in the policy", func(t *testing.T) {
		owner.Post("/register/"+wait("tag:none")+"/connect", "hostname", "server").Is(http.StatusUnprocessableEntity).Says("Unknown tag", "tag:none")
	})
}

func TestApproval(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	bob, _ := k.Member("bob", selvage.RoleMember)
	k.ChangeSettings(func(s *selvage.Settings) { s.DeviceApproval = true })
	code := k.Door.Wait(consoletest.NewDevice("bobs", "linux"), "203.0.113.9")
	bob.Post("/register/"+code+"/connect", "hostname", "bobs").Redirects("/connected/1")
	bob.Get("/connected/1").Is(http.StatusOK).Says("Almost there", "as soon as an administrator has approved it")
	code = k.Door.Wait(consoletest.NewDevice("adas", "linux"), "203.0.113.9")
	owner.Post("/register/"+code+"/connect", "hostname", "adas").Redirects("/connected/2")
	owner.Get("/connected/2").Is(http.StatusOK).Says("Connected").Hides("Almost there")
}

func TestHostileNames(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	const hostile = `"><script>alert(1)</script><a href="javascript:x">`
	j := consoletest.NewDevice(hostile, hostile)
	j.Hostinfo.IPNVersion = hostile
	j.Hostinfo.RequestTags = []string{hostile}
	code := k.Door.Wait(j, hostile)
	for _, v := range []*consoletest.Visitor{owner, k.Stranger()} {
		v.Get("/register/"+code).Is(http.StatusOK).Says(hostile).Hides("<script>alert(1)", `href="javascript`)
	}
	empty := k.Door.Wait(consoletest.NewDevice("", ""), "")
	owner.Get("/register/"+empty).Is(http.StatusOK).Says("a device without a name", "Unknown system")
}
