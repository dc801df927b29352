package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"tailscale.com/tailcfg"

	"selvage"
)

// drawSSH draws a policy of ssh rules alone.
func drawSSH(t *rapid.T) string {
	people := []string{"ann@a.org", "bob@a.org", "eve@b.org", "group:one", "autogroup:member", "autogroup:admin", "user:*@b.org"}
	type rule struct {
		Action string   `json:"action"`
		Src    []string `json:"src"`
		Dst    []string `json:"dst"`
		Users  []string `json:"users"`

		SrcPosture []string `json:"srcPosture,omitempty"`
		Recorder   []string `json:"recorder,omitempty"`
	}
	var rules []rule
	for range rapid.IntRange(0, 5).Draw(t, "rules") {
		src, dst := people, append(slices.Clone(people[:3]), "autogroup:self", "autogroup:self", "tag:web", "autogroup:tagged", "autogroup:member")
		if rapid.Bool().Draw(t, "tags") {
			src, dst = append(slices.Clone(people), "tag:web", "autogroup:tagged"), []string{"tag:web", "tag:db", "autogroup:tagged"}
		}
		rules = append(rules, rule{
			Action:     rapid.SampledFrom([]string{"accept", "check"}).Draw(t, "action"),
			Src:        rapid.SliceOfN(rapid.SampledFrom(src), 1, 3).Draw(t, "src"),
			Dst:        rapid.SliceOfN(rapid.SampledFrom(dst), 1, 3).Draw(t, "dst"),
			Users:      rapid.SliceOfN(rapid.SampledFrom([]string{"root", "ubuntu", nonroot, "localpart:*@a.org", "localpart:*@b.org"}), 1, 2).Draw(t, "users"),
			SrcPosture: rapid.SliceOfN(rapid.Just("posture:linux"), 0, 1).Draw(t, "posture"),
			Recorder:   rapid.SliceOfN(rapid.Just("tag:db"), 0, 1).Draw(t, "recorder"),
		})
	}
	return `{"postures": {"posture:linux": ["node:os == 'linux'"]}, "groups": {"group:one": ["bob@a.org", "dan"]}, "tagOwners": {"tag:web": [], "tag:db": [], "tag:router": [], "tag:exit": []}, "ssh": ` + mustJSON(rules) + "}"
}

// clientSSH decides a login as the client does: the first rule with the source and
// the user.
func clientSSH(pol *tailcfg.SSHPolicy, from netip.Addr, user string) (allowed, check bool) {
	for _, r := range pol.Rules {
		if !slices.ContainsFunc(r.Principals, func(p *tailcfg.SSHPrincipal) bool { return p.NodeIP == from.String() }) {
			continue
		}
		local, ok := r.SSHUsers[user]
		if !ok {
			local = r.SSHUsers["*"]
		}
		if local == "=" {
			local = user
		}
		if local == user {
			return true, r.Action.HoldAndDelegate != ""
		}
	}
	return false, false
}

// TestSSHRulesAreThoseOfLogins compares what a client makes of its SSH rules with
// the decision about one login, and both with FeedsSSH.
func TestSSHRulesAreThoseOfLogins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawSSH(t)
		pol, err := Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		n := drawNaive(t)
		w := newWorld(pol.Compile(n.people))
		for i := range rapid.IntRange(1, 6).Draw(t, "devices") {
			w.add(drawDevice(t, i+1))
		}
		for j, dst := range w.devices {
			asked := make(map[Class]bool)
			rules := w.c.SSH(dst, w.classes[j], func(k Class) []netip.Addr { asked[k] = true; return w.members[k] })
			for i, src := range w.devices {
				for _, user := range []string{"root", "ubuntu", "ann", "eve", "other"} {
					v := w.c.SSHLogin(src, dst, user)
					allowed, check := clientSSH(rules, src.Addrs[0], user)
					if v.Allowed != allowed || v.Check != check {
						t.Fatalf("%+v to %+v as %s: decided %+v, client %v %v\n%s\n%s", src, dst, user, v, allowed, check, mustJSON(rules), text)
					}
					if allowed && i != j && !w.c.HasSSH(w.classes[j]) {
						t.Fatalf("no SSH at %+v\n%s", dst, text)
					}
				}
				if got := w.c.FeedsSSH(w.classes[i], w.classes[j]); got != asked[w.classes[i]] {
					t.Fatalf("%+v feeds %+v: %v\n%s", src, dst, got, text)
				}
			}
		}
	})
}

// TestLocalpartIsNeverRoot: who may choose a login name must not become root by it.
func TestLocalpartIsNeverRoot(t *testing.T) {
	c := compiled(t, `{"tagOwners": {"tag:web": []}, "ssh": [
		{"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web"], "users": ["localpart:*@a.org"]}]}`,
		Person{ID: 1, Login: "root@a.org", Role: selvage.RoleMember})
	w := newWorld(c)
	w.add(Device{User: 1, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")}})
	w.add(Device{Tags: []string{"tag:web"}, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.2")}})
	if v := c.SSHLogin(w.devices[0], w.devices[1], "root"); v.Allowed {
		t.Errorf("got %+v", v)
	}
	if text := mustJSON(c.SSH(w.devices[1], w.classes[1], w.addrs)); strings.Contains(text, `"root":"root"`) {
		t.Error(text)
	}
}
