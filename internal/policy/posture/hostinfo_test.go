package posture

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/tailcfg"
	"tailscale.com/types/opt"
)

func TestReported(t *testing.T) {
	for _, tt := range []struct {
		name string
		hi   *tailcfg.Hostinfo
		want Attrs
	}{
		{"nothing", nil, nil},
		{"no system", &tailcfg.Hostinfo{IPNVersion: "1.84.0"}, nil},
		{
			"stable", &tailcfg.Hostinfo{OS: "macOS", OSVersion: "15.1", IPNVersion: "1.84.2-tabcdef-gabc", AllowsUpdate: true, StateEncrypted: opt.NewBool(false)},
			Attrs{
				"node:os": "macos", "node:osVersion": "15.1", "node:tsVersion": "1.84.2", "node:tsReleaseTrack": "stable",
				"node:tsAutoUpdate": true, "node:tsStateEncrypted": false,
			},
		},
		{"unstable", &tailcfg.Hostinfo{OS: "linux", IPNVersion: "1.85.7-dev"}, Attrs{"node:os": "linux", "node:tsVersion": "1.85.7", "node:tsReleaseTrack": "unstable", "node:tsAutoUpdate": false}},
		{"odd version", &tailcfg.Hostinfo{OS: "linux", IPNVersion: "head"}, Attrs{"node:os": "linux", "node:tsVersion": "head", "node:tsAutoUpdate": false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Reported(tt.hi)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if (got == nil) != (tt.want == nil) {
				t.Errorf("got %v", got)
			}
		})
	}
}
