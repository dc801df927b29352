// Package device is the page of one device: what is known about it, and the button
// that approves it.
package device

import (
	"embed"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/console/describe"
	"selvage/internal/console/site"
	"selvage/internal/console/ui"
	"selvage/internal/netmap"
)

//go:embed page.tmpl
var files embed.FS

// maxEndpoints is how many addresses under which a device is reached are shown.
const maxEndpoints = 20

// Data is what the page shows.
type Data struct {
	Name     string
	FullName string
	Glyph    string
	Status   ui.Status
	Badges   []ui.Badge
	Online   bool
	Seen     ui.Moment

	Owner      string
	Login      string
	Tags       []string
	IPv4, IPv6 string

	System, Hostname, Client string
	Created                  ui.Moment

	Endpoints     []string
	MoreEndpoints int
	HomeRelay     string
	Routes        []Route

	KeyExpiry   ui.Moment
	Expired     bool
	NodeKey     string
	MachineKey  string
	StableID    string
	AuthKey     string
	Unapproved  bool // the device waits
	MayApprove  bool
	ApprovePath string
	Ephemeral   bool
}

// Route is a route that the device offers or may serve.
type Route struct {
	Prefix string
	State  ui.Badge
}

// Page serves /devices/{id} and what is posted from there.
type Page struct {
	site *site.Site
	page *ui.Page[Data]
}

// New returns the page.
func New(s *site.Site) *Page { return &Page{s, ui.Must[Data](files)} }

// Serve shows the page.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	n, err := v.Device(r.PathValue("id"))
	if err != nil {
		return err
	}
	f := ui.Frame{Title: n.Name, Section: ui.SectionDevices, Wide: true}
	return site.Show(p.site, w, v, p.page, f, data(v, n))
}

func data(v *site.Visit, n *netmap.Node) Data {
	d := Data{
		Name: n.Name, FullName: n.Name + "." + v.View.Domain(), Glyph: describe.Glyph(n),
		Status: describe.Status(n), Badges: describe.Badges(v, n), Online: n.Online, Seen: v.When(n.Soft.LastSeen),
		Owner: describe.Owner(v.View, n), Tags: n.Tags, IPv4: n.IPv4.String(), IPv6: n.IPv6.String(),
		System: describe.System(n), Hostname: n.Soft.Hostinfo.Hostname, Client: describe.Client(n), Created: v.When(n.Created),
		Routes: routes(n), KeyExpiry: v.When(n.KeyExpiry), Expired: n.Expired,
		NodeKey: n.Key.String(), MachineKey: n.Machine.String(), StableID: n.StableID, AuthKey: string(n.AuthKey),
		Unapproved: !n.Approved, MayApprove: authz.Allow(v.Actor, authz.NodeApprove) == nil,
		ApprovePath: "/devices/" + n.ID.String() + "/approve", Ephemeral: n.Ephemeral,
	}
	if u := v.View.User(n.User); u != nil && !n.Tagged() && u.Name() != u.Login {
		d.Login = u.Login
	}
	if n.Soft.HomeDERP != 0 {
		d.HomeRelay = "Region " + strconv.Itoa(n.Soft.HomeDERP)
	}
	for _, e := range n.Soft.Endpoints[:min(len(n.Soft.Endpoints), maxEndpoints)] {
		d.Endpoints = append(d.Endpoints, e.String())
	}
	d.MoreEndpoints = len(n.Soft.Endpoints) - len(d.Endpoints)
	return d
}

// routes are those that the device offers and those that it may serve, with what
// becomes of each.
func routes(n *netmap.Node) []Route {
	offered := n.Soft.Advertised()
	all := slices.Concat(offered, n.ApprovedRoutes)
	slices.SortFunc(all, netip.Prefix.Compare)
	all = slices.Compact(all)
	list := make([]Route, 0, len(all))
	for _, p := range all {
		list = append(list, Route{p.String(), routeState(n, p, slices.Contains(offered, p))})
	}
	return list
}

func routeState(n *netmap.Node, p netip.Prefix, offered bool) ui.Badge {
	approved := slices.Contains(n.ApprovedRoutes, p)
	switch {
	case !approved:
		return ui.Badge{Text: "Waits for approval", Tone: ui.ToneWarn, Title: "The device offers it; an administrator approves it with `selvage route approve`"}
	case !offered:
		return ui.Badge{Text: "Not offered", Tone: ui.ToneNone, Title: "It is approved, but the device does not offer it at present"}
	case selvage.IsExitRoute(p):
		return ui.Badge{Text: "Exit node", Tone: ui.ToneOK, Title: "Other devices may reach the internet through it"}
	case slices.Contains(n.Primary, p):
		return ui.Badge{Text: "Serving", Tone: ui.ToneOK, Title: "Traffic to this network goes through this device"}
	}
	return ui.Badge{Text: "Standby", Tone: ui.ToneInfo, Title: "Another device serves it; this one takes over if that fails"}
}

// Approve lets the device take part.
func (p *Page) Approve(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	n, err := v.Device(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := authz.Allow(v.Actor, authz.NodeApprove); err != nil {
		return err
	}
	if !n.Approved {
		if err := v.Net.ApproveNode(r.Context(), v.Actor, n.ID); err != nil {
			return err
		}
	}
	to := "/devices/" + n.ID.String()
	if r.PostFormValue("back") == "list" {
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}
