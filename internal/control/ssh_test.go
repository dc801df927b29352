package control_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/control/controltest"
)

const sshPolicy = `{"tagOwners": {"tag:server": ["autogroup:admin"]},
	"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
	"ssh": [{"action": "%ACTION%", "src": ["autogroup:member"], "dst": ["tag:server"], "users": ["root"]}]}`

func sshWith(action string) string { return strings.Replace(sshPolicy, "%ACTION%", action, 1) }

// principals returns the addresses that the rules of a policy let in.
func principals(p *tailcfg.SSHPolicy) string {
	var all []string
	for _, r := range p.Rules {
		for _, who := range r.Principals {
			all = append(all, who.NodeIP)
		}
	}
	return strings.Join(all, " ")
}

// Rules go to the device that they open, with the capability for it, when they change.
func TestSSHRules(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Policy(`{"tagOwners": {"tag:server": ["autogroup:admin"]}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`)
	laptop := s.Joined("laptop")
	server := s.Node("server").Join(s.AuthKey(selvage.AuthKey{Tags: []string{"tag:server"}}))
	st, other := server.Stream(), laptop.Stream()
	if m := st.Next(); m.SSHPolicy != nil || m.Node.HasCap(tailcfg.CapabilitySSH) {
		t.Errorf("without rules the server gets %+v", m.SSHPolicy)
	}
	other.Next()

	s.Policy(sshWith("accept"))
	m := st.Until(func(m *tailcfg.MapResponse) bool { return m.SSHPolicy != nil })
	if got := principals(m.SSHPolicy); got != "100.64.0.1 fd7a:115c:a1e0::1" {
		t.Errorf("rules let in %s", got)
	}
	if m.Node == nil || !m.Node.HasCap(tailcfg.CapabilitySSH) || !m.Node.HasCap(tailcfg.CapabilitySSHRuleIn) {
		t.Errorf("the node has not got the capability: %+v", m.Node)
	}
	if a := m.SSHPolicy.Rules[0].Action; !a.Accept || a.Reject || a.HoldAndDelegate != "" {
		t.Errorf("action is %+v", a)
	}
	if m := laptop.OneMap(); m.SSHPolicy != nil || m.Node.HasCap(tailcfg.CapabilitySSH) {
		t.Errorf("the laptop, which no rule opens, gets %+v", m.SSHPolicy)
	}

	s.Joined("phone")
	m = st.Until(func(m *tailcfg.MapResponse) bool { return m.SSHPolicy != nil })
	if got := principals(m.SSHPolicy); got != "100.64.0.1 100.64.0.3 fd7a:115c:a1e0::1 fd7a:115c:a1e0::3" {
		t.Errorf("after the phone joined, rules let in %s", got)
	}
	// Clients end running sessions if the rules come in another order, so equal
	// rules are not sent, and are always in the same order.
	first := asJSON(t, server.OneMap().SSHPolicy)
	for range 10 {
		if again := asJSON(t, server.OneMap().SSHPolicy); again != first {
			t.Fatalf("rules were %s and are %s", first, again)
		}
	}
	s.Node("more").Join(s.AuthKey(selvage.AuthKey{Tags: []string{"tag:server"}})) // lets nobody in
	if m := st.Until(func(m *tailcfg.MapResponse) bool { return len(m.PeersChanged) > 0 }); m.SSHPolicy != nil {
		t.Errorf("equal rules are sent again: %+v", m.SSHPolicy)
	}

	s.Policy(`{"tagOwners": {"tag:server": ["autogroup:admin"]}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`)
	m = st.Until(func(m *tailcfg.MapResponse) bool { return m.SSHPolicy != nil })
	if len(m.SSHPolicy.Rules) != 0 || m.Node == nil || m.Node.HasCap(tailcfg.CapabilitySSH) {
		t.Errorf("after the rules went: %s", asJSON(t, m))
	}
}

// Nobody can pass a check yet, so a rule with one lets nobody in.
func TestSSHCheckLetsNobodyIn(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Policy(sshWith("check"))
	s.Joined("laptop")
	server := s.Node("server").Join(s.AuthKey(selvage.AuthKey{Tags: []string{"tag:server"}}))
	m := server.Stream().Next()
	if m.SSHPolicy == nil || len(m.SSHPolicy.Rules) == 0 {
		t.Fatal("no rules")
	}
	for _, r := range m.SSHPolicy.Rules {
		if r.Action.Accept || r.Action.HoldAndDelegate == "" {
			t.Errorf("action is %+v", r.Action)
		}
	}
	// The client fills in who and where, and asks.
	url := m.SSHPolicy.Rules[0].Action.HoldAndDelegate
	url = strings.NewReplacer("$SRC_NODE_ID", "1", "$DST_NODE_ID", "2", "$LOCAL_USER", "root", "$SSH_USER", "root", "$SRC_NODE_IP", "100.64.0.1", "$DST_NODE_IP", "100.64.0.2").Replace(url)
	a := server.Ask("GET", url, nil)
	var action tailcfg.SSHAction
	if err := json.Unmarshal([]byte(a.Body), &action); err != nil || a.Status != http.StatusOK {
		t.Fatalf("got %+v, %v", a, err)
	}
	if action.Accept || !action.Reject || action.HoldAndDelegate != "" || action.Message == "" {
		t.Errorf("the check ends with %+v", action)
	}
}
