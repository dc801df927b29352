package splice_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
	"tailscale.com/util/zstdframe"

	"selvage/internal/control/splice"
)

// decode does what the clients do with a message.
func decode(t interface{ Fatal(...any) }, b []byte) []byte {
	out, err := zstdframe.AppendDecode(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type message struct {
	Name  string
	Value int      `json:",omitempty"`
	Peers []string `json:",omitempty"`
}

// Whatever the message and however its array is cut, the frames together are what
// plain encoding gives.
func TestMessageIsPlainJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := message{
			Name:  rapid.String().Draw(t, "name"),
			Value: rapid.Int().Draw(t, "value"),
			Peers: rapid.SliceOfN(rapid.String(), 1, 40).Draw(t, "peers"),
		}
		want, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		head, err := json.Marshal(message{Name: m.Name, Value: m.Value})
		if err != nil {
			t.Fatal(err)
		}
		var parts [][]byte
		for rest := m.Peers; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "part")
			list, err := json.Marshal(rest[:n])
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, splice.Frame(list[1:len(list)-1]))
			rest = rest[n:]
		}
		if got := decode(t, splice.Message(head, "Peers", parts)); !bytes.Equal(got, want) {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

func TestMessageWithoutParts(t *testing.T) {
	if got := decode(t, splice.Message([]byte(`{"A":1}`), "Peers", nil)); string(got) != `{"A":1,"Peers":[]}` {
		t.Errorf("got %s", got)
	}
}

// FuzzFrame checks that a frame decodes to its text and does not tell its size.
func FuzzFrame(f *testing.F) {
	for _, text := range []string{"", "{}", `{"KeepAlive":true }`, strings.Repeat("peer ", 10_000), strings.Repeat("\x00\xff", 200_000)} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		frame := splice.Frame(text)
		var h zstd.Header
		if err := h.Decode(frame); err != nil {
			t.Fatal(err)
		}
		if h.HasFCS || h.SingleSegment || h.Skippable {
			t.Errorf("header is %+v", h)
		}
		if got := decode(t, frame); !bytes.Equal(got, text) {
			t.Errorf("%d bytes became %d", len(text), len(got))
		}
	})
}

// Encoders are shared; callers at the same time must not get into each other's way.
func TestFramesAtTheSameTime(t *testing.T) {
	errs := make(chan string, 8)
	for i := range 8 {
		go func() {
			text := bytes.Repeat([]byte{byte('a' + i)}, 1000*(i+1))
			for range 100 {
				if got, err := zstdframe.AppendDecode(nil, splice.Frame(text)); err != nil || !bytes.Equal(got, text) {
					errs <- "a frame has another's text"
					return
				}
			}
			errs <- ""
		}()
	}
	for range 8 {
		if err := <-errs; err != "" {
			t.Error(err)
		}
	}
}
