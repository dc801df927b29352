package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tailscale/hujson"
	"tailscale.com/tailcfg"
)

// recorderPort is where session recorders listen.
const recorderPort = 80

// What a person is told whose session must be recorded and cannot be.
const (
	recordingRefused = "This session must be recorded, and no recorder could be reached."
	recordingEnded   = "This session must be recorded, and its recording failed."
)

// recorders reads who records the sessions of an ssh rule.
func (p *parser) recorders(list, enforce *hujson.Value, what string, ru *sshRule) {
	for _, t := range p.Texts(list, "recorder") {
		s := p.selector(t, inSSHSource, "recorder=")
		if s.kind != selTag {
			p.Errorf(t.Off, "name the tag of recorders", "%s: invalid recorder %q", what, t.S)
			continue
		}
		ru.recorder = append(ru.recorder, s)
	}
	ru.enforce = p.Boolean(enforce, "enforceRecorder")
	if ru.enforce && len(ru.recorder) == 0 && len(p.Elements(list, "recorder")) == 0 {
		p.Errorf(enforce.StartOffset, "name a recorder", "%s: enforceRecorder needs a recorder", what)
	}
}

// recordersOf returns where the sessions of a rule are to be recorded, in an order
// that depends on nothing else.
func (c *Compiled) recordersOf(ru *compiledSSH, members func(Class) []netip.Addr) []netip.AddrPort {
	if ru.recSet < 0 {
		return nil
	}
	var out []netip.AddrPort
	for _, k := range c.classes.bySet[ru.recSet].all() {
		for _, a := range members(k) {
			out = append(out, netip.AddrPortFrom(a, recorderPort))
		}
	}
	slices.SortFunc(out, func(a, b netip.AddrPort) int {
		return cmp.Or(cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen()), a.Compare(b))
	})
	return slices.Compact(out)
}

// record adds the recorders of a rule to what is done with a session. Where one must
// be recorded and there is no recorder, the session is refused.
func (ru *compiledSSH) record(a *tailcfg.SSHAction, recorders []netip.AddrPort) *tailcfg.SSHAction {
	switch {
	case ru.recSet < 0:
		return a
	case len(recorders) == 0 && ru.enforce:
		return &tailcfg.SSHAction{Reject: true, Message: recordingRefused}
	case len(recorders) == 0:
		return a
	}
	a.Recorders = recorders
	if ru.enforce {
		a.OnRecordingFailure = &tailcfg.SSHRecorderFailureAction{
			RejectSessionWithMessage:    recordingRefused,
			TerminateSessionWithMessage: recordingEnded,
		}
	}
	return a
}

// SSHAction returns what a client is to do with a login that SSHLogin decided, once
// a check has been passed if one is due. members is that of Filter.
func (c *Compiled) SSHAction(v SSHVerdict, members func(Class) []netip.Addr) *tailcfg.SSHAction {
	if !v.Allowed {
		return &tailcfg.SSHAction{Reject: true}
	}
	return v.rule.record(acceptSSH(), c.recordersOf(v.rule, members))
}
