package overview_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"selvage"
	"selvage/internal/console/consoletest"
)

func TestEmpty(t *testing.T) {
	k := consoletest.New(t, "https://vpn.example.com")
	v := k.Owner()
	v.Get("/").Is(http.StatusOK).Says("Connect your first device", "sudo tailscale up --login-server=https://vpn.example.com", "Android", "Windows", "macOS").
		Hides(`type="search"`)
}

func TestList(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	k.SetPolicy(`{"tagOwners": {"tag:web": ["autogroup:admin"]}}`)
	ada := k.Net.View().Owner()
	bob, bobUser := k.Member("bob@example.com", selvage.RoleMember)
	k.Online(k.Join(ada.ID, consoletest.NewDevice("laptop", "macOS")).ID)
	k.Join(bobUser.ID, consoletest.NewDevice("phone", "iOS"))
	web := consoletest.NewDevice("web", "linux")
	web.Hostinfo.RequestTags = []string{"tag:web"}
	k.Join(ada.ID, web)

	t.Run("the owner sees all", func(t *testing.T) {
		owner.Get("/").Is(http.StatusOK).Says("Everything in home", "laptop", "phone", "web", "tag:web", "Ada Weaver", "100.64.0.1", "macOS", "Tailscale 1.102.5",
			"Connected", "Devices 3 1 connected", "People 2 All have signed in", "Access policy Revision 1")
	})
	t.Run("a member sees their own", func(t *testing.T) {
		bob.Get("/").Is(http.StatusOK).Says("Your devices", "phone", "Devices 1 0 connected").Hides("laptop", "tag:web", "People", "Access policy")
		bob.Get("/?q=laptop").Says("No device matches").Hides("100.64.0.1")
	})
	for _, tt := range []struct {
		name, query  string
		shows, hides []string
	}{
		{"by name", "q=lap", []string{"laptop"}, []string{"/devices/2", "/devices/3"}},
		{"by owner", "q=BOB", []string{"phone"}, []string{"/devices/1", "/devices/3"}},
		{"by tag", "q=tag:web", []string{"web"}, []string{"/devices/1", "/devices/2"}},
		{"by address", "q=100.64.0.2", []string{"phone"}, []string{"/devices/1", "/devices/3"}},
		{"by system", "q=linux", []string{"web"}, []string{"/devices/1", "/devices/2"}},
		{"by several words", "q=ada+macos", []string{"laptop"}, []string{"/devices/2", "/devices/3"}},
		{"connected", "only=online", []string{"laptop"}, []string{"/devices/2", "/devices/3"}},
		{"offline", "only=offline", []string{"phone", "web"}, []string{"/devices/1"}},
		{"one's own", "only=mine", []string{"laptop"}, []string{"/devices/2", "/devices/3"}},
		{"none", "q=nothing", []string{"No device matches", "“nothing”"}, []string{"/devices/1", "/devices/2", "/devices/3"}},
		{"nonsense", "only=nonsense&page=-3", []string{"laptop", "phone", "web"}, nil},
		{"a long query", "q=" + strings.Repeat("%C3%A9", 5000), []string{"No device matches"}, nil},
		{"hostile query", "q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", []string{"No device matches"}, []string{"<script>alert"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			owner.Get("/?" + tt.query).Is(http.StatusOK).Says(tt.shows...).Hides(tt.hides...)
		})
	}
}

func TestPages(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	ada := k.Net.View().Owner()
	const devices = 205
	for i := range devices {
		k.Join(ada.ID, consoletest.NewDevice(fmt.Sprintf("node%04d", i), "linux"))
	}
	seen := map[string]bool{}
	path, loads := "/?q=node", 0
	for path != "" {
		a := owner.Get(path).Is(http.StatusOK)
		if loads++; loads > 5 {
			t.Fatal("the pages do not end")
		}
		rows := 0
		next := ""
		links, _ := a.Links()
		for _, l := range links {
			if strings.HasPrefix(l, "/devices/") {
				rows++
				seen[l] = true
			}
			if strings.Contains(l, fmt.Sprintf("page=%d", loads+1)) {
				next = l
			}
		}
		if rows > 100 {
			t.Errorf("page %d has %d devices", loads, rows)
		}
		path = next
	}
	if len(seen) != devices || loads != 3 {
		t.Errorf("saw %d devices on %d pages, want %d on 3", len(seen), loads, devices)
	}
	owner.Get("/?page=2").Says("101–200 of 205 devices")
	owner.Get("/?page=999").Says("201–205 of 205 devices")
}

func TestWaiting(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	bob, bobUser := k.Member("bob", selvage.RoleMember)
	k.ChangeSettings(func(s *selvage.Settings) { s.DeviceApproval = true })
	for i := range 7 {
		k.Join(bobUser.ID, consoletest.NewDevice(fmt.Sprintf("phone%d", i), "iOS"))
	}
	bob.Get("/").Is(http.StatusOK).Says("Waiting").Hides("Waiting for approval", "/approve")
	owner.Get("/").Is(http.StatusOK).Says("Waiting for approval", "2 more devices")
	owner.Get("/?only=waiting").Is(http.StatusOK).Says("phone6")
	owner.Post("/devices/1/approve", "back", "list").Redirects("/")
	if !k.Net.View().Node(1).Approved {
		t.Error("the device still waits")
	}
}

// BenchmarkOverview is the page of a large tailnet, without and with a search.
func BenchmarkOverview(b *testing.B) {
	k := consoletest.New(b, "")
	owner := k.Owner()
	ada := k.Net.View().Owner()
	for i := range 10_000 {
		k.Join(ada.ID, consoletest.NewDevice(fmt.Sprintf("node%05d", i), "linux"))
	}
	for _, path := range []string{"/", "/?q=node09+linux&page=5"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				owner.Get(path).Is(http.StatusOK)
			}
		})
	}
}
