package policy

import (
	"net/netip"
	"strings"
	"testing"

	"selvage"
)

// TestRecorders checks where sessions are recorded, and what happens if there is no
// recorder.
func TestRecorders(t *testing.T) {
	const text = `{"tagOwners": {"tag:web": [], "tag:rec": []}, "ssh": [
		{"action": "ACTION", "src": ["autogroup:member"], "dst": ["tag:web"], "users": ["root"], "recorder": ["tag:rec"], "enforceRecorder": ENFORCE}]}`
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		name, action, enforce string
		recorders             bool
		first, then           string // the action of the rule, and that after a check
	}{
		{"recorded", "accept", "false", true, `"recorders":["100.64.0.9:80","[fd7a::9]:80"]}`, `"recorders":["100.64.0.9:80","[fd7a::9]:80"]}`},
		{"enforced", "accept", "true", true, `"onRecordingFailure":{"RejectSessionWithMessage":`, `"onRecordingFailure":{"RejectSessionWithMessage":`},
		{"enforced check", "check", "true", true, `"holdAndDelegate":`, `"onRecordingFailure":{"RejectSessionWithMessage":`},
		{"no recorder", "accept", "false", false, `"accept":true`, `"accept":true`},
		{"no recorder enforced", "accept", "true", false, `"reject":true`, `"reject":true`},
		{"no recorder, enforced check", "check", "true", false, `"reject":true`, `"reject":true`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := compiled(t, strings.NewReplacer("ACTION", tt.action, "ENFORCE", tt.enforce).Replace(text), Person{1, "ann@a.org", selvage.RoleMember})
			w := newWorld(c)
			w.add(Device{Node: 1, User: 1, Addrs: []netip.Addr{addr("100.64.0.1")}})
			w.add(Device{Node: 2, Tags: []string{"tag:web"}, Addrs: []netip.Addr{addr("100.64.0.2")}})
			if tt.recorders {
				w.add(Device{Node: 9, Tags: []string{"tag:rec"}, Addrs: []netip.Addr{addr("fd7a::9"), addr("100.64.0.9")}})
				if !c.FeedsSSH(w.classes[2], w.classes[1]) || c.FeedsSSH(w.classes[2], w.classes[0]) {
					t.Error("recorders must feed the rules of those that they record for, and of nobody else")
				}
			}
			rules := c.SSH(w.devices[1], w.classes[1], w.addrs).Rules
			if len(rules) != 1 {
				t.Fatalf("%d rules", len(rules))
			}
			if got := mustJSON(rules[0].Action); !strings.Contains(got, tt.first) {
				t.Errorf("first %s\nwant %s", got, tt.first)
			}
			v := c.SSHLogin(w.devices[0], w.devices[1], "root")
			if got := mustJSON(c.SSHAction(v, w.addrs)); !strings.Contains(got, tt.then) {
				t.Errorf("then %s\nwant %s", got, tt.then)
			}
			if got := c.SSHAction(c.SSHLogin(w.devices[0], w.devices[1], "ann"), w.addrs); !got.Reject {
				t.Errorf("a login that no rule allows: %s", mustJSON(got))
			}
		})
	}
}

func TestSettings(t *testing.T) {
	pol, err := Parse(`{"grants": [], "disableIPv4": true, "OneCGNATRoute": "mac-never", "randomizeClientPort": true, "derpMap": {
		// Our own relay, and none of region 1.
		"OmitDefaultRegions": true,
		"Regions": {"1": null, "900": {"RegionID": 900, "RegionCode": "own", "Nodes": [{"Name": "1", "RegionID": 900, "HostName": "derp.a.org"}]}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	m := pol.DERPMap()
	if !pol.DisableIPv4() || pol.OneCGNATRoute() != OneCGNATNever || !pol.RandomizeClientPort() || m == nil {
		t.Fatalf("%v %v %v %v", pol.DisableIPv4(), pol.OneCGNATRoute(), pol.RandomizeClientPort(), m)
	}
	if r, ok := m.Regions[1]; !m.OmitDefaultRegions || !ok || r != nil || m.Regions[900].Nodes[0].HostName != "derp.a.org" {
		t.Errorf("got %s", mustJSON(m))
	}
	if pol, err = Parse(`{"grants": []}`); err != nil || pol.DisableIPv4() || pol.OneCGNATRoute() != OneCGNATDefault || pol.DERPMap() != nil {
		t.Errorf("without the sections: %v", err)
	}
}
