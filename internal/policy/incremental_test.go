package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"selvage"
)

// TestIncrementalEqualsFull makes a thousand changes to a network, one after
// another: devices join, leave, change hands, tags, routes and posture; people change
// groups, roles and logins; rules change. A Compiled that goes on is compared with a
// new one.
func TestIncrementalEqualsFull(t *testing.T) {
	const changes, slots, variants, policies = 1000, 8, 5, 5
	rapid.Check(t, func(t *rapid.T) {
		var pool [slots][variants]Device
		for i := range pool {
			for v := range pool[i] {
				pool[i][v] = drawDevice(t, i+1)
			}
		}
		others := make([]*naivePolicy, policies)
		for i := range others {
			others[i] = drawNaive(t)
		}
		// What happens when is not drawn one by one, for speed.
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		n := drawNaive(t)
		w := newWorld(compileNaive(t, n))
		for step := range changes {
			switch kind := rnd.IntN(10); {
			case kind < 7:
				w.put(pool[rnd.IntN(slots)][rnd.IntN(variants)])
			case kind < 9 && len(w.devices) > 0:
				i := rnd.IntN(len(w.devices))
				w.devices, w.classes = slices.Delete(w.devices, i, i+1), slices.Delete(w.classes, i, i+1)
			default:
				w.goOn(t, n, others[rnd.IntN(policies)], rnd.IntN(4))
			}
			if step%50 == 0 || step == changes-1 {
				w.recount()
				w.compareWithNew(t, n)
			}
		}
	})
}

// put changes a device's facts, or lets it join.
func (w *world) put(d Device) {
	i := slices.IndexFunc(w.devices, func(o Device) bool { return o.Node == d.Node })
	if i < 0 {
		i = len(w.devices)
		w.devices, w.classes = append(w.devices, d), append(w.classes, 0)
	}
	w.devices[i], w.classes[i] = d, w.c.Class(d)
}

func compileNaive(t *rapid.T, n *naivePolicy) *Compiled {
	pol, err := Parse(n.text())
	if err != nil {
		t.Fatalf("%v\n%s", err, n.text())
	}
	return pol.Compile(n.people)
}

// goOn takes groups, people or rules from another policy, and compiles after what
// was.
func (w *world) goOn(t *rapid.T, n, other *naivePolicy, what int) {
	switch what {
	case 0:
		n.Groups = other.Groups
	case 1:
		n.people = other.people // other roles
	case 2:
		n.people = slices.Clone(n.people)
		n.people[0].Login = map[string]string{"ann@a.org": "ann@b.org", "ann@b.org": "ann@a.org"}[n.people[0].Login]
	default:
		n.Grants = other.Grants
	}
	pol, err := Parse(n.text())
	if err != nil {
		t.Fatalf("%v\n%s", err, n.text())
	}
	c, changed, ok := pol.CompileAfter(w.c, n.people)
	w.c = c
	for i, d := range w.devices {
		if !ok || len(d.Tags) == 0 && slices.Contains(changed, d.User) {
			w.classes[i] = c.Class(d)
		}
	}
}

// recount finds the members of the classes and the routes anew.
func (w *world) recount() {
	clear(w.members)
	w.routes = nil
	for i, d := range w.devices {
		w.members[w.classes[i]] = append(w.members[w.classes[i]], d.Addrs...)
		w.routes = append(w.routes, d.Routes...)
	}
}

// compareWithNew compares all answers with those of a policy compiled from nothing.
func (w *world) compareWithNew(t *rapid.T, n *naivePolicy) {
	o := newWorld(compileNaive(t, n))
	for _, d := range w.devices {
		o.add(d)
	}
	for i := range w.devices {
		if a, b := mustJSON(w.filter(i)), mustJSON(o.filter(i)); a != b {
			t.Fatalf("filters of %+v differ:\n%s\n%s\n%s", w.devices[i], a, b, n.text())
		}
		for j := range w.devices {
			if a, b := w.c.Sees(w.classes[i], w.classes[j]), o.c.Sees(o.classes[i], o.classes[j]); a != b {
				t.Fatalf("%+v sees %+v: %v and %v\n%s", w.devices[i], w.devices[j], a, b, n.text())
			}
			if a, b := w.routesOf(i, j), o.routesOf(i, j); !slices.Equal(a, b) {
				t.Fatalf("%+v has %v and %v of %+v\n%s", w.devices[i], a, b, w.devices[j], n.text())
			}
		}
	}
}

// TestCompileDoesNotDependOnOrder compiles the same policy with people, members of
// groups and sources in another order.
func TestCompileDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, w := drawWorld(t)
		m := *n
		m.people = rapid.Permutation(n.people).Draw(t, "people")
		m.Groups = make(map[string][]string)
		for name, members := range n.Groups {
			m.Groups[name] = rapid.Permutation(members).Draw(t, "members")
		}
		m.Grants = slices.Clone(n.Grants)
		for i := range m.Grants {
			m.Grants[i].Src = rapid.Permutation(n.Grants[i].Src).Draw(t, "src")
		}
		o := newWorld(compileNaive(t, &m))
		for _, d := range w.devices {
			o.add(d)
		}
		for i := range w.devices {
			if a, b := strictFilter(w.filter(i)), strictFilter(o.filter(i)); meaning(t, w, i) != meaning(t, o, i) {
				t.Fatalf("filters differ:\n%s\n%s\n%s\n%s", a, b, n.text(), m.text())
			}
			if a, b := mustJSON(w.filter(i)), mustJSON(w.filter(i)); a != b {
				t.Fatalf("two filters of one device differ:\n%s\n%s", a, b)
			}
			for j := range w.devices {
				if w.c.Sees(w.classes[i], w.classes[j]) != o.c.Sees(o.classes[i], o.classes[j]) {
					t.Fatalf("%d sees %d in one order only\n%s", i, j, n.text())
				}
			}
		}
	})
}

// meaning is what a filter opens, without the grouping into rules: which of them have
// the same list of sources depends on how these are written.
func meaning(t *rapid.T, w *world, i int) string {
	out := make(map[string]string)
	for key, acc := range expand(w.filter(i)) {
		texts := make([]string, 0, len(acc))
		for _, x := range acc {
			texts = append(texts, fmt.Sprint(x.src.Ranges(), x.dst.Ranges()))
		}
		slices.Sort(texts)
		out[key] = fmt.Sprint(slices.Compact(texts))
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCompileAfterKeepsClasses: that somebody joins a group changes nobody else's
// class.
func TestCompileAfterKeepsClasses(t *testing.T) {
	parse := func(members string) *Policy {
		pol, err := Parse(`{"groups": {"group:g": [` + members + `]}, "grants": [{"src": ["group:g"], "dst": ["autogroup:member"], "ip": ["22"]}]}`)
		if err != nil {
			t.Fatal(err)
		}
		return pol
	}
	people := []Person{{1, "ann@a.org", selvage.RoleMember}, {2, "bob@a.org", selvage.RoleMember}}
	c := parse(`"ann@a.org"`).Compile(people)
	ann, bob := c.Class(Device{User: 1}), c.Class(Device{User: 2})
	next, changed, ok := parse(`"ann@a.org", "bob@a.org"`).CompileAfter(c, people)
	if !ok || !slices.Equal(changed, []selvage.UserID{2}) || next.Class(Device{User: 1}) != ann || next.Class(Device{User: 2}) != ann || bob == ann {
		t.Errorf("ok %v, changed %v, classes %v %v", ok, changed, next.Class(Device{User: 1}), next.Class(Device{User: 2}))
	}
	if _, _, ok := parse(`"ann@a.org"`).CompileAfter(compiled(t, `{"grants": []}`), people); ok {
		t.Error("rules that differ go on")
	}
}
