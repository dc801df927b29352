package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"selvage"
	"selvage/internal/console/consoletest"
)

// screenshots is the folder for pictures, which git ignores.
const screenshots = "../../screenshots"

// Times that a whole test in the browser, and a step of it, may take.
const (
	browserTimeout = 4 * time.Minute
	stepTimeout    = 30 * time.Second
)

// browser is a real browser that must keep silent: any message on its console fails
// the test.
type browser struct {
	*testing.T
	ctx  context.Context
	base string
	// excused is the path of a page that answers with an error on purpose, which the
	// browser notes on its console.
	excused string
}

func openBrowser(t *testing.T, srv *httptest.Server) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium on this machine: install the package chromium to run the test in a browser")
	}
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("host-resolver-rules", "MAP vpn.example.com 127.0.0.1, EXCLUDE 127.0.0.1, MAP * ~NOTFOUND"),
		chromedp.Flag("hide-scrollbars", true),
	)
	alloc, cancelAlloc := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancelAlloc)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancelTimeout := context.WithTimeout(ctx, browserTimeout)
	t.Cleanup(cancelTimeout)
	b := &browser{T: t, ctx: ctx, base: u.Scheme + "://vpn.example.com:" + u.Port()}
	b.listen()
	b.do(chromedp.EmulateViewport(1280, 844))
	return b
}

// listen fails the test for every message on the console.
func (b *browser) listen() {
	ctx, cancel := context.WithCancel(b.ctx)
	messages := chromedp.Console(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Source == "network" && b.excused != "" && strings.HasPrefix(m.URL, b.base+b.excused) {
				continue
			}
			b.Errorf("the browser says on its console: %v (%s)", m, m.URL)
		}
	}()
	b.Cleanup(func() {
		cancel()
		<-done
	})
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

func (b *browser) open(path string) {
	b.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// press clicks on something that leads to another page.
func (b *browser) press(selector string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		b.Fatalf("press %s: %v", selector, err)
	}
}

func (b *browser) text(selector string) string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	s, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		b.Fatalf("text of %s: %v", selector, err)
	}
	return s
}

func (b *browser) wantText(selector string, words ...string) {
	b.Helper()
	got := b.text(selector)
	for _, w := range words {
		if !strings.Contains(got, w) {
			b.Errorf("%s reads %q, want %q in it", selector, got, w)
		}
	}
}

// shots takes the page's picture on a phone and on a desk, in light and in dark, and
// checks that nothing is wider than the window.
func (b *browser) shots(name string) {
	b.Helper()
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		b.Fatal(err)
	}
	for _, width := range []int64{360, 390, 1280} {
		b.do(chromedp.EmulateViewport(width, 844))
		over, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth - window.innerWidth`))
		if err != nil {
			b.Fatal(err)
		}
		if over > 0 {
			b.Errorf("%s is %d px too wide for a window of %d px", name, over, width)
		}
		if width == 360 {
			continue
		}
		for _, scheme := range []string{"light", "dark"} {
			_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{
					{Name: "prefers-color-scheme", Value: scheme},
					{Name: "prefers-reduced-motion", Value: "reduce"}, // no picture in the midst of a change
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
			if err != nil {
				b.Fatal(err)
			}
			file := filepath.Join(screenshots, fmt.Sprintf("%s-%d-%s.png", name, width, scheme))
			if err := os.WriteFile(file, png, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.do(chromedp.EmulateViewport(1280, 844))
}

// TestBrowser walks through the pages as people do, from the first owner's link to a
// list of many devices.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	k := consoletest.New(t, "")
	srv := httptest.NewTLSServer(k.Handler)
	t.Cleanup(srv.Close)
	b := openBrowser(t, srv)

	b.open("/signin")
	b.shots("signin-first")

	code := k.Door.Wait(consoletest.NewDevice("adas-laptop", "linux"), "203.0.113.7")
	b.open("/register/" + code)
	b.wantText("main", "Sign in to connect this device", "adas-laptop", "203.0.113.7")
	b.shots("register-stranger-first")

	b.open("/welcome/" + k.Link(k.Net.View().Owner().ID))
	b.shots("welcome-owner")
	b.do(chromedp.SendKeys(chromedp.ID("login"), "ada@example.com"), chromedp.SendKeys(chromedp.ID("name"), "Ada Weaver"))
	b.press("main button.big")
	b.wantText("h1", "Connect this device?") // back where the visitor was
	b.shots("register-ask")

	b.press(`form[action$="/connect"] button`)
	b.wantText("main", "Connected", "adas-laptop")
	b.shots("connected-first")
	b.press(".actions .button")
	b.wantText("h1", "adas-laptop")

	b.open("/help/add-device")
	b.shots("add-device")
	b.copies()

	owner := k.Net.View().Owner()
	second := k.Join(owner.ID, consoletest.NewDevice("workshop", "macOS"))
	b.open("/connected/" + second.ID.String())
	b.wantText("main", "tailscale ping adas-laptop")
	b.shots("connected-second")

	fill(k, owner)
	b.open("/")
	b.shots("overview")
	b.do(chromedp.SendKeys(chromedp.CSS("input[type=search]"), "tag:web\r"))
	b.do(chromedp.WaitVisible(chromedp.CSS("p.pager")))
	b.wantText("table", "web-1")
	b.shots("overview-search")
	b.open("/?q=nothing+like+that")
	b.shots("overview-none")
	for _, name := range []string{"gateway", "visitor-tablet", "old-nas"} {
		n, err := k.Net.View().NodeByName(name)
		if err != nil {
			t.Fatal(err)
		}
		b.open("/devices/" + n.ID.String())
		b.shots("device-" + name)
	}
	b.do(chromedp.Click(chromedp.CSS(".menu summary")), chromedp.WaitVisible(chromedp.CSS(".menu-sheet")))
	b.shots("menu")
	b.press(".menu-sheet button")
	b.wantText("main", "You are signed out.")
	b.shots("signed-out")

	code = k.Door.Wait(consoletest.NewDevice("<script>alert(1)</script>", "windows"), "2001:db8::17")
	b.open("/register/" + code)
	b.wantText("main", "<script>alert(1)</script>")
	b.shots("register-stranger")

	b.excused = "/"
	b.open("/register/0000000000000000")
	b.shots("register-looking")
	b.open("/register/0000000000000000?try=99")
	b.shots("register-gone")
	b.open("/welcome/selvage-link-nonsense")
	b.shots("welcome-bad")
	b.open("/no/such/page")
	b.shots("not-found")
	link := k.Link(owner.ID)
	b.excused = ""
	b.open("/welcome/" + link)
	b.shots("welcome-known")
	b.press("main button.big")
	b.wantText("h1", "Connect this device?") // the page that was wanted last
	b.press(`form[action$="/reject"] button`)
	b.wantText("h1", "Device refused")
	b.shots("register-rejected")
}

// copies checks that a copy button copies.
func (b *browser) copies() {
	b.Helper()
	b.do(chromedp.Click(chromedp.CSS("details[open] .copy")))
	b.do(chromedp.WaitVisible(chromedp.CSS("details[open] .copy.done")))
	b.wantText("details[open] .copy.done", "Copied")
}

// fill gives the tailnet devices of all kinds.
func fill(k *consoletest.Kit, owner *selvage.User) {
	k.Helper()
	k.SetPolicy(`{"tagOwners": {"tag:web": ["autogroup:admin"], "tag:router": ["autogroup:admin"]},
		"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`)
	bob, err := k.Net.CreateUser(context.Background(), selvage.Local(), "bob@example.com", "Bob Loom", selvage.RoleMember)
	if err != nil {
		k.Fatal(err)
	}
	for i := range 3 {
		j := consoletest.NewDevice(fmt.Sprintf("web-%d", i+1), "linux")
		j.Hostinfo.Distro, j.Hostinfo.DistroVersion = "debian", "12.9"
		j.Hostinfo.RequestTags = []string{"tag:web"}
		k.Online(k.Join(owner.ID, j).ID)
	}
	j := consoletest.NewDevice("gateway", "linux")
	j.Hostinfo.Distro, j.Hostinfo.DistroVersion = "alpine", "3.22"
	j.Hostinfo.RequestTags = []string{"tag:router"}
	j.Hostinfo.RoutableIPs = append(selvage.ExitRoutes(), netip.MustParsePrefix("192.168.10.0/24"), netip.MustParsePrefix("10.20.0.0/16"))
	gw := k.Join(owner.ID, j)
	k.ApproveRoutes(gw.ID, append(selvage.ExitRoutes(), netip.MustParsePrefix("192.168.10.0/24"))...)
	k.Online(gw.ID)
	k.Report(gw.ID, 900, "198.51.100.4:41641", "192.168.10.1:41641", "[2001:db8::4]:41641")
	k.Online(k.Join(bob.ID, consoletest.NewDevice("bobs-phone", "iOS")).ID)
	nas := consoletest.NewDevice("old-nas", "linux")
	nas.Expiry = k.Clock.Now().Add(50 * time.Hour)
	k.Join(bob.ID, nas)
	k.ChangeSettings(func(s *selvage.Settings) { s.DeviceApproval = true })
	k.Join(bob.ID, consoletest.NewDevice("visitor-tablet", "android"))
	k.ChangeSettings(func(s *selvage.Settings) { s.DeviceApproval = false })
	k.Clock.Advance(3 * time.Hour)
}

// TestBrowserPlainHTTP looks at pages without TLS, where browsers offer less.
func TestBrowserPlainHTTP(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	k := consoletest.New(t, "")
	srv := httptest.NewServer(http.Handler(k.Handler))
	t.Cleanup(srv.Close)
	b := openBrowser(t, srv)
	b.open("/welcome/" + k.Link(k.Net.View().Owner().ID))
	b.do(chromedp.SendKeys(chromedp.ID("login"), "ada"))
	b.press("main button.big")
	b.wantText("h1", "Connect your first device")
	b.shots("overview-empty")
	b.copies()
}
