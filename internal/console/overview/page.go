// Package overview is the first page of who is signed in: the devices that they may
// see, what waits for them, and the state of the network. Without a device it teaches
// how to add one.
package overview

import (
	"embed"
	"net/http"
	"strconv"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/console/adddevice"
	"selvage/internal/console/describe"
	"selvage/internal/console/site"
	"selvage/internal/console/ui"
	"selvage/internal/netmap"
)

//go:embed page.tmpl
var files embed.FS

// maxWaiting is how many devices that wait for approval are shown above the list.
const maxWaiting = 5

// Data is what the page shows.
type Data struct {
	Title   string
	Tailnet string
	// All is set if the visitor sees other people's devices.
	All      bool
	Banners  []ui.Banner
	Figures  []Figure
	Waiting  []Row
	More     int // how many wait beside those shown
	MorePath string
	// Guide takes the place of the list while there is no device.
	Guide *ui.Guide
	List  List
}

// Figure is a number with its name.
type Figure struct {
	Name, Value, Note string
}

// Row is a device in the list.
type Row struct {
	ID      selvage.NodeID
	Name    string
	Path    string
	Glyph   string
	Badges  []ui.Badge
	Owner   string
	Tags    []string
	IPv4    string
	System  string
	Client  string
	Status  ui.Status
	Online  bool
	Seen    ui.Moment
	Created ui.Moment
}

// ApprovePath is where the approval of the device is posted.
func (r Row) ApprovePath() string { return r.Path + "/approve" }

// Page serves /.
type Page struct {
	site *site.Site
	page *ui.Page[Data]
}

// New returns the page.
func New(s *site.Site) *Page { return &Page{s, ui.Must[Data](files)} }

// Serve shows the page.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	q := readQuery(r.URL.Query())
	found := find(v, q)
	data := Data{
		Title: "Devices", Tailnet: v.View.Tailnet.Name, All: v.SeesAll(),
		Banners: banners(v), List: list(v, q, found),
	}
	if !data.All {
		data.Title = "Your devices"
	}
	if found.counts.all == 0 {
		guide := adddevice.GuideFor(r, v)
		data.Guide = &guide
	} else {
		data.Figures = figures(v, found.counts)
	}
	if authz.Allow(v.Actor, authz.NodeApprove) == nil && !data.List.Narrowed() {
		for _, n := range found.waiting[:min(len(found.waiting), maxWaiting)] {
			data.Waiting = append(data.Waiting, row(v, n))
		}
		data.More = len(found.waiting) - len(data.Waiting)
		data.MorePath = query{only: onlyWaiting}.path()
	}
	f := ui.Frame{Title: data.Title, Section: ui.SectionDevices, Wide: true}
	return site.Show(p.site, w, v, p.page, f, data)
}

func row(v *site.Visit, n *netmap.Node) Row {
	return Row{
		ID: n.ID, Name: n.Name, Path: "/devices/" + n.ID.String(),
		Glyph: describe.Glyph(n), Badges: describe.Badges(v, n),
		Owner: describe.Owner(v.View, n), Tags: n.Tags, IPv4: n.IPv4.String(),
		System: describe.System(n), Client: describe.Client(n),
		Status: describe.Status(n), Online: n.Online, Seen: v.When(n.Soft.LastSeen), Created: v.When(n.Created),
	}
}

// banners are what is wrong with the network as a whole.
func banners(v *site.Visit) []ui.Banner {
	if authz.Allow(v.Actor, authz.PolicyRead) != nil || v.View.Policy.Problem == nil {
		return nil
	}
	return []ui.Banner{{
		Tone: ui.ToneDanger, Title: "The newest access policy is not in force",
		Text: site.Sentence(v.View.Policy.Problem.Error()) + " The one before it still decides who reaches what.",
	}}
}

func figures(v *site.Visit, c counts) []Figure {
	f := []Figure{{"Devices", ui.Number(c.all), ui.Number(c.online) + " connected"}}
	if authz.Allow(v.Actor, authz.UserRead) == nil {
		users := v.View.Users()
		pending := 0
		for _, u := range users {
			if u.Pending {
				pending++
			}
		}
		note := "All have signed in"
		if pending > 0 {
			note = ui.Plural(pending, "has", "have") + " not signed in yet"
		}
		f = append(f, Figure{"People", ui.Number(len(users)), note})
	}
	if authz.Allow(v.Actor, authz.PolicyRead) == nil {
		if rev := v.View.Policy.Rev; rev != nil {
			f = append(f, Figure{"Access policy", "Revision " + strconv.FormatInt(rev.Rev, 10), author(rev.Author) + ", " + v.When(rev.Created).Relative()})
		} else {
			f = append(f, Figure{"Access policy", "Default", "People reach their own devices"})
		}
	}
	return f
}

// author says who wrote a policy: a login, or a kind of actor who has no name.
func author(name string) string {
	switch selvage.ActorKind(name) {
	case selvage.ActorLocal:
		return "Set on the server"
	case selvage.ActorSystem:
		return "Set by the server"
	}
	return "By " + name
}
