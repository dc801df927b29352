package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
	"go4.org/netipx"

	"selvage/internal/policy/source"
)

// ipset is a named set of addresses, while it is read.
type ipset struct {
	val   *hujson.Value
	off   int
	state ipsetState
	set   *netipx.IPSet // once it is known; nil if it is wrong
}

type ipsetState uint8

const (
	ipsetUnread ipsetState = iota
	ipsetReading
	ipsetRead
)

func (p *parser) readIPSets(v *hujson.Value) {
	if v == nil {
		return
	}
	ms := p.Members(v, "ipsets")
	if len(ms) > maxHosts {
		p.Errorf(v.StartOffset, "", "%d ipsets; at most %d are allowed", len(ms), maxHosts)
		return
	}
	for _, m := range ms {
		if !strings.HasPrefix(m.Name.S, "ipset:") || !validHost.MatchString(strings.TrimPrefix(m.Name.S, "ipset:")) || len(m.Name.S) > source.MaxName {
			p.Errorf(m.Name.Off, "use letters, digits, dots, dashes and underscores after 'ipset:'", "ipsets[%q]: not the name of an IP set", source.Clip(m.Name.S))
			continue
		}
		p.ipsets[m.Name.S] = &ipset{val: m.Val, off: m.Name.Off}
		p.ipsetNames = append(p.ipsetNames, m.Name.S)
	}
	slices.Sort(p.ipsetNames)
	for _, name := range p.ipsetNames {
		p.ipset(name, 0)
	}
}

// ipset reads a set and those that it is made of, and returns nil if one is wrong.
func (p *parser) ipset(name string, depth int) *netipx.IPSet {
	s := p.ipsets[name]
	switch {
	case s.state == ipsetRead:
		return s.set
	case s.state == ipsetReading || depth > source.MaxDepth:
		p.Errorf(s.off, "take it out of itself", "ipsets[%q]: the set contains itself, or sets are nested more than %d deep", name, source.MaxDepth)
		return nil
	}
	s.state = ipsetReading
	defer func() { s.state = ipsetRead }()
	var b netipx.IPSetBuilder
	ok := true
	for _, t := range p.Texts(s.val, fmt.Sprintf("ipsets[%q]", name)) {
		part, remove := p.ipsetEntry(t, name, depth)
		switch {
		case part == nil:
			ok = false
		case !p.spendRanges(part, t.Off):
			return nil
		case remove:
			b.RemoveSet(part)
		default:
			b.AddSet(part)
		}
	}
	set, err := b.IPSet()
	if err != nil || !ok {
		return nil
	}
	if len(set.Ranges()) > source.MaxListed {
		p.Errorf(s.off, "", "ipsets[%q]: more than %d ranges", name, source.MaxListed)
		return nil
	}
	s.set = set
	return set
}

// spendRanges counts the ranges of a part, and reports whether there may be so many.
func (p *parser) spendRanges(part *netipx.IPSet, off int) bool {
	if p.rangeWork > maxRangeWork {
		return false // said already
	}
	if p.rangeWork += 1 + len(part.Ranges()); p.rangeWork <= maxRangeWork {
		return true
	}
	p.Errorf(off, "nest fewer sets", "IP sets together are too large to read")
	return false
}

// ipsetEntry reads "[add|remove] X", where X is an address, a network, a range, a
// host or another set.
func (p *parser) ipsetEntry(t source.Text, name string, depth int) (part *netipx.IPSet, remove bool) {
	word, arg, two := strings.Cut(t.S, " ")
	arg = strings.TrimSpace(arg)
	switch {
	case !two:
		arg = t.S
	case word == "remove":
		remove = true
	case word != "add":
		p.Errorf(t.Off, `write "add X" or "remove X"`, "ipsets[%q]: %q is neither add nor remove", name, source.Clip(word))
		return nil, false
	}
	if p.ipsets[arg] != nil {
		return p.ipset(arg, depth+1), remove
	}
	if strings.HasPrefix(arg, "ipset:") {
		p.Errorf(t.Off, p.suggest(arg, p.ipsetNames, "ipsets"), "ipsets[%q]: IP set not found: %q", name, arg)
		return nil, false
	}
	var b netipx.IPSetBuilder
	if h, ok := p.hosts[strings.TrimPrefix(arg, "host:")]; ok {
		b.AddRange(h.rng)
	} else {
		rng, err := parseRange(arg)
		if err != nil {
			p.Errorf(t.Off, `entries are addresses, networks, ranges, hosts and IP sets, after "add" or "remove"`, "ipsets[%q]: %q: invalid address", name, source.Clip(arg))
			return nil, false
		}
		b.AddRange(rng)
	}
	part, err := b.IPSet()
	if err != nil {
		return nil, false
	}
	return part, remove
}

// selectors reads an entry of a rule's sources or destinations: one selector, or for
// an IP set one for each of its ranges.
func (p *parser) selectors(t source.Text, where place, what string) []selector {
	if !strings.HasPrefix(t.S, "ipset:") {
		return []selector{p.selector(t, where, what)}
	}
	s := p.ipsets[t.S]
	if s == nil {
		p.Errorf(t.Off, p.suggest(t.S, p.ipsetNames, "ipsets"), "%sIP set not found: %q", what, t.S)
		return nil
	}
	if s.set == nil {
		return nil // said where it is defined
	}
	var out []selector
	for _, rng := range s.set.Ranges() {
		if p.budget--; p.budget < 0 {
			p.Errorf(t.Off, "use smaller sets", "more than %d selectors", maxSelectors)
			return nil
		}
		sel := selector{kind: selAddr, name: t.S, rng: rng, lit: rangeText(rng), off: t.Off}
		p.notEverything(sel, where)
		out = append(out, sel)
	}
	return out
}
