package site

import (
	"embed"
	"net/http"

	"selvage"
	"selvage/internal/console/ui"
)

//go:embed page.tmpl
var files embed.FS

// Trouble is the page for an error.
type Trouble struct {
	Title string
	// Text says what happened and what to do.
	Text string
	// ID finds the error in the server's log; empty if there is nothing to find.
	ID string
	// SignIn is set when signing in may help.
	SignIn bool
}

// NotFound is the handler for addresses that lead nowhere.
func NotFound(http.ResponseWriter, *http.Request, *Visit) error {
	return selvage.Errorf(selvage.KindNotFound, "there is no page at this address; it may have been mistyped or cut off")
}

// statuses is the one place where kinds of error become HTTP statuses and titles.
var statuses = map[selvage.Kind]struct {
	code  int
	title string
}{
	selvage.KindInternal:        {http.StatusInternalServerError, "Something went wrong"},
	selvage.KindInvalid:         {http.StatusBadRequest, "That doesn't work"},
	selvage.KindUnauthenticated: {http.StatusUnauthorized, "Please sign in"},
	selvage.KindDenied:          {http.StatusForbidden, "You can't do this"},
	selvage.KindNotFound:        {http.StatusNotFound, "Nothing here"},
	selvage.KindConflict:        {http.StatusConflict, "This has changed"},
	selvage.KindBusy:            {http.StatusServiceUnavailable, "One moment, please"},
}

// fail writes an error as a page. What is not meant for people goes to the log, under
// an ID that the page shows.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, v *Visit, err error) {
	kind := selvage.KindOf(err)
	st := statuses[kind]
	t := Trouble{Title: st.title, Text: Sentence(err.Error()), SignIn: kind == selvage.KindUnauthenticated}
	if kind == selvage.KindInternal {
		t.ID = selvage.RandomText(8)
		t.Text = "The server could not answer. It has written down why."
		// The path may hold a secret, so only its first part is logged.
		s.log.Error("page not served", "id", t.ID, "method", r.Method, "page", firstPart(r.URL.Path), "err", err)
	}
	if rerr := show(s, w, v, st.code, s.trouble, ui.Frame{Title: t.Title}, t); rerr != nil {
		s.log.Error("error page not served", "err", rerr)
	}
}

func firstPart(path string) string {
	for i, r := range path {
		if i > 0 && r == '/' {
			return path[:i]
		}
	}
	return path
}
