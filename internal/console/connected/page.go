// Package connected is the page after a device has been connected: its name, its
// addresses, and what one can do now.
package connected

import (
	"embed"
	"net/http"

	"selvage/internal/console/site"
	"selvage/internal/console/ui"
	"selvage/internal/netmap"
)

//go:embed page.tmpl
var files embed.FS

// Data is what the page shows.
type Data struct {
	Name, FullName string
	IPv4, IPv6     string
	Path           string // of the device's own page
	Waiting        bool   // for an administrator's approval
	// Peer is another device that it could ping; empty if it sees none.
	Peer        string
	PingCommand string
}

// Page serves /connected/{id}.
type Page struct {
	site *site.Site
	page *ui.Page[Data]
}

// New returns the page.
func New(s *site.Site) *Page { return &Page{s, ui.Must[Data](files)} }

// Serve shows the page for the device of the address.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	n, err := v.Device(r.PathValue("id"))
	if err != nil {
		return err
	}
	data := Data{
		Name: n.Name, FullName: n.Name + "." + v.View.Domain(), IPv4: n.IPv4.String(), IPv6: n.IPv6.String(),
		Path: "/devices/" + n.ID.String(), Waiting: !n.Approved,
	}
	if peer := somePeer(v.View, n); peer != nil {
		data.Peer, data.PingCommand = peer.Name, "tailscale ping "+peer.Name
	}
	title := "Connected"
	if data.Waiting {
		title = "Almost there"
	}
	return site.Show(p.site, w, v, p.page, ui.Frame{Title: title}, data)
}

// somePeer returns a device that n sees, of the same person and online if there is
// such a one.
func somePeer(v *netmap.View, n *netmap.Node) *netmap.Node {
	var best *netmap.Node
	points := func(p *netmap.Node) int {
		sum := 0
		if p.Online {
			sum += 2
		}
		if p.User != 0 && p.User == n.User {
			sum++
		}
		return sum
	}
	for p := range v.Peers(n) {
		if best == nil || points(p) > points(best) {
			best = p
		}
		if points(best) == 3 {
			break
		}
	}
	return best
}
