package consoletest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// Visitor is a browser without a window: it keeps cookies and says where its
// requests come from.
type Visitor struct {
	k       *Kit
	Cookies map[string]*http.Cookie
	// Host is the host name that is asked for.
	Host string
	// Header is added to each request.
	Header http.Header
}

// Stranger returns a visitor who is not signed in.
func (k *Kit) Stranger() *Visitor {
	return &Visitor{k: k, Cookies: map[string]*http.Cookie{}, Host: "vpn.example.com", Header: http.Header{}}
}

// Get asks for a page.
func (v *Visitor) Get(path string) *Answer {
	v.k.Helper()
	return v.send(httptest.NewRequest(http.MethodGet, path, nil))
}

// Post sends a form of names and values, as a page of the site does.
func (v *Visitor) Post(path string, form ...string) *Answer {
	v.k.Helper()
	r := v.FormRequest(path, form...)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.send(r)
}

// PostFrom sends a form as a page of another origin does.
func (v *Visitor) PostFrom(origin, path string, form ...string) *Answer {
	v.k.Helper()
	r := v.FormRequest(path, form...)
	r.Header.Set("Origin", origin)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return v.send(r)
}

// FormRequest returns a request with a form.
func (v *Visitor) FormRequest(path string, form ...string) *http.Request {
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func (v *Visitor) send(r *http.Request) *Answer {
	v.k.Helper()
	r.Host = v.Host
	for name, values := range v.Header {
		r.Header[name] = values
	}
	for _, c := range v.Cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	w := httptest.NewRecorder()
	v.k.Handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(v.Cookies, c.Name)
		} else {
			v.Cookies[c.Name] = c
		}
	}
	a := &Answer{k: v.k, Path: r.URL.Path, Status: w.Code, Header: w.Header(), Body: w.Body.String()}
	if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") && w.Code/100 != 3 {
		a.parse()
	}
	return a
}

// Answer is the answer to a request.
type Answer struct {
	k      *Kit
	Path   string
	Status int
	Header http.Header
	Body   string
	// Text is what a reader sees, with single blanks.
	Text string
	// Doc is the page.
	Doc *html.Node
}

// parse reads the page and checks what must hold for every page.
func (a *Answer) parse() {
	a.k.Helper()
	doc, err := html.Parse(strings.NewReader(a.Body))
	if err != nil {
		a.k.Fatalf("%s: %v", a.Path, err)
	}
	a.Doc = doc
	var text strings.Builder
	ids := map[string]bool{}
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "script" && n.Parent.Data != "style" {
			text.WriteString(n.Data)
			if n.NextSibling == nil || n.NextSibling.Data != "wbr" {
				text.WriteByte(' ')
			}
		}
		if n.Type != html.ElementNode {
			continue
		}
		for _, at := range n.Attr {
			switch {
			case at.Key == "style" || strings.HasPrefix(at.Key, "on"):
				a.k.Errorf("%s: <%s> has the attribute %s, which the content policy forbids", a.Path, n.Data, at.Key)
			case at.Key == "id" && ids[at.Val]:
				a.k.Errorf("%s: two elements have the id %q", a.Path, at.Val)
			case at.Key == "id":
				ids[at.Val] = true
			}
		}
		if (n.Data == "script" || n.Data == "style") && n.FirstChild != nil {
			a.k.Errorf("%s: <%s> has content, which the content policy forbids", a.Path, n.Data)
		}
	}
	a.Text = strings.Join(strings.Fields(text.String()), " ")
	for _, bad := range []string{"ZgotmplZ", "<no value>", "%!"} {
		if strings.Contains(a.Body, bad) {
			a.k.Errorf("%s: the page has %q", a.Path, bad)
		}
	}
	if !strings.Contains(a.Body, "</html>") {
		a.k.Errorf("%s: the page ends early", a.Path)
	}
}

// Is checks the status.
func (a *Answer) Is(status int) *Answer {
	a.k.Helper()
	if a.Status != status {
		a.k.Fatalf("%s: got status %d, want %d; it says %q", a.Path, a.Status, status, a.Text)
	}
	return a
}

// Says checks that a reader sees the texts.
func (a *Answer) Says(texts ...string) *Answer {
	a.k.Helper()
	for _, t := range texts {
		if !strings.Contains(a.Text, t) {
			a.k.Errorf("%s does not say %q, but %q", a.Path, t, a.Text)
		}
	}
	return a
}

// Hides checks that the source of the page has none of the texts.
func (a *Answer) Hides(texts ...string) *Answer {
	a.k.Helper()
	for _, t := range texts {
		if strings.Contains(a.Body, t) {
			a.k.Errorf("%s has %q", a.Path, t)
		}
	}
	return a
}

// Redirects checks that the answer leads to a path.
func (a *Answer) Redirects(path string) *Answer {
	a.k.Helper()
	if got := a.Header.Get("Location"); a.Status != http.StatusSeeOther || got != path {
		a.k.Fatalf("%s: got status %d to %q, want a redirect to %q; it says %q", a.Path, a.Status, got, path, a.Text)
	}
	return a
}

// Links returns the targets of the page's links, forms and buttons on this site.
func (a *Answer) Links() (links, forms []string) {
	for n := range a.Doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		for _, at := range n.Attr {
			switch {
			case n.Data == "form" && at.Key == "action":
				forms = append(forms, at.Val)
			case (at.Key == "href" || at.Key == "src") && strings.HasPrefix(at.Val, "/"):
				links = append(links, at.Val)
			}
		}
	}
	return links, forms
}

// Attr returns the values of an attribute in all elements of a name.
func (a *Answer) Attr(element, key string) []string {
	var vals []string
	for n := range a.Doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != element {
			continue
		}
		for _, at := range n.Attr {
			if at.Key == key {
				vals = append(vals, at.Val)
			}
		}
	}
	return vals
}
