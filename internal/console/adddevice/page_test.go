package adddevice_test

import (
	"net/http"
	"strings"
	"testing"

	"selvage/internal/console/consoletest"
)

func TestCommandsNameTheServer(t *testing.T) {
	k := consoletest.New(t, "https://vpn.example.com")
	a := k.Stranger().Get("/help/add-device").Is(http.StatusOK)
	for _, c := range []string{
		"sudo tailscale up --login-server=https://vpn.example.com",
		"/Applications/Tailscale.app/Contents/MacOS/Tailscale up --login-server=https://vpn.example.com",
		"tailscale up --login-server=https://vpn.example.com",
		"https://vpn.example.com",
		"sudo tailscale up --login-server=https://vpn.example.com --auth-key=KEY",
		"selvage key create --reusable",
	} {
		found := false
		for _, copied := range a.Attr("button", "data-copy") {
			found = found || copied == c
		}
		if !found {
			t.Errorf("%q can't be copied", c)
		}
		a.Says(c)
	}
	a.Hides("Only this machine can reach")
}

func TestServerThatOthersCantReach(t *testing.T) {
	k := consoletest.New(t, "")
	for _, host := range []string{"localhost:8080", "127.0.0.1:8080", "[::1]:8080"} {
		v := k.Stranger()
		v.Host = host
		v.Get("/help/add-device").Is(http.StatusOK).Says("Only this machine can reach http://" + host)
	}
	v := k.Stranger()
	v.Host = "192.168.1.5:8080"
	v.Get("/help/add-device").Is(http.StatusOK).Says("--login-server=http://192.168.1.5:8080").Hides("Only this machine")
}

func TestTheVisitorsPlatformIsOpen(t *testing.T) {
	k := consoletest.New(t, "")
	for _, tt := range []struct{ agent, opens string }{
		{"Mozilla/5.0 (X11; Linux x86_64)", "Linux"},
		{"Mozilla/5.0 (Linux; Android 16; Pixel 9)", "Android"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)", "iPhone and iPad"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", "macOS"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "Windows"},
		{"", "Linux"},
	} {
		t.Run(tt.opens, func(t *testing.T) {
			v := k.Stranger()
			v.Header.Set("User-Agent", tt.agent)
			body := v.Get("/help/add-device").Is(http.StatusOK).Body
			if strings.Count(body, `name="platform" open`) != 1 {
				t.Fatal("not exactly one platform is open")
			}
			_, after, _ := strings.Cut(body, `name="platform" open`)
			summary, _, _ := strings.Cut(after, "</summary>")
			if !strings.Contains(summary, tt.opens) {
				t.Errorf("open is %q", summary)
			}
		})
	}
}
