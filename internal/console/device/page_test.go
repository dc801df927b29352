package device_test

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"selvage"
	"selvage/internal/console/consoletest"
)

func TestRouter(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	ada := k.Net.View().Owner()
	lan, other, gone := netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12")
	for _, name := range []string{"first", "second"} {
		j := consoletest.NewDevice(name, "linux")
		j.Hostinfo.Distro, j.Hostinfo.DistroVersion = "debian", "12"
		j.Hostinfo.RoutableIPs = append(selvage.ExitRoutes(), lan, other)
		n := k.Join(ada.ID, j)
		k.Online(n.ID)
		k.ApproveRoutes(n.ID, append(selvage.ExitRoutes(), lan, gone)...)
		k.Report(n.ID, 7, "198.51.100.1:41641")
	}
	owner.Get("/devices/1").Is(http.StatusOK).Says("first.home.selvage.internal", "100.64.0.1", "Ada Weaver", "ada@example.com", "Debian 12",
		"Tailscale 1.102.5", "198.51.100.1:41641", "Region 7", "Connected", "Exit node", "Subnet router", "Routes to approve",
		"192.168.1.0/24 Serving", "10.0.0.0/8 Waits for approval", "172.16.0.0/12 Not offered", "0.0.0.0/0 Exit node", "::/0 Exit node",
		"nodekey:", "mkey:", "in 6 months")
	owner.Get("/devices/2").Is(http.StatusOK).Says("192.168.1.0/24 Standby")
}

func TestPlainDevice(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	ada := k.Net.View().Owner()
	j := consoletest.NewDevice("laptop", "linux")
	j.Ephemeral, j.Expiry = true, k.Clock.Now().Add(49*time.Hour)
	k.Join(ada.ID, j)
	owner.Get("/devices/1").Is(http.StatusOK).Says("Offline", "Never seen", "Ephemeral", "Key expires in 2 days", "It offers no networks", "None yet")
}

func TestWhoSeesWhat(t *testing.T) {
	k := consoletest.New(t, "")
	k.Owner()
	bob, bobUser := k.Member("bob", selvage.RoleMember)
	eve, _ := k.Member("eve", selvage.RoleMember)
	auditor, _ := k.Member("auditor", selvage.RoleAuditor)
	k.ChangeSettings(func(s *selvage.Settings) { s.DeviceApproval = true })
	k.Join(bobUser.ID, consoletest.NewDevice("phone", "iOS"))
	bob.Get("/devices/1").Is(http.StatusOK).Says("waits for approval", "before an administrator has approved it").Hides("/approve")
	auditor.Get("/devices/1").Is(http.StatusOK).Hides("/approve")
	eve.Get("/devices/1").Is(http.StatusNotFound).Hides("phone")
	eve.Get("/connected/1").Is(http.StatusNotFound).Hides("phone")
	for _, id := range []string{"0", "-1", "x", "99999999999999999999", "2"} {
		bob.Get("/devices/" + id).Is(http.StatusNotFound)
	}
}

func TestApprove(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	bob, bobUser := k.Member("bob", selvage.RoleMember)
	auditor, _ := k.Member("auditor", selvage.RoleAuditor)
	k.ChangeSettings(func(s *selvage.Settings) { s.DeviceApproval = true })
	k.Join(bobUser.ID, consoletest.NewDevice("phone", "iOS"))
	bob.Post("/devices/1/approve").Is(http.StatusForbidden).Says("The role member may not approve devices")
	auditor.Post("/devices/1/approve").Is(http.StatusForbidden)
	if k.Net.View().Node(1).Approved {
		t.Fatal("somebody approved who may not")
	}
	owner.Get("/devices/1").Is(http.StatusOK).Says("Approve device")
	owner.Post("/devices/1/approve").Redirects("/devices/1")
	if !k.Net.View().Node(1).Approved {
		t.Error("the device still waits")
	}
	owner.Get("/devices/1").Is(http.StatusOK).Hides("Approve device")
	owner.Post("/devices/1/approve").Redirects("/devices/1") // twice is no error
}
