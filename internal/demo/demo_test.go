package demo

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemo runs the demo as `selvage demo --check --json` does.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three client engines; left out with -short")
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var out bytes.Buffer
	if err := Run(t.Context(), Options{Check: true, JSON: true, Out: &out}); err != nil {
		t.Errorf("%v:\n%s", err, out.String())
	}
	steps := 0
	for dec := json.NewDecoder(&out); dec.More(); steps++ {
		var r result
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if !r.OK || r.Error != "" {
			t.Errorf("step %q did not hold: %s", r.Step, r.Error)
		}
	}
	if steps < 9 {
		t.Errorf("%d steps, want all of the story", steps)
	}
	left, err := filepath.Glob(filepath.Join(tmp, "selvage-demo-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind (%v)", left, err)
	}
}

func TestDemoRefusesBadAddress(t *testing.T) {
	err := Run(t.Context(), Options{Check: true, Listen: "nowhere", Out: os.Stderr})
	if err == nil || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Errorf("got %v, want an error that names the address", err)
	}
}

// The demo must never find the configuration of a real server on the machine.
func TestDemoUsesNothingButItsOwn(t *testing.T) {
	t.Setenv("SELVAGE_DATABASE", "sqlite:/nowhere/production.db")
	t.Setenv("SELVAGE_CONFIG", "/nowhere/selvage.yaml")
	d := &demo{dir: t.TempDir()}
	cfg, err := d.config()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(cfg.DSN(), d.dir) || !strings.HasPrefix(cfg.Socket, d.dir) {
		t.Errorf("database %s, socket %s", cfg.DSN(), cfg.Socket)
	}
}
