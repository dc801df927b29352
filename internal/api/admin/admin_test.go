package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/api/admin"
	"selvage/internal/netmap"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// world is a server of the API on a database of its own.
type world struct {
	*testing.T
	hub    *netmap.Hub
	db     *store.DB
	net    *netmap.Net
	local  *httptest.Server
	remote *httptest.Server
	log    *bytes.Buffer
	relays int // how many the server was told of last
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, db: storetest.New(t), log: new(bytes.Buffer)}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	w.hub, err = netmap.Open(context.Background(), netmap.Options{DB: w.db, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	w.net = w.hub.Nets()[0]
	s := admin.New(admin.Options{
		Hub: w.hub, DB: w.db, Logger: log,
		Version:  admin.Version{Version: "1.2.3"},
		URL:      func() string { return "https://vpn.example.com" },
		Config:   func() map[string]any { return map[string]any{"listen": ":443"} },
		Register: w.register,
		Ping: func(_ context.Context, _ selvage.Actor, _ *netmap.Net, _ *netmap.Node, to netip.Addr, kind string) (admin.Pong, error) {
			return admin.Pong{Endpoint: to.String(), Relay: kind}, nil
		},
		Status: func(context.Context) admin.ServerStatus {
			return admin.ServerStatus{Listening: []string{"192.0.2.1:443"}, Problems: []string{"tailnet home: x"}}
		},
		RelaysChanged: func(_ context.Context, relays []*selvage.Relay) { w.relays = len(relays) },
	})
	w.local = httptest.NewServer(s.Local())
	w.remote = httptest.NewServer(s.Remote())
	t.Cleanup(w.local.Close)
	t.Cleanup(w.remote.Close)
	return w
}

// register stands in for the control protocol: one device waits, with the code "good".
func (w *world) register(ctx context.Context, actor selvage.Actor, n *netmap.Net, code string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error) {
	switch code {
	case "good":
		return n.Join(ctx, actor, joining("waiting", netmap.Join{User: user, Tags: tags, Preapproved: preapproved}))
	case "broken":
		return nil, errors.New("geheim: the disk is on fire")
	}
	return nil, selvage.Errorf(selvage.KindNotFound, "no device waits with this code")
}

// joining completes a Join with keys and a host name.
func joining(host string, j netmap.Join, routes ...netip.Prefix) netmap.Join {
	j.Machine, j.Key = key.NewMachine().Public(), key.NewNode().Public()
	j.Hostinfo = &tailcfg.Hostinfo{Hostname: host, OS: "linux", IPNVersion: "1.98.1", RoutableIPs: routes}
	j.Cap = 130
	return j
}

// join makes a device of a user; of the owner if login is empty.
func (w *world) join(host, login string, routes ...netip.Prefix) *netmap.Node {
	w.Helper()
	u := w.net.View().Owner()
	if login != "" {
		var err error
		if u, err = w.net.View().UserByLogin(login); err != nil {
			w.Fatal(err)
		}
	}
	n, err := w.net.Join(context.Background(), selvage.Local(), joining(host, netmap.Join{User: u.ID}, routes...))
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// send makes a request on the server's own socket, or with a token, and returns the
// status and the body.
func (w *world) send(token, method, path, body string, header ...string) (int, string) {
	w.Helper()
	base := w.local.URL
	if token != "" {
		base = w.remote.URL
	}
	req, err := http.NewRequest(method, base+admin.Prefix+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// call makes a request on the server's own socket that must succeed.
func call[T any](w *world, method, path, body string) T {
	w.Helper()
	status, text := w.send("", method, path, body)
	if status != http.StatusOK {
		w.Fatalf("%s %s: status %d: %s", method, path, status, text)
	}
	return decode[T](w, text)
}

func decode[T any](w *world, text string) T {
	w.Helper()
	var v T
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		w.Fatalf("%v in %s", err, text)
	}
	return v
}

// token makes a user with the role, and a token of theirs.
func (w *world) token(login string, role selvage.Role) string {
	w.Helper()
	call[admin.User](w, "POST", "/users", `{"login":"`+login+`","role":"`+string(role)+`"}`)
	return call[admin.Token](w, "POST", "/tokens", `{"user":"`+login+`"}`).Token
}

func (w *world) wantStatus(token, method, path, body string, status int, message string) {
	w.Helper()
	got, text := w.send(token, method, path, body)
	if got != status || !strings.Contains(text, message) {
		w.Errorf("%s %s %s: status %d: %s; want %d and %q", method, path, body, got, text, status, message)
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		message                  string
	}{
		{"unknown path", "GET", "/nonsense", "", 404, "does not know GET"},
		{"unknown method", "PUT", "/nodes", "{}", 404, "does not know PUT"},
		{"unknown field", "POST", "/users", `{"login":"ann","colour":"red"}`, 400, `unknown field \"colour\"`},
		{"two values", "POST", "/users", `{"login":"ann"}{}`, 400, "more after"},
		{"no body", "POST", "/users", ``, 400, "the body is empty"},
		{"no JSON", "POST", "/users", `login=ann`, 400, "bad body"},
		{"wrong type", "POST", "/users", `{"login":7}`, 400, "bad body"},
		{"large", "POST", "/users", `{"login":"` + strings.Repeat("x", 1<<20) + `"}`, 400, "more than 1048576 bytes"},
		{"unknown role", "POST", "/users", `{"login":"ann","role":"king"}`, 400, "unknown role"},
		{"unknown tailnet", "GET", "/nodes?tailnet=nowhere", "", 404, `no tailnet \"nowhere\"`},
		{"unknown node", "GET", "/nodes/nobody", "", 404, `no node \"nobody\"`},
		{"unknown user", "DELETE", "/users/nobody", "", 404, `no user \"nobody\"`},
		{"unknown key", "DELETE", "/keys/nokey", "", 404, `no auth key \"nokey\"`},
		{"unknown token", "DELETE", "/tokens/notoken", "", 404, `no API token \"notoken\"`},
		{"unknown relay", "DELETE", "/relays/norelay", "", 404, `no relay \"norelay\"`},
		{"unknown revision", "GET", "/policy/revisions/7", "", 404, "no revision 7"},
		{"bad revision", "GET", "/policy/revisions/x", "", 400, "bad revision"},
		{"bad filter", "GET", "/nodes?online=perhaps", "", 400, "want true or false"},
		{"bad time", "GET", "/journal?since=yesterday", "", 400, "bad since"},
		{"bad number", "GET", "/journal?limit=-1", "", 400, "bad limit"},
		{"bad code", "POST", "/nodes/register", `{"code":"bad"}`, 404, "no device waits"},
		{"short key", "POST", "/keys", `{"expirySeconds":60}`, 400, "want between 3600 (1h) and 7776000 (90d)"},
		{"long key", "POST", "/keys", `{"expirySeconds":9223372036854775807}`, 400, "want between"},
		{"negative key", "POST", "/keys", `{"expirySeconds":-1}`, 400, "want between"},
		{"tag without policy", "POST", "/keys", `{"tags":["tag:x"]}`, 400, "unknown tag"},
		{"key of nobody", "POST", "/keys", `{"user":"nobody"}`, 404, "no user"},
		{"long description", "POST", "/keys", `{"description":"` + strings.Repeat("x", 201) + `"}`, 400, "at most 200"},
		{"bad relay name", "POST", "/relays", `{"name":"A B"}`, 400, "A B"},
		{"last owner", "DELETE", "/users/owner", "", 409, "only owner"},
		{"bad settings", "PATCH", "/settings", `{"keyExpirySeconds":-5}`, 400, "keyExpirySeconds"},
		{"bad range", "PATCH", "/settings", `{"ipv4":"10.0.0.1/8"}`, 400, "10.0.0.0/8"},
		{"bad nameserver", "PATCH", "/dns", `{"nameservers":["nonsense"]}`, 400, "nonsense"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := *w
			w.T = t
			w.wantStatus("", tt.method, tt.path, tt.body, tt.status, tt.message)
		})
	}
}

// What went wrong inside is for the log; who asked gets an ID that finds it there.
func TestInternalErrors(t *testing.T) {
	w := newWorld(t)
	status, text := w.send("", "POST", "/nodes/register", `{"code":"broken"}`)
	e := decode[admin.ErrorBody](w, text).Error
	if status != 500 || e.Kind != "internal" || e.ID == "" || strings.Contains(text, "geheim") {
		t.Errorf("status %d: %s", status, text)
	}
	if !strings.Contains(w.log.String(), "geheim") || !strings.Contains(w.log.String(), e.ID) {
		t.Errorf("the log is %s", w.log)
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	tok := call[admin.Token](w, "POST", "/tokens", `{"description":"test"}`)
	if status, text := w.send(tok.Token, "GET", "/status", ""); status != 200 {
		t.Errorf("status %d: %s", status, text)
	}
	_, text := w.send("", "GET", "/tokens", "")
	if strings.Contains(text, tok.Token) || !strings.Contains(text, string(tok.ID)) {
		t.Errorf("the list is %s", text)
	}
	w.wantStatus("x", "GET", "/status", "", 401, "no API token of this server")
	w.wantStatus(tok.Token+"0", "GET", "/status", "", 401, "not complete")
	resp, err := http.Get(w.remote.URL + admin.Prefix + "/status")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a token: %v", resp.Status)
	}
	call[struct{}](w, "DELETE", "/tokens/"+string(tok.ID), "")
	w.wantStatus(tok.Token, "GET", "/status", "", 401, "not known here")

	ann := w.token("ann", selvage.RoleAdmin)
	call[admin.User](w, "PATCH", "/users/ann", `{"suspended":true}`)
	w.wantStatus(ann, "GET", "/status", "", 403, "suspended")
	call[admin.User](w, "PATCH", "/users/ann", `{"suspended":false}`)
	w.wantStatus(ann, "GET", "/status", "", 200, "")
	call[struct{}](w, "DELETE", "/users/ann", "")
	w.wantStatus(ann, "GET", "/status", "", 401, "not known here")
}

// A token is for its own tailnet, and what concerns the server is for the first one.
func TestTokenOfAnotherTailnet(t *testing.T) {
	w := newWorld(t)
	call[admin.Tailnet](w, "POST", "/tailnets", `{"name":"lab"}`)
	other := call[admin.Token](w, "POST", "/tokens?tailnet=lab", `{}`).Token
	first := call[admin.Token](w, "POST", "/tokens", `{}`).Token
	w.join("alpha", "")

	w.wantStatus(other, "GET", "/nodes", "", 200, "[]")
	w.wantStatus(other, "GET", "/nodes?tailnet=lab", "", 200, "[]")
	w.wantStatus(other, "GET", "/nodes?tailnet=home", "", 403, "for tailnet lab")
	w.wantStatus(other, "GET", "/nodes/alpha", "", 404, "no node")
	for _, path := range []string{"/backup", "/config", "/relays", "/journal?server=true"} {
		w.wantStatus(other, "GET", path, "", 403, "whole server")
		w.wantStatus(first, "GET", path, "", 200, "")
	}
	w.wantStatus(other, "POST", "/tailnets", `{"name":"more"}`, 403, "whole server")
	w.wantStatus(other, "POST", "/relays", `{"name":"more"}`, 403, "whole server")
	_, text := w.send(other, "GET", "/tailnets", "")
	if list := decode[[]admin.Tailnet](w, text); len(list) != 1 || list[0].Name != "lab" {
		t.Errorf("the list is %s", text)
	}
	if list := call[[]admin.Tailnet](w, "GET", "/tailnets", ""); len(list) != 2 {
		t.Errorf("the list is %v", list)
	}
}

// Of the server a person of another tailnet learns what their devices know anyway.
func TestStatusOfAnotherTailnet(t *testing.T) {
	w := newWorld(t)
	call[admin.Tailnet](w, "POST", "/tailnets", `{"name":"lab"}`)
	other := call[admin.Token](w, "POST", "/tokens?tailnet=lab", `{}`).Token
	first := call[admin.Token](w, "POST", "/tokens", `{}`).Token
	_, text := w.send(other, "GET", "/status", "")
	want := admin.ServerStatus{Version: "1.2.3", URL: "https://vpn.example.com"}
	if st := decode[admin.Status](w, text); st.Tailnet != "lab" || !reflect.DeepEqual(st.Server, want) {
		t.Errorf("the status is %s", text)
	}
	_, text = w.send(first, "GET", "/status", "")
	if st := decode[admin.Status](w, text).Server; st.Database == "" || len(st.Listening) != 1 || len(st.Problems) != 1 {
		t.Errorf("the status for the first tailnet is %s", text)
	}
}

func TestKindsOfPing(t *testing.T) {
	w := newWorld(t)
	w.join("alpha", "")
	for kind, want := range map[string]string{"": "disco", "disco": "disco", "TSMP": "TSMP", "ICMP": "ICMP", "peerapi": "peerapi"} {
		if got := call[admin.Pong](w, "POST", "/nodes/alpha/ping", `{"to":"alpha","kind":"`+kind+`"}`).Relay; got != want {
			t.Errorf("kind %q was asked for as %q, want %q", kind, got, want)
		}
	}
	for _, kind := range []string{"c2n", "tsmp", "disco,TSMP"} {
		w.wantStatus("", "POST", "/nodes/alpha/ping", `{"to":"alpha","kind":"`+kind+`"}`, 400, "want disco, TSMP, ICMP or peerapi")
	}
}

// Nobody gets more power than their role gives them by a detour.
func TestNoDetours(t *testing.T) {
	w := newWorld(t)
	it := w.token("it", selvage.RoleITAdmin)
	network := w.token("net", selvage.RoleNetworkAdmin)
	boss := w.token("boss", selvage.RoleAdmin)
	auditor := w.token("audit", selvage.RoleAuditor)
	call[admin.User](w, "POST", "/users", `{"login":"ann"}`)
	ann := w.join("alpha", "ann")
	call[admin.Policy](w, "PUT", "/policy", `{"text":"{\"tagOwners\": {\"tag:web\": [\"boss\"]}, \"acls\": []}"}`)
	for _, tt := range []struct {
		name, token, method, path, body string
		status                          int
	}{
		{"link of the owner", it, "POST", "/users/owner/link", "", 403},
		{"link of the owner, by an admin", boss, "POST", "/users/owner/link", "", 403},
		{"link of an admin", it, "POST", "/users/boss/link", "", 403},
		{"link of a network admin", it, "POST", "/users/net/link", "", 403},
		{"link of an equal", it, "POST", "/users/it/link", "", 200},
		{"link of a network admin, by an admin", boss, "POST", "/users/net/link", "", 200},
		{"new user as admin", it, "POST", "/users", `{"login":"evil","role":"admin"}`, 403},
		{"new user as network admin", it, "POST", "/users", `{"login":"evil","role":"network-admin"}`, 403},
		{"new admin", it, "PATCH", "/users/ann", `{"role":"admin"}`, 403},
		{"new network admin", it, "PATCH", "/users/ann", `{"role":"network-admin"}`, 403},
		{"old admin", it, "PATCH", "/users/boss", `{"role":"member"}`, 403},
		{"admin's login", it, "PATCH", "/users/boss", `{"login":"x"}`, 403},
		{"suspend an admin", it, "PATCH", "/users/boss", `{"suspended":true}`, 403},
		{"delete an admin", it, "DELETE", "/users/boss", "", 403},
		{"device for an admin", it, "POST", "/nodes/register", `{"code":"good","user":"boss"}`, 403},
		{"link of a member", it, "POST", "/users/ann/link", "", 200},
		{"own role", it, "PATCH", "/users/it", `{"role":"admin"}`, 403},
		{"new owner", it, "PATCH", "/users/ann", `{"role":"owner"}`, 403},
		{"new user as owner", boss, "POST", "/users", `{"login":"x","role":"owner"}`, 403},
		{"old owner", boss, "PATCH", "/users/owner", `{"role":"member"}`, 403},
		{"owner's login", boss, "PATCH", "/users/owner", `{"login":"x"}`, 403},
		{"suspend oneself", boss, "PATCH", "/users/boss", `{"suspended":true}`, 403},
		{"delete oneself", boss, "DELETE", "/users/boss", "", 403},
		{"delete the owner", boss, "DELETE", "/users/owner", "", 403},
		{"own key", it, "POST", "/keys", `{}`, 200},
		{"key of another", it, "POST", "/keys", `{"user":"ann"}`, 403},
		{"key of another, by an admin", boss, "POST", "/keys", `{"user":"ann"}`, 200},
		{"key of the owner", boss, "POST", "/keys", `{"user":"owner"}`, 403},
		{"preapproved key", network, "POST", "/keys", `{"preapproved":true}`, 403},
		{"own tag", boss, "POST", "/keys", `{"tags":["tag:web"]}`, 200},
		{"token of the owner", boss, "POST", "/tokens", `{"user":"owner"}`, 403},
		{"device for the owner", boss, "POST", "/nodes/register", `{"code":"good","user":"owner"}`, 403},
		{"device for another", network, "POST", "/nodes/register", `{"code":"good","user":"ann"}`, 403},
		{"own device", network, "POST", "/nodes/register", `{"code":"good"}`, 200},
		{"own device with a tag", network, "POST", "/nodes/register", `{"code":"good","tags":["tag:web"]}`, 403},
		{"device setting", network, "PATCH", "/settings", `{"deviceApproval":true}`, 403},
		{"network setting", it, "PATCH", "/settings", `{"networkMapCaching":false}`, 403},
		{"policy", it, "PUT", "/policy", `{"text":"{}"}`, 403},
		{"route", it, "POST", "/nodes/alpha/routes/approve", `{"routes":["192.0.2.0/24"]}`, 403},
		{"auditor reads", auditor, "GET", "/journal", "", 200},
		{"auditor writes", auditor, "DELETE", "/nodes/alpha", "", 403},
		{"auditor's key", auditor, "POST", "/keys", `{}`, 403},
		{"backup", boss, "GET", "/backup", "", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := *w
			w.T = t
			w.wantStatus(tt.token, tt.method, tt.path, tt.body, tt.status, "")
		})
	}
	if w.net.View().Node(ann.ID) == nil {
		t.Error("the device is gone")
	}
}

// A member's token, which only an admin can make, is good for their own devices.
func TestMemberToken(t *testing.T) {
	w := newWorld(t)
	ann := w.token("ann", selvage.RoleMember)
	w.join("alpha", "ann")
	w.join("beta", "")
	w.wantStatus(ann, "GET", "/nodes", "", 403, "member may not see")
	w.wantStatus(ann, "GET", "/nodes/alpha", "", 200, "alpha")
	w.wantStatus(ann, "GET", "/nodes/beta", "", 403, "may not see")
	w.wantStatus(ann, "GET", "/nodes/gamma", "", 403, "may not see")
	w.wantStatus(ann, "POST", "/nodes/alpha/name", `{"name":"omega"}`, 200, "omega")
	w.wantStatus(ann, "POST", "/nodes/omega/key-expiry", `{}`, 403, "")
	w.wantStatus(ann, "DELETE", "/nodes/omega", "", 200, "")
}

func TestNodes(t *testing.T) {
	w := newWorld(t)
	call[admin.User](w, "POST", "/users", `{"login":"ann@example.com"}`)
	alpha := w.join("alpha", "ann@example.com")
	w.join("beta", "")
	n := call[admin.Node](w, "GET", "/nodes/alpha", "")
	if n.ID != alpha.ID || n.User != "ann@example.com" || n.FQDN != "alpha."+w.net.View().Domain() || n.OS != "linux" ||
		n.Tags == nil || n.AdvertisedRoutes == nil || n.NodeKey != alpha.Key.String() || !n.Approved {
		t.Errorf("the device is %+v", n)
	}
	for _, name := range []string{n.FQDN, n.FQDN + ".", n.IPv4.String(), n.IPv6.String(), n.ID.String(), n.StableID, "ALPHA"} {
		if got := call[admin.Node](w, "GET", "/nodes/"+name, ""); got.ID != n.ID {
			t.Errorf("%s is %+v", name, got)
		}
	}
	for query, want := range map[string]int{
		"": 2, "?query=alp": 1, "?query=EXAMPLE": 1, "?query=linux": 2, "?user=ANN@example.com": 1, "?tag=tag:x": 0,
		"?online=true": 0, "?online=false": 2, "?approved=true&query=beta": 1, "?expired=false": 2,
	} {
		if list := call[[]admin.Node](w, "GET", "/nodes"+query, ""); len(list) != want {
			t.Errorf("%q finds %d devices, want %d", query, len(list), want)
		}
	}
	if got := call[admin.Node](w, "POST", "/nodes/alpha/name", `{"name":"omega"}`); got.Name != "omega" {
		t.Errorf("the new name is %s", got.Name)
	}
	if got := call[admin.Node](w, "POST", "/nodes/omega/name", `{"name":""}`); got.Name != "alpha" {
		t.Errorf("without a name it is %s", got.Name)
	}
	w.wantStatus("", "POST", "/nodes/alpha/name", `{"name":"beta"}`, 409, "beta")
	if got := call[admin.Node](w, "POST", "/nodes/alpha/key-expiry", `{}`); !got.KeyExpiry.IsZero() {
		t.Errorf("the key ends %v", got.KeyExpiry)
	}
	w.wantStatus("", "POST", "/nodes/alpha/key-expiry", `{"at":"2001-01-01T00:00:00Z"}`, 400, "in the past")
	if got := call[admin.Node](w, "POST", "/nodes/alpha/expire", ``); !got.Expired {
		t.Error("the device is not expired")
	}
	if got := call[admin.Pong](w, "POST", "/nodes/alpha/ping", `{"to":"beta"}`); !strings.HasPrefix(got.Endpoint, "100.") {
		t.Errorf("pong %+v", got)
	}
	call[struct{}](w, "DELETE", "/nodes/alpha", "")
	w.wantStatus("", "GET", "/nodes/alpha", "", 404, "")
}

func TestApproval(t *testing.T) {
	w := newWorld(t)
	s := call[admin.Settings](w, "PATCH", "/settings", `{"deviceApproval":true,"keyExpirySeconds":86400}`)
	if !s.DeviceApproval || s.KeyExpirySeconds != 86400 || !s.NetworkMapCaching {
		t.Errorf("the settings are %+v", s)
	}
	alpha := w.join("alpha", "")
	if alpha.Approved {
		t.Error("the device need not wait")
	}
	if st := call[admin.Status](w, "GET", "/status", ""); st.Nodes.Waiting != 1 || st.Nodes.Total != 1 || st.Server.Version != "1.2.3" || st.Server.URL != "https://vpn.example.com" {
		t.Errorf("the status is %+v", st)
	}
	if got := call[admin.Node](w, "POST", "/nodes/alpha/approve", ""); !got.Approved {
		t.Error("the device still waits")
	}
	// Whoever connects a device and may approve it does both at once.
	if got := call[admin.Node](w, "POST", "/nodes/register", `{"code":"good"}`); !got.Approved || got.User != "owner" {
		t.Errorf("the device is %+v", got)
	}
}

func TestKeys(t *testing.T) {
	w := newWorld(t)
	k := call[admin.Key](w, "POST", "/keys", `{"reusable":true,"ephemeral":true,"preapproved":true,"description":"test","expirySeconds":3600}`)
	life := k.Expires.Sub(k.Created)
	if !strings.HasPrefix(k.Key, "tskey-auth-"+string(k.ID)+"-") || k.User != "owner" || !k.Usable || life > time.Hour || life < 59*time.Minute {
		t.Errorf("the key is %+v", k)
	}
	_, text := w.send("", "GET", "/keys", "")
	if strings.Contains(text, k.Key) {
		t.Error("the list holds the secret")
	}
	list := decode[[]admin.Key](w, text)
	if len(list) != 1 || !list[0].Reusable || !list[0].Ephemeral || !list[0].Preapproved || list[0].Description != "test" {
		t.Errorf("the list is %s", text)
	}
	for range 2 { // the second time changes nothing
		if got := call[admin.Key](w, "DELETE", "/keys/"+string(k.ID), ""); got.Usable || got.Revoked.IsZero() {
			t.Errorf("the revoked key is %+v", got)
		}
	}
	call[admin.Policy](w, "PUT", "/policy", `{"text":"{\"tagOwners\": {\"tag:web\": [], \"tag:db\": []}}"}`)
	if got := call[admin.Key](w, "POST", "/keys", `{"tags":["tag:web","tag:db","tag:web"]}`); len(got.Tags) != 2 || got.User != "" {
		t.Errorf("the key with tags is %+v", got)
	}
}

func TestRoutes(t *testing.T) {
	w := newWorld(t)
	office := netip.MustParsePrefix("192.0.2.0/24")
	w.join("router", "", append(selvage.ExitRoutes(), office)...)
	list := call[[]admin.Route](w, "GET", "/routes", "")
	if len(list) != 3 || list[1].Route != office || !list[1].Advertised || list[1].Approved || !list[0].Exit {
		t.Errorf("the list is %+v", list)
	}
	n := call[admin.Node](w, "POST", "/nodes/router/routes/approve", `{"routes":["192.0.2.0/24"]}`)
	if len(n.ApprovedRoutes) != 1 || len(n.PrimaryRoutes) != 1 || n.ExitNode {
		t.Errorf("after approval: %+v", n)
	}
	n = call[admin.Node](w, "POST", "/nodes/router/routes/approve", `{"routes":["0.0.0.0/0"]}`)
	if len(n.ApprovedRoutes) != 3 || !n.ExitNode {
		t.Errorf("as an exit node: %+v", n)
	}
	n = call[admin.Node](w, "POST", "/nodes/router/routes/withdraw", `{"routes":["::/0"]}`)
	if len(n.ApprovedRoutes) != 1 || n.ExitNode {
		t.Errorf("after withdrawal: %+v", n)
	}
	w.wantStatus("", "POST", "/nodes/router/routes/approve", `{"routes":[]}`, 400, "want 1")
	w.wantStatus("", "POST", "/nodes/router/routes/approve", `{"routes":["192.0.2.1/24"]}`, 400, "192.0.2.0/24")
	w.wantStatus("", "POST", "/nodes/router/routes/approve", `{"routes":["nonsense"]}`, 400, "bad body")
}

func TestDNS(t *testing.T) {
	w := newWorld(t)
	before := call[admin.DNS](w, "GET", "/dns", "")
	if !before.MagicDNS || before.Records == nil || before.Split == nil {
		t.Errorf("at first: %+v", before)
	}
	call[admin.DNS](w, "PATCH", "/dns", `{"records":[{"name":"printer.`+before.Domain+`","value":"192.0.2.9"}]}`)
	got := call[admin.DNS](w, "PATCH", "/dns", `{"nameservers":["192.0.2.53"],"overrideLocal":true,"split":{"corp.test":["192.0.2.54"]}}`)
	if len(got.Records) != 1 || len(got.Nameservers) != 1 || !got.OverrideLocal || len(got.Split["corp.test"]) != 1 {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestPolicy(t *testing.T) {
	w := newWorld(t)
	first := call[admin.Policy](w, "GET", "/policy", "")
	if first.Revision != 0 || first.Text == "" || first.ETag == "" {
		t.Errorf("at first: %+v", first)
	}
	if got := call[admin.PolicyCheck](w, "POST", "/policy/check", `{"text":"{\n  \"acls\": 7,\n}"}`); got.OK || len(got.Problems) != 1 || got.Problems[0].Line != 2 {
		t.Errorf("check: %+v", got)
	}
	if got := call[admin.PolicyCheck](w, "POST", "/policy/check", `{"text":"{}"}`); !got.OK || got.Problems == nil {
		t.Errorf("check: %+v", got)
	}
	status, text := w.send("", "PUT", "/policy", `{"text":"{\n  \"acls\": 7,\n}"}`)
	if e := decode[admin.ErrorBody](w, text).Error; status != 400 || len(e.Problems) != 1 || e.Problems[0].Severity != "error" {
		t.Errorf("status %d: %s", status, text)
	}
	put := func(text, match string) (int, string) {
		body, err := json.Marshal(admin.PolicyText{Text: text})
		if err != nil {
			t.Fatal(err)
		}
		return w.send("", "PUT", "/policy", string(body), "If-Match", match)
	}
	status, text = put("// one\n{}", first.ETag)
	one := decode[admin.Policy](w, text)
	if status != 200 || one.Revision != 1 || one.Text != "// one\n{}" || one.ETag == first.ETag {
		t.Errorf("status %d: %s", status, text)
	}
	if status, text := put("// two\n{}", first.ETag); status != 409 || !strings.Contains(text, "has changed since") {
		t.Errorf("status %d: %s", status, text)
	}
	if status, text := put("// one\n{}", ""); status != 200 || decode[admin.Policy](w, text).Revision != 1 {
		t.Errorf("the same again: status %d: %s", status, text)
	}
	if status, text := put("// two\n{}", strings.Trim(one.ETag, `"`)); status != 200 {
		t.Errorf("status %d: %s", status, text)
	}
	if list := call[[]admin.PolicyRevision](w, "GET", "/policy/revisions", ""); len(list) != 2 || list[0].Revision != 2 {
		t.Errorf("the revisions are %+v", list)
	}
	if got := call[admin.Policy](w, "GET", "/policy/revisions/1", ""); got.Text != "// one\n{}" {
		t.Errorf("revision 1 is %+v", got)
	}
}

// A policy whose tests fail for the people who are there is refused.
func TestPolicyTests(t *testing.T) {
	w := newWorld(t)
	call[admin.User](w, "POST", "/users", `{"login":"ann@example.com"}`)
	text := `{"text":"{\"hosts\": {\"db\": \"192.0.2.7\"}, \"acls\": [{\"action\": \"accept\", \"src\": [\"autogroup:admin\"], \"dst\": [\"db:5432\"]}], \"tests\": [{\"src\": \"ann@example.com\", \"accept\": [\"db:5432\"]}]}"}`
	w.wantStatus("", "PUT", "/policy", text, 400, "ann@example.com")
	if got := call[admin.PolicyCheck](w, "POST", "/policy/check", text); got.OK || len(got.Problems) == 0 {
		t.Errorf("check: %+v", got)
	}
	call[admin.User](w, "PATCH", "/users/ann@example.com", `{"role":"admin"}`)
	w.wantStatus("", "PUT", "/policy", text, 200, "")
}

func TestJournal(t *testing.T) {
	w := newWorld(t)
	call[admin.User](w, "POST", "/users", `{"login":"ann"}`)
	call[admin.Link](w, "POST", "/users/ann/link", "")
	call[admin.Relay](w, "POST", "/relays", `{"name":"berlin"}`)
	list := call[[]admin.Entry](w, "GET", "/journal?action=user.&limit=1", "")
	if len(list) != 1 || list[0].Action != "user.create" || list[0].Actor.Kind != selvage.ActorLocal || len(list[0].New) == 0 {
		t.Errorf("the entries are %+v", list)
	}
	all := call[[]admin.Entry](w, "GET", "/journal?oldest=true", "")
	if len(all) < 2 || all[0].Seq >= all[1].Seq {
		t.Errorf("the entries are %+v", all)
	}
	if got := call[[]admin.Entry](w, "GET", "/journal?server=true&action=relay.", ""); len(got) != 1 {
		t.Errorf("the server's entries are %+v", got)
	}
	last := all[len(all)-1]
	if got := call[admin.Verification](w, "GET", "/journal/verify", ""); !got.OK || got.Entries != last.Seq || got.Head != last.Hash {
		t.Errorf("the verification is %+v", got)
	}

	// A follower gets what is there, and then what comes.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", w.local.URL+admin.Prefix+"/journal/follow?after="+itoa(last.Seq-1), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i, want := range []string{last.Action, "user.delete"} {
		if i == 1 {
			call[struct{}](w, "DELETE", "/users/ann", "")
		}
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		if e := decode[admin.Entry](w, lines.Text()); e.Action != want {
			t.Errorf("entry %d is %+v, want %s", i, e, want)
		}
	}
}

func itoa(n int64) string { return selvage.NodeID(n).String() }

func TestRelays(t *testing.T) {
	w := newWorld(t)
	a := call[admin.Relay](w, "POST", "/relays", `{"name":"berlin"}`)
	b := call[admin.Relay](w, "POST", "/relays", `{"name":"lima"}`)
	if a.Region != 901 || b.Region != 902 || !strings.HasPrefix(a.Token, "selvage-relay-") || a.Online || w.relays != 2 {
		t.Errorf("relays %+v, %+v; told of %d", a, b, w.relays)
	}
	w.wantStatus("", "POST", "/relays", `{"name":"lima"}`, 409, "already")
	call[struct{}](w, "DELETE", "/relays/berlin", "")
	if c := call[admin.Relay](w, "POST", "/relays", `{"name":"oslo"}`); c.Region != 901 {
		t.Errorf("the free region is not used: %+v", c)
	}
	_, text := w.send("", "GET", "/relays", "")
	if list := decode[[]admin.Relay](w, text); len(list) != 2 || strings.Contains(text, "selvage-relay-") {
		t.Errorf("the list is %s", text)
	}
}

// The backup that the API gives restores the server.
func TestBackup(t *testing.T) {
	w := newWorld(t)
	w.join("alpha", "")
	if err := w.hub.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	status, archive := w.send("", "GET", "/backup", "")
	if status != 200 {
		t.Fatalf("status %d: %s", status, archive)
	}
	dsn := storetest.SQLite(t)
	m, err := store.Import(context.Background(), dsn, strings.NewReader(archive), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(context.Background(), dsn, store.Options{MasterKey: m.MasterKey})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	hub, err := netmap.Open(context.Background(), netmap.Options{DB: db, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Nets()[0].View().NodeByName("alpha"); err != nil {
		t.Error(err)
	}
}

func TestSmallThings(t *testing.T) {
	w := newWorld(t)
	if v := call[admin.Version](w, "GET", "/version", ""); v.Version != "1.2.3" {
		t.Errorf("the version is %+v", v)
	}
	if c := call[map[string]any](w, "GET", "/config", ""); c["listen"] != ":443" {
		t.Errorf("the configuration is %v", c)
	}
	w.wantStatus("", "POST", "/tailnets", `{"name":""}`, 400, "no name")
	w.wantStatus("", "POST", "/tailnets", `{"name":"home"}`, 409, "already")
	link := call[admin.Link](w, "POST", "/users/owner/link", "")
	if !strings.HasPrefix(link.URL, "https://vpn.example.com/welcome/selvage-link-") || link.User != "owner" {
		t.Errorf("the link is %+v", link)
	}
	u := call[admin.User](w, "PATCH", "/users/owner", `{"displayName":"Ann","login":"ann@example.com"}`)
	if u.DisplayName != "Ann" || u.Login != "ann@example.com" || u.Role != selvage.RoleOwner {
		t.Errorf("the user is %+v", u)
	}
	if got := call[admin.User](w, "GET", "/users/"+u.ID.String(), ""); got.Login != u.Login {
		t.Errorf("by ID: %+v", got)
	}
}
