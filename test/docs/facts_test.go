package docs

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"selvage/internal/journal"
)

// read returns the text of a page.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func containsText(text, part string) bool { return strings.Contains(text, part) }

var (
	metricLine  = regexp.MustCompile(`(?m)^# TYPE (selvage_\w+) `)
	metricNamed = regexp.MustCompile("`(selvage_\\w+[a-z])(?:\\{[a-z,]*\\})?`")
)

// vectors are metrics that are there only once something was counted.
var vectors = []string{
	"selvage_map_messages_total", "selvage_map_bytes_total", "selvage_registrations_total", "selvage_control_handshakes_total",
}

// TestMetricsPage checks that the page names the metrics that there are, and no others.
func TestMetricsPage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server: not with -short")
	}
	s := newStage(t)
	s.join("laptop")
	resp, err := http.Get(s.url + "/metrics")
	s.ok(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	s.ok(err)
	exist := map[string]bool{}
	for _, m := range metricLine.FindAllStringSubmatch(string(text), -1) {
		exist[m[1]] = true
	}
	for _, name := range vectors {
		if !exist[name] {
			t.Errorf("there is no metric %s after a device has joined", name)
		}
	}
	named := map[string]bool{}
	for _, m := range metricNamed.FindAllStringSubmatch(read(t, "monitoring.md"), -1) {
		named[m[1]] = true
		if !exist[m[1]] {
			t.Errorf("the page names the metric %s, which does not exist", m[1])
		}
	}
	for name := range exist {
		if !named[name] {
			t.Errorf("the page does not name the metric %s", name)
		}
	}
}

// TestActionsPage checks that the page names each action of the journal.
func TestActionsPage(t *testing.T) {
	text := read(t, "monitoring.md")
	for _, action := range journal.Actions() {
		if !containsText(text, "`"+action+"`") {
			t.Errorf("the page does not name the action %s", action)
		}
	}
}

// TestPolicyQuery checks the query that saves a policy from a database whose master key
// is lost.
func TestPolicyQuery(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server: not with -short")
	}
	sqlite, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("no sqlite3 on this machine")
	}
	m := regexp.MustCompile(`(?m)^sqlite3 \S+ "(SELECT [^"]+)" > policy\.hujson$`).FindStringSubmatch(read(t, "break-glass.md"))
	if m == nil {
		t.Fatal("the page has no such query")
	}
	s := newStage(t)
	s.policy()
	out, err := exec.CommandContext(t.Context(), sqlite, filepath.Join(s.data(), "selvage.db"), m[1]).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != policyText {
		t.Errorf("%s: %v\n%s", m[1], err, out)
	}
}
