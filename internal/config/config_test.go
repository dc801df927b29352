package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"selvage"
)

// load loads a configuration in a folder of its own, with the given file, variables
// and arguments.
func load(t *testing.T, file string, environ []string, args ...string) (*Loaded, string, error) {
	t.Helper()
	dir := t.TempDir()
	if file != "" {
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := flag.NewFlagSet("serve", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	flags := AddFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	l, err := Load(Source{Flags: flags, Environ: append(environ, "SELVAGE_DATA_DIR="+dir), UID: 1000})
	return l, dir, err
}

func TestDefaults(t *testing.T) {
	l, dir, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default(dir)
	want.Listen, want.ACME.HTTPListen, want.Socket = "localhost:8080", "none", filepath.Join(dir, "selvage.sock")
	if !reflect.DeepEqual(l.Config, want) {
		t.Errorf("got %+v, want %+v", l.Config, want)
	}
	if l.File != "" || l.DSN() != "sqlite:"+filepath.Join(dir, "selvage.db") || l.PublicURL() != "" {
		t.Errorf("file %q, database %q, URL %q", l.File, l.DSN(), l.PublicURL())
	}
}

func TestHostnameMeansHTTPS(t *testing.T) {
	for _, tt := range []struct {
		name              string
		args              []string
		listen, http, url string
	}{
		{"hostname", []string{"--hostname=vpn.example.com"}, ":443", ":80", "https://vpn.example.com"},
		{"other port", []string{"--hostname=vpn.example.com", "--listen=:8443"}, ":8443", ":80", "https://vpn.example.com:8443"},
		{"own certificate", []string{"--hostname=vpn.example.com", "--tls-cert=c", "--tls-key=k"}, ":443", ":80", "https://vpn.example.com"},
		{"behind a proxy", []string{"--url=https://vpn.example.com/"}, "localhost:8080", "none", "https://vpn.example.com"},
		{"no plain HTTP", []string{"--hostname=vpn.example.com", "--acme-http-listen=none"}, ":443", "none", "https://vpn.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, _, err := load(t, "", nil, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if l.Listen != tt.listen || l.ACME.HTTPListen != tt.http || l.PublicURL() != tt.url {
				t.Errorf("listen %q, http %q, url %q", l.Listen, l.ACME.HTTPListen, l.PublicURL())
			}
		})
	}
}

// Each later source wins over the ones before, setting by setting.
func TestPrecedence(t *testing.T) {
	file := "dns:\n  base_domain: file.test\nrelay: {region_code: file, region_name: file}\nlog:\n  level: warn\n"
	environ := []string{"SELVAGE_RELAY_REGION_NAME=env", "SELVAGE_LOG_LEVEL=error", "SELVAGE_LISTEN="}
	l, dir, err := load(t, file, environ, "--log-level", "debug")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, FileName)
	if l.DNS.BaseDomain != "file.test" || l.Relay.RegionCode != "file" || l.Relay.RegionName != "env" || l.Log.Level != "debug" || l.Listen != "localhost:8080" {
		t.Errorf("got %+v", l.Config)
	}
	want := map[string]string{
		"dns.base_domain": name, "relay.region_code": name, "relay.region_name": "SELVAGE_RELAY_REGION_NAME",
		"log.level": "--log-level", "data_dir": "SELVAGE_DATA_DIR",
	}
	if diff := cmp.Diff(want, l.Origins); diff != "" || l.File != name {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}

// Every setting can be made in each of the three ways, with the same outcome.
func TestEverySettingEverywhere(t *testing.T) {
	special := map[string]string{
		"listen": "127.0.0.1:1", "acme.http_listen": "127.0.0.1:2", "relay.stun_listen": "127.0.0.1:3",
		"hostname": "a.example.com", "url": "https://b.example.com", "database": "postgres://h/n",
		"dns.base_domain": "c.example.com", "log.level": "debug", "log.format": "json", "relay.region_code": "rc",
		"oldest_client": "114", "relay.enabled": "false", "relay.verify_clients": "false",
		"metrics.allow": "192.0.2.0/24,2001:db8::1/128", "relay.maps": "a,https://b",
	}
	for _, key := range Keys() {
		t.Run(key, func(t *testing.T) {
			value := special[key]
			if value == "" {
				value = filepath.Join(t.TempDir(), "x")
			}
			var args, environ []string
			if key == "tls.cert" || key == "tls.key" {
				args = []string{"--hostname=a.example.com", "--tls-cert=other", "--tls-key=other"}
				environ = []string{"SELVAGE_HOSTNAME=a.example.com", "SELVAGE_TLS_CERT=other", "SELVAGE_TLS_KEY=other"}
			}
			if key == "master_key_file" {
				if err := os.WriteFile(value, []byte("secret\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			yaml := strings.ReplaceAll(key, ".", ":\n  ") + ": " + value + "\n"
			if key == "tls.cert" {
				yaml += "  key: other\nhostname: a.example.com\n"
			} else if key == "tls.key" {
				yaml += "  cert: other\nhostname: a.example.com\n"
			}
			fromFile, _, err1 := load(t, yaml, nil)
			fromEnv, _, err2 := load(t, "", append(environ, Variable(key)+"="+value))
			fromFlag, _, err3 := load(t, "", nil, append(args, "--"+Flag(key)+"="+value)...)
			if err1 != nil || err2 != nil || err3 != nil {
				t.Fatal(err1, err2, err3)
			}
			for way, l := range map[string]*Loaded{"file": fromFile, "environment": fromEnv, "flag": fromFlag} {
				if key == "data_dir" && way != "flag" {
					continue // load itself sets the variable
				}
				got := fields(&l.Config)[slices.Index(Keys(), key)].shown()
				text, _ := inline(got)
				text = strings.NewReplacer("[", "", "]", "", " ", "", `"`, "", "'", "").Replace(text)
				if text != value {
					t.Errorf("by %s: got %s, want %s", way, text, value)
				}
			}
		})
	}
}

func TestBadFiles(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"misspelt", "listen: :80\nhostnam: x.example.com\n", `selvage.yaml:2: unknown setting "hostnam"; did you mean hostname?`},
		{"misspelt in a section", "dns:\n  # names\n  basedomain: x\n", `selvage.yaml:3: unknown setting "basedomain" in dns; did you mean base_domain?`},
		{"misspelt section", "relays:\n  maps: []\n", `selvage.yaml:1: unknown setting "relays"; did you mean relay?`},
		{"far from everything", "colour: red\n", `selvage.yaml:1: unknown setting "colour"; ` + "`selvage config` shows those that exist"},
		{"dotted", "dns.base_domain: x\n", `selvage.yaml:1: unknown setting "dns.base_domain"`},
		{"twice", "listen: :80\nlisten: :81\n", "selvage.yaml:2: listen is there twice"},
		{"section as a value", "dns: x\n", "selvage.yaml:1: dns should be made of lines NAME: VALUE"},
		{"value as a section", "listen:\n  port: 80\n", "selvage.yaml:2: listen should be one value"},
		{"no value", "listen:\n", "selvage.yaml:1: listen has no value"},
		{"not a number", "oldest_client: many\n", `selvage.yaml:1: oldest_client: bad value "many": want a whole number`},
		{"not a truth", "relay: {enabled: perhaps}\n", `relay.enabled: bad value "perhaps": want true or false`},
		{"not a network", "metrics: {allow: [home]}\n", `metrics.allow: bad network "home"`},
		{"not a list", "relay: {maps: {a: b}}\n", "relay.maps should be a list"},
		{"list of lists", "relay: {maps: [[a]]}\n", "relay.maps should be a list of texts"},
		{"an alias", "listen: &a :80\nhostname: *a\n", "hostname should be one value"},
		{"a list", "- listen\n", "selvage.yaml:1: the file should be made of lines NAME: VALUE"},
		{"two documents", "listen: :80\n---\nlisten: :81\n", "second document"},
		{"no YAML", "listen: [\n", "selvage.yaml: line 1: did not find"},
		{"bad value", "log: {level: loud}\n", `selvage.yaml: log.level is "loud": want one of debug, info, warn, error`},
		{"bad address", "listen: 80\n", `listen is "80": want HOST:PORT`},
		{"hostname is an address", "hostname: 192.0.2.1\n", "an address gets no public certificate"},
		{"hostname without a point", "hostname: vpn\n", "want a public name"},
		{"URL with a path", "url: https://a.example.com/vpn\n", "without a path"},
		{"half a certificate", "tls: {cert: x}\n", "set both or neither"},
		{"a certificate for no name", "tls: {cert: x, key: y}\n", "selvage.yaml: tls.cert is set but hostname is not"},
		{"two keys", "master_key: x\nmaster_key_file: y\n", "leave one out"},
		{"other database", "database: mysql://root:geheim@h/n\n", "want postgres://"},
		{"plain HTTP map", "relay: {maps: ['http://example.com/map']}\n", "use https://"},
		{"old clients", "oldest_client: 100\n", "Tailscale 1.80"},
		{"base domain", "dns: {base_domain: .x}\n", "dns.base_domain"},
		{"region code", "relay: {region_code: A B}\n", "relay.region_code"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := load(t, tt.text, nil)
			if !selvage.Is(err, selvage.KindInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "\n") {
				t.Errorf("the message is %q", err)
			}
			if err := Check([]byte(tt.text), "selvage.yaml"); err == nil {
				t.Error("Check finds nothing wrong")
			}
		})
	}
}

func TestBadVariablesAndFlags(t *testing.T) {
	_, _, err := load(t, "", []string{"SELVAGE_OLDEST_CLIENT=x"})
	if err == nil || !strings.Contains(err.Error(), "environment variable SELVAGE_OLDEST_CLIENT: bad value") {
		t.Error(err)
	}
	_, _, err = load(t, "", nil, "--log-format=xml")
	if err == nil || !strings.Contains(err.Error(), `--log-format: log.format is "xml"`) {
		t.Error(err)
	}
	_, _, err = load(t, "", nil, "--config=/nonexistent/x.yaml")
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/x.yaml") {
		t.Error(err)
	}
	l, _, err := load(t, "", []string{"SELVAGE_DNS_BASEDOMAIN=x", "SELVAGE_TOKEN=x", "SELVAGE_PORT=tcp://192.0.2.1:80"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"environment variable SELVAGE_DNS_BASEDOMAIN is no setting; did you mean SELVAGE_DNS_BASE_DOMAIN?"}
	if diff := cmp.Diff(want, l.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestRepeatedFlag(t *testing.T) {
	l, _, err := load(t, "relay: {maps: [file]}", nil, "--relay-maps=a", "--relay-maps", "b,c", "--relay-enabled=false")
	if err != nil || !slices.Equal(l.Relay.Maps, []string{"a", "b", "c"}) || l.Relay.Enabled {
		t.Errorf("got %v, %v, %v", l.Relay.Maps, l.Relay.Enabled, err)
	}
}

func TestDataDir(t *testing.T) {
	if readable(systemDir) {
		t.Skip("there is a " + systemDir)
	}
	for _, tt := range []struct {
		name    string
		environ []string
		uid     int
		want    string
	}{
		{"home", []string{"HOME=/home/ann"}, 1000, "/home/ann/.local/state/selvage"},
		{"XDG", []string{"HOME=/home/ann", "XDG_STATE_HOME=/state"}, 1000, "/state/selvage"},
		{"bad XDG", []string{"HOME=/home/ann", "XDG_STATE_HOME=state"}, 1000, "/home/ann/.local/state/selvage"},
		{"root", []string{"HOME=/root"}, 0, "/root/.local/state/selvage"},
		{"root in a service", []string{"HOME=/root", "INVOCATION_ID=1"}, 0, "/var/lib/selvage"},
		{"user in a service", []string{"HOME=/home/ann", "INVOCATION_ID=1"}, 1000, "/home/ann/.local/state/selvage"},
		{"state folder of a unit", []string{"STATE_DIRECTORY=/var/lib/a:/var/lib/b", "INVOCATION_ID=1"}, 1000, "/var/lib/a"},
		{"variable", []string{"SELVAGE_DATA_DIR=/data", "STATE_DIRECTORY=/var/lib/a"}, 0, "/data"},
		{"nothing", nil, 1000, "/var/lib/selvage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := DataDir(Source{Environ: tt.environ, UID: tt.uid}); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// What is printed can be read again and gives the same configuration.
func TestPrintedYAMLIsGood(t *testing.T) {
	l, _, err := load(t, "relay:\n  maps: [a, 'https://b/?x=\"#']\nacme: {email: 'yes'}\nhostname: a.example.com", nil, "--log-level=debug")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := l.WriteYAML(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"level: debug # from --log-level\n", "# Public name of the server, such as", "# Read from "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	again := Default("")
	if err := again.parse(out.Bytes(), "printed", func(string) {}); err != nil {
		t.Fatalf("%v in\n%s", err, &out)
	}
	if !reflect.DeepEqual(again, l.Config) {
		t.Errorf("got %+v, want %+v", again, l.Config)
	}
}

func TestEverySettingIsDocumented(t *testing.T) {
	texts := docs()
	for _, f := range fields(new(Config)) {
		if !strings.HasSuffix(texts[f.owner+"."+f.name], ".") {
			t.Errorf("%s has no comment", f.key)
		}
	}
	if got := slices.Sorted(maps.Keys(texts)); len(got) < len(Keys()) {
		t.Errorf("%d comments for %d settings", len(got), len(Keys()))
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	for _, database := range []string{
		"postgres://ann:geheim@h/n", "postgres://h/n?user=ann&password=geheim",
		"postgres://h/n?sslmode=verify-full&sslkey=k&sslpassword=geheim", "postgresql://h/n?new_secret=geheim",
		"postgres://h/n?sslpassword=geheim;%zz",
	} {
		l, _, err := load(t, "", []string{"SELVAGE_DATABASE=" + database, "SELVAGE_MASTER_KEY=geheim"})
		if err != nil {
			t.Fatal(err)
		}
		var yaml, js bytes.Buffer
		if err := l.WriteYAML(&yaml); err != nil {
			t.Fatal(err)
		}
		if err := l.WriteJSON(&js); err != nil || !json.Valid(js.Bytes()) {
			t.Fatal(err)
		}
		if out := yaml.String() + js.String(); strings.Contains(out, "geheim") || !strings.Contains(out, "hidden") {
			t.Errorf("printed:\n%s", out)
		}
		if l.MasterKey != "geheim" || l.Database != database {
			t.Error("printing changes the configuration")
		}
	}
}

// What helps to find a mistake in the address is shown.
func TestHarmlessParametersArePrinted(t *testing.T) {
	const database = "postgres://ann@h/n?application_name=selvage&pool_max_conns=8&search_path=s&sslmode=verify-full"
	if got := (Config{Database: database}).Redacted().Database; got != database {
		t.Errorf("got %s", got)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"base_domain", "listen", "list", "tailnet", "node"}
	for name, want := range map[string]string{
		"basedomain": "base_domain", "lisetn": "listen", "lst": "list", "nodes": "node", "base-domain": "base_domain",
		"x": "", "": "", "completelydifferent": "", strings.Repeat("x", 1000): "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-c]{0,6}`)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) || d < max(len(a), len(b))-min(len(a), len(b)) {
			t.Errorf("distance(%q, %q) = %d", a, b, d)
		}
	})
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("listen: :80\ndns:\n  base_domain: x.test\n"))
	f.Add([]byte("relay: {maps: [a, b], enabled: no}\nmetrics: {allow: [10.0.0.0/8]}"))
	f.Add([]byte("a: &a [*a]\n<<: *a\n? [x]\n: y"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := Check(text, "fuzz.yaml"); err != nil && !selvage.Is(err, selvage.KindInvalid) {
			t.Errorf("%v", err)
		}
	})
}
