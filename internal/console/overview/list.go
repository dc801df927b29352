package overview

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"selvage/internal/console/describe"
	"selvage/internal/console/site"
	"selvage/internal/console/ui"
	"selvage/internal/netmap"
)

// Limits of the list.
const (
	pageSize = 100 // devices
	maxQuery = 200 // bytes
)

// only narrows the list to some devices.
type only string

// The narrowings; the texts are part of addresses.
const (
	onlyAll     only = ""
	onlyOnline  only = "online"
	onlyOffline only = "offline"
	onlyWaiting only = "waiting"
	onlyExpired only = "expired"
	onlyMine    only = "mine"
)

// query is what the visitor wants to see of the list.
type query struct {
	text string
	only only
	page int // from 1
}

func readQuery(values url.Values) query {
	q := query{text: strings.TrimSpace(values.Get("q")), only: only(values.Get("only")), page: 1}
	if len(q.text) > maxQuery {
		q.text = strings.ToValidUTF8(q.text[:maxQuery], "")
	}
	if n, err := strconv.Atoi(values.Get("page")); err == nil && n > 0 {
		q.page = n
	}
	switch q.only {
	case onlyOnline, onlyOffline, onlyWaiting, onlyExpired, onlyMine:
	default:
		q.only = onlyAll
	}
	return q
}

// path is the address of the page that shows the query.
func (q query) path() string {
	values := url.Values{}
	if q.text != "" {
		values.Set("q", q.text)
	}
	if q.only != onlyAll {
		values.Set("only", string(q.only))
	}
	if q.page > 1 {
		values.Set("page", strconv.Itoa(q.page))
	}
	if len(values) == 0 {
		return "/"
	}
	return "/?" + values.Encode()
}

// counts are how many devices the visitor may see, in all and by kind.
type counts struct {
	all, online, waiting, expired, mine int
}

// result is what find found.
type result struct {
	nodes   []*netmap.Node // that match the query, by name
	waiting []*netmap.Node // all that wait for approval, by name
	counts  counts
}

// find looks at every device once. That is some milliseconds for 10,000 of them.
func find(v *site.Visit, q query) result {
	var res result
	words := strings.Fields(strings.ToLower(q.text))
	for n := range v.View.Nodes() {
		if !v.MaySee(n) {
			continue
		}
		res.counts.add(v, n)
		if !n.Approved {
			res.waiting = append(res.waiting, n)
		}
		if q.only.holds(v, n) && matches(v.View, n, words) {
			res.nodes = append(res.nodes, n)
		}
	}
	byName := func(a, b *netmap.Node) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(res.nodes, byName)
	slices.SortFunc(res.waiting, byName)
	return res
}

func (c *counts) add(v *site.Visit, n *netmap.Node) {
	c.all++
	if n.Online {
		c.online++
	}
	if !n.Approved {
		c.waiting++
	}
	if n.Expired {
		c.expired++
	}
	if n.User == v.User.ID {
		c.mine++
	}
}

func (o only) holds(v *site.Visit, n *netmap.Node) bool {
	switch o {
	case onlyOnline:
		return n.Online
	case onlyOffline:
		return !n.Online
	case onlyWaiting:
		return !n.Approved
	case onlyExpired:
		return n.Expired
	case onlyMine:
		return n.User == v.User.ID
	}
	return true
}

// matches reports whether each of the words, in lower case, is somewhere in what the
// list shows of a device.
func matches(v *netmap.View, n *netmap.Node, words []string) bool {
	if len(words) == 0 {
		return true
	}
	var b strings.Builder
	for _, s := range []string{
		n.Name, n.Soft.Hostinfo.Hostname, n.IPv4.String(), n.IPv6.String(),
		describe.System(n), n.Soft.Hostinfo.OS, n.Soft.Hostinfo.IPNVersion, strings.Join(n.Tags, "\n"),
	} {
		b.WriteString(s)
		b.WriteByte('\n')
	}
	if u := v.User(n.User); u != nil && !n.Tagged() {
		b.WriteString(u.Login + "\n" + u.DisplayName)
	}
	text := strings.ToLower(b.String())
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// List is one page of the devices that were asked for.
type List struct {
	Query  string
	Only   string
	Chips  []Chip
	Rows   []Row
	Total  int    // that match
	Range  string // which of them are on the page: "101–200"
	Before string // address of the page before; empty for none
	After  string
	// Clear is the address without the search and the narrowing.
	Clear string
}

// Chip is a link that narrows the list.
type Chip struct {
	Text    string
	Count   string
	Path    string
	Current bool
}

// Narrowed reports whether the list is not all there is.
func (l List) Narrowed() bool { return l.Query != "" || l.Only != "" }

func list(v *site.Visit, q query, found result) List {
	l := List{Query: q.text, Only: string(q.only), Total: len(found.nodes), Clear: "/", Chips: chips(v, q, found.counts)}
	pages := max(1, (l.Total+pageSize-1)/pageSize)
	q.page = min(q.page, pages)
	from := (q.page - 1) * pageSize
	to := min(from+pageSize, l.Total)
	for _, n := range found.nodes[from:to] {
		l.Rows = append(l.Rows, row(v, n))
	}
	l.Range = ui.Number(min(from+1, l.Total)) + "–" + ui.Number(to)
	if q.page > 1 {
		before := q
		before.page--
		l.Before = before.path()
	}
	if q.page < pages {
		after := q
		after.page++
		l.After = after.path()
	}
	return l
}

func chips(v *site.Visit, q query, c counts) []Chip {
	all := []struct {
		text  string
		only  only
		count int
		show  bool
	}{
		{"All", onlyAll, c.all, true},
		{"Connected", onlyOnline, c.online, true},
		{"Offline", onlyOffline, c.all - c.online, true},
		{"Waiting", onlyWaiting, c.waiting, c.waiting > 0},
		{"Key expired", onlyExpired, c.expired, c.expired > 0},
		{"Mine", onlyMine, c.mine, v.SeesAll() && c.mine < c.all},
	}
	var chips []Chip
	for _, a := range all {
		if a.show || q.only == a.only {
			chips = append(chips, Chip{a.text, ui.Number(a.count), query{text: q.text, only: a.only}.path(), q.only == a.only})
		}
	}
	return chips
}
