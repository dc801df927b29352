package connected_test

import (
	"net/http"
	"testing"

	"selvage/internal/console/consoletest"
)

func TestWhatNow(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	ada := k.Net.View().Owner()
	k.Join(ada.ID, consoletest.NewDevice("first", "linux"))
	owner.Get("/connected/1").Is(http.StatusOK).Says("Connected", "first.home.selvage.internal", "100.64.0.1", "fd7a:115c:a1e0::", "the first device that it knows of").
		Hides("tailscale ping")
	k.Join(ada.ID, consoletest.NewDevice("second", "linux"))
	third := k.Join(ada.ID, consoletest.NewDevice("third", "linux"))
	k.Online(third.ID)
	owner.Get("/connected/2").Is(http.StatusOK).Says("tailscale ping third") // which is online, unlike the first
	owner.Get("/connected/9").Is(http.StatusNotFound)
}
