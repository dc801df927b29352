package policy

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/policy/transport"
)

var update = flag.Bool("update", false, "write the answers of testdata anew")

// TestAnswers asks the questions of testdata/*.txtar. Each has the files "policy",
// "people" (login and role), "devices" (name, then user=, tags=, addrs=, routes=,
// attrs=NAME~VALUE, services=NAME~ADDRESS)
// and "answers": a question to the left of "=>" and what is answered to the right.
//
//	sees A B            may A know of B
//	open A B PROTO PORT may A send to that port of B, and by which line
//	route A PREFIX      may A use the route
//	approves A PREFIX   is the route of A approved without asking
//	owns LOGIN|- TAG [TAGS]  may the person, or who holds the tags, give the tag
//	caps A              node capabilities
//	filter A            the packet filter, one rule after another
//	ssh A B USER        what becomes of an SSH login
//	class A B           are they of one class
//	carrier A PREFIX    which of the routers carries the route for A
//	service A SVC       may A use the service
//	hosts A SVC         may A host the service without asking
//	postures A          which postures hold
//	pool A              networks of A's address
func TestAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := section(ar, "answers")
			got := newQuiz(t, ar).answers(want)
			if *update {
				ar.Files[slices.IndexFunc(ar.Files, func(f txtar.File) bool { return f.Name == "answers" })].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answers differ (-want +got):\n%s", diff)
			}
		})
	}
}

func section(ar *txtar.Archive, name string) string {
	for _, f := range ar.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// quiz is a policy with a network to ask about.
type quiz struct {
	t      *testing.T
	people map[string]selvage.UserID
	names  map[string]int
	w      *world
}

func newQuiz(t *testing.T, ar *txtar.Archive) *quiz {
	t.Helper()
	pol, err := Parse(section(ar, "policy"))
	if err != nil {
		t.Fatal(err)
	}
	q := &quiz{t: t, people: make(map[string]selvage.UserID), names: make(map[string]int)}
	var people []Person
	for line := range strings.Lines(section(ar, "people")) {
		f := append(strings.Fields(line), "member")
		people = append(people, Person{ID: selvage.UserID(len(people) + 1), Login: f[0], Role: selvage.Role(f[1])})
		q.people[f[0]] = people[len(people)-1].ID
	}
	if err := pol.Test(people); err != nil {
		t.Fatal(err)
	}
	q.w = newWorld(pol.Compile(people))
	for line := range strings.Lines(section(ar, "devices")) {
		f := strings.Fields(line)
		q.names[f[0]] = len(q.w.devices)
		q.w.add(q.device(len(q.w.devices)+1, f[1:]))
	}
	return q
}

func (q *quiz) device(id int, facts []string) Device {
	d := Device{Node: selvage.NodeID(id), Addrs: []netip.Addr{
		netip.AddrFrom4([4]byte{100, 64, 0, byte(id)}), netip.MustParseAddr(fmt.Sprintf("fd7a:115c:a1e0::%x", id)),
	}}
	for _, f := range facts {
		name, value, _ := strings.Cut(f, "=")
		list := strings.Split(value, ",")
		switch name {
		case "user":
			d.User = q.people[value]
		case "tags":
			d.Tags = list
		case "addrs":
			d.Addrs = nil
			for _, s := range list {
				d.Addrs = append(d.Addrs, netip.MustParseAddr(s))
			}
		case "attrs":
			d.Attrs = make(map[string]any)
			for _, s := range list {
				attr, v, _ := strings.Cut(s, "~")
				d.Attrs[attr] = v
			}
		case "services":
			for _, s := range list {
				service, addr, _ := strings.Cut(s, "~")
				d.Services = append(d.Services, Service{service, []netip.Addr{netip.MustParseAddr(addr)}})
			}
		case "shared":
			d.Shared = true
		case "routes":
			for _, s := range list {
				d.Routes = append(d.Routes, netip.MustParsePrefix(s))
			}
		default:
			q.t.Fatalf("unknown fact %q", f)
		}
	}
	return d
}

// answers returns the questions with their answers.
func (q *quiz) answers(text string) string {
	var sb strings.Builder
	for line := range strings.Lines(text) {
		question, _, _ := strings.Cut(strings.TrimSpace(line), "=>")
		question = strings.TrimSpace(question)
		if question == "" || strings.HasPrefix(question, "#") {
			sb.WriteString(strings.TrimSpace(line) + "\n")
			continue
		}
		if strings.HasPrefix(line, "\t") { // the rest of a long answer
			continue
		}
		fmt.Fprintf(&sb, "%s => %s\n", question, q.answer(strings.Fields(question)))
	}
	return sb.String()
}

func (q *quiz) answer(f []string) string {
	c := q.w.c
	switch f[0] {
	case "sees":
		return yes(c.Sees(q.class(f[1]), q.class(f[2])))
	case "class":
		return yes(q.class(f[1]) == q.class(f[2]))
	case "open":
		proto, err := transport.ParseProto(f[3])
		port, err2 := strconv.ParseUint(f[4], 10, 16)
		if err != nil || err2 != nil {
			q.t.Fatal(f, err, err2)
		}
		ok, line := c.Explain(q.dev(f[1]), q.dev(f[2]), proto[0], uint16(port))
		if ok {
			return fmt.Sprint("yes, line ", line)
		}
		return "no"
	case "route":
		return yes(c.UsesRoute(q.class(f[1]), netip.MustParsePrefix(f[2])))
	case "service":
		return yes(c.UsesService(q.class(f[1]), f[2]))
	case "hosts":
		return yes(c.ApprovesService(q.dev(f[1]), f[2]))
	case "postures":
		return strings.Join(c.Postures(q.dev(f[1])), " ")
	case "pool":
		return fmt.Sprint(c.IPPools(q.dev(f[1])))
	case "carrier":
		r := netip.MustParsePrefix(f[2])
		routers := q.w.routersOf(r)
		if at := c.Carrier(q.class(f[1]), r, q.w.classesOf(routers)); at >= 0 {
			return q.name(routers[at])
		}
		return "nobody"
	case "approves":
		return yes(c.Approves(q.dev(f[1]), netip.MustParsePrefix(f[2])))
	case "owns":
		return yes(c.OwnsTag(q.people[f[1]], f[3:], f[2]))
	case "caps":
		return mustJSON(c.CapMap(q.dev(f[1])))
	case "filter":
		var rules []string
		for _, r := range q.w.filter(q.names[f[1]]) {
			rules = append(rules, "\n\t"+strings.TrimSpace(strictFilter([]tailcfg.FilterRule{r})))
		}
		return strings.Join(rules, "")
	case "ssh":
		v := c.SSHLogin(q.dev(f[1]), q.dev(f[2]), f[3])
		switch {
		case !v.Allowed:
			return "no"
		case v.Check:
			return fmt.Sprintf("check %v, line %d", v.Period, v.Line)
		}
		return fmt.Sprint("yes, line ", v.Line)
	}
	q.t.Fatalf("unknown question %q", f)
	return ""
}

func (q *quiz) class(name string) Class { return q.w.classes[q.index(name)] }
func (q *quiz) dev(name string) Device  { return q.w.devices[q.index(name)] }

func (q *quiz) name(i int) string {
	for name, j := range q.names {
		if i == j {
			return name
		}
	}
	return ""
}

func (q *quiz) index(name string) int {
	i, ok := q.names[name]
	if !ok {
		q.t.Fatalf("no device %q", name)
	}
	return i
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
