package signin_test

import (
	"net/http"
	"testing"

	"selvage"
	"selvage/internal/console/consoletest"
)

func TestSignIn(t *testing.T) {
	k := consoletest.New(t, "")
	k.Stranger().Get("/signin").Is(http.StatusOK).Says("Nobody has signed in to this server so far", "selvage user link owner").Hides("You are signed out")
	k.Owner()
	k.Stranger().Get("/signin").Is(http.StatusOK).Says("There are no passwords here", "selvage user link LOGIN").Hides("ada@example.com")
}

func TestSignOut(t *testing.T) {
	k := consoletest.New(t, "")
	k.Owner()
	v, _ := k.Member("bob", selvage.RoleMember)
	cookies := map[string]*http.Cookie{}
	for name, c := range v.Cookies {
		cookies[name] = c
	}
	v.Post("/signout").Redirects("/signin?out")
	if len(v.Cookies) != 0 {
		t.Errorf("there are still cookies: %v", v.Cookies)
	}
	v.Get("/signin?out").Is(http.StatusOK).Says("You are signed out.")
	v.Post("/signout").Redirects("/signin?out") // twice is no error
	// Who kept a copy of the cookie is out as well.
	v.Cookies = cookies
	v.Get("/").Redirects("/signin")
}
