// Package register is the page that a person sees after a device has printed its
// link: which device it is, and the buttons that connect or refuse it.
//
// It knows the devices that wait only by the functions in [Door].
package register

import (
	"context"
	"embed"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/console/site"
	"selvage/internal/console/ui"
	"selvage/internal/netmap"
)

//go:embed page.tmpl
var files embed.FS

// Device is a device that waits for a person to connect it. All but Code, Address
// and Since is what it says of itself.
type Device struct {
	Code     string
	Hostname string
	OS       string
	Client   string // version
	Tags     []string
	Address  string
	Since    time.Time
	// Seen stands for what the page shows of it. It comes back with the click, since
	// the device can change meanwhile.
	Seen string
}

// Door is where devices wait.
type Door struct {
	// Pending returns the device that waits with a code, or an error of KindNotFound.
	Pending func(code string) (Device, error)
	// Admit connects it as a device of the user, with tags if there are any.
	// preapproved is whether the actor may approve devices as well.
	Admit func(ctx context.Context, actor selvage.Actor, net *netmap.Net, code string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error)
	// AdmitSeen is Admit for the device as it was when its Seen was this: if it has
	// changed, the error is of KindConflict. If it is nil, as where devices cannot
	// change, Admit is used.
	AdmitSeen func(ctx context.Context, actor selvage.Actor, net *netmap.Net, code, seen string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error)
	// Reject tells the device that it may not connect.
	Reject func(code string) error
}

// After a restart of the server a device that waits calls again within a minute, so
// the page looks for it as long as that.
const (
	lookInterval = 5 // seconds
	lookTimes    = 12
)

// maxCode is the length of a code that is looked for, in bytes; ours have 16.
const maxCode = 64

// State is what the page has to say.
type State string

// The states. They are compared with in the template.
const (
	Ask      State = "ask"      // somebody is signed in and may connect the device
	Stranger State = "stranger" // nobody is signed in
	Looking  State = "looking"  // no device yet, the page loads again by itself
	Gone     State = "gone"     // no device
	Rejected State = "rejected" // refused just now
)

// Data is what the page shows.
type Data struct {
	State   State
	Device  Device
	Since   ui.Moment
	Login   string
	Tailnet string // empty if it is not decided yet
	// Command connects the device on the server, LinkCommand makes a sign-in link.
	Command, LinkCommand string
	// FirstOwner is set when the server has no owner who has signed in.
	FirstOwner bool
	// Wrong says why the device was not connected.
	Wrong string
}

// Name is what the page calls the device.
func (d Data) Name() string {
	if d.Device.Hostname == "" {
		return "a device without a name"
	}
	return d.Device.Hostname
}

// System is the device's operating system as its maker writes it.
func (d Data) System() string { return ui.System(d.Device.OS) }

// Glyph is the drawing for the device.
func (d Data) Glyph() string { return ui.Glyph(d.Device.OS, len(d.Device.Tags) > 0) }

// Client is the version of the device's client.
func (d Data) Client() string { return ui.ClientVersion(d.Device.Client) }

// Page serves /register/{code} and what is posted from there.
type Page struct {
	site *site.Site
	door Door
	page *ui.Page[Data]
}

// New returns the page.
func New(s *site.Site, door Door) *Page {
	if door.AdmitSeen == nil {
		door.AdmitSeen = func(ctx context.Context, actor selvage.Actor, net *netmap.Net, code, _ string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error) {
			return door.Admit(ctx, actor, net, code, user, tags, preapproved)
		}
	}
	return &Page{s, door, ui.Must[Data](files)}
}

// Serve shows the device that waits with the code of the address.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	code := r.PathValue("code")
	d, err := p.pending(code)
	if selvage.Is(err, selvage.KindNotFound) {
		return p.serveMissing(w, r, v, code)
	}
	if err != nil {
		return err
	}
	data := p.data(v, d)
	if v.User == nil {
		p.site.Remember(w, r, v)
	}
	return site.Show(p.site, w, v, p.page, ui.Frame{Title: "Connect " + data.Name()}, data)
}

func (p *Page) pending(code string) (Device, error) {
	if code == "" || len(code) > maxCode {
		return Device{}, selvage.Errorf(selvage.KindNotFound, "no device waits with this code")
	}
	return p.door.Pending(code)
}

func (p *Page) data(v *site.Visit, d Device) Data {
	login := "LOGIN"
	owner := v.View.Owner()
	first := owner != nil && owner.Pending
	if first {
		login = owner.Login
	}
	data := Data{
		State: Stranger, Device: d, Since: v.When(d.Since), FirstOwner: first,
		LinkCommand: "selvage user link " + login,
		Command:     "selvage node register " + d.Code + " --user " + login,
	}
	if v.User != nil {
		data.State, data.Login, data.Tailnet = Ask, v.User.Login, v.View.Tailnet.Name
	} else if len(p.site.Hub.Nets()) == 1 {
		data.Tailnet = v.View.Tailnet.Name
	}
	return data
}

// serveMissing says that no device waits, after having looked for it for a minute.
func (p *Page) serveMissing(w http.ResponseWriter, r *http.Request, v *site.Visit, code string) error {
	try, _ := strconv.Atoi(r.URL.Query().Get("try")) // zero if it is no number
	if try < 0 || try >= lookTimes {
		return site.ShowMissing(p.site, w, v, p.page, ui.Frame{Title: "No device waits here"}, Data{State: Gone})
	}
	f := ui.Frame{
		Title: "Looking for the device",
		Reload: &ui.Reload{
			Seconds: lookInterval,
			Path:    "/register/" + url.PathEscape(code) + "?try=" + strconv.Itoa(try+1),
		},
	}
	return site.ShowMissing(p.site, w, v, p.page, f, Data{State: Looking})
}

// Connect makes the device one of the person who is signed in.
func (p *Page) Connect(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	code := r.PathValue("code")
	d, err := p.pending(code)
	if selvage.Is(err, selvage.KindNotFound) {
		return p.back(w, r, code)
	}
	if err != nil {
		return err
	}
	// Who lures people into connecting a strange device could rename it meanwhile, or
	// have it ask for other tags.
	if r.PostFormValue("hostname") != d.Hostname {
		return p.refuse(w, v, d, "The device now calls itself something else than before. Look at it again before you connect it.")
	}
	seen := r.PostFormValue("seen")
	if seen != d.Seen {
		return p.refuse(w, v, d, "The device now says something else of its system, or asks for other tags than before. Look at it again before you connect it.")
	}
	if err := authz.AllowOwn(v.Actor, authz.NodeRegister, v.User.ID); err != nil {
		return err
	}
	var tags []string
	if authz.Allow(v.Actor, authz.NodeTag) == nil {
		tags = slices.Clone(d.Tags) // others get them only if the policy says so
	}
	preapproved := authz.Allow(v.Actor, authz.NodeApprove) == nil
	node, err := p.door.AdmitSeen(r.Context(), v.Actor, v.Net, code, seen, v.User.ID, tags, preapproved)
	switch selvage.KindOf(err) {
	case selvage.KindInvalid, selvage.KindDenied, selvage.KindConflict:
		if now, err := p.pending(code); err == nil {
			d = now // what it has become, if that is why
		}
		return p.refuse(w, v, d, v.Sentence(err.Error()))
	case selvage.KindNotFound:
		return p.back(w, r, code)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/connected/"+node.ID.String(), http.StatusSeeOther)
	return nil
}

func (p *Page) refuse(w http.ResponseWriter, v *site.Visit, d Device, why string) error {
	data := p.data(v, d)
	data.Wrong = why
	return site.ShowRefused(p.site, w, v, p.page, ui.Frame{Title: "Connect " + data.Name()}, data)
}

func (p *Page) back(w http.ResponseWriter, r *http.Request, code string) error {
	http.Redirect(w, r, "/register/"+url.PathEscape(code), http.StatusSeeOther)
	return nil
}

// Reject refuses the device. Whoever is signed in and has its link may do that.
func (p *Page) Reject(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	code := r.PathValue("code")
	if err := authz.AllowOwn(v.Actor, authz.NodeRegister, v.User.ID); err != nil {
		return err
	}
	d, err := p.pending(code)
	if err == nil {
		err = p.door.Reject(code)
	}
	if err != nil && !selvage.Is(err, selvage.KindNotFound) {
		return err
	}
	return site.Show(p.site, w, v, p.page, ui.Frame{Title: "Device refused"}, Data{State: Rejected, Device: d})
}
