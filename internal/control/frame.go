package control

import (
	"encoding/binary"
	"net/http"
	"sync"
	"time"

	"tailscale.com/tailcfg"

	"selvage/internal/control/mapresp"
	"selvage/internal/control/splice"
)

// keepaliveJSON has a space that the shortest form has not. Clients from 1.96 to
// 1.104 remember the bytes of the shortest form to skip decoding it, but keep them in
// a buffer that is used again, and then drop any message of the same length.
const keepaliveJSON = `{"KeepAlive":true }`

var keepaliveFrame = sync.OnceValue(func() []byte { return splice.Frame([]byte(keepaliveJSON)) })

const (
	// messageWriteLimit is how long a client may take for each writeChunk bytes.
	messageWriteLimit = 30 * time.Second
	// writeChunk is what a slow link must get through within messageWriteLimit, so
	// that a big map over a slow link is not taken for a client that stopped reading.
	writeChunk = 32 << 10
)

// frames writes map messages: a little-endian uint32 length and the body, flushed.
type frames struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	zstd  bool
	limit time.Duration
	begun bool // some byte of the body is out
}

func newFrames(w http.ResponseWriter, compress string, limit time.Duration) *frames {
	return &frames{w: w, ctl: http.NewResponseController(w), zstd: compress == "zstd", limit: limit}
}

// message sends one message and returns its size on the wire in bytes.
func (f *frames) message(msg *tailcfg.MapResponse) (int, error) {
	body, err := mapresp.Encode(msg)
	if err != nil {
		return 0, err
	}
	if f.zstd {
		body = splice.Frame(body)
	}
	return f.write(body)
}

// spliced sends a message whose peers are compressed already.
func (f *frames) spliced(msg *tailcfg.MapResponse, peers [][]byte) (int, error) {
	head, err := mapresp.Encode(msg)
	if err != nil {
		return 0, err
	}
	return f.write(splice.Message(head, "Peers", peers))
}

func (f *frames) keepalive() (int, error) {
	if f.zstd {
		return f.write(keepaliveFrame())
	}
	return f.write([]byte(keepaliveJSON))
}

// write sends a frame and waits until the connection has taken it.
func (f *frames) write(body []byte) (int, error) {
	frame := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	frame = append(frame, body...)
	f.begun = true
	for rest := frame; len(rest) > 0; {
		if err := f.ctl.SetWriteDeadline(time.Now().Add(f.limit)); err != nil {
			return 0, err
		}
		n, err := f.w.Write(rest[:min(len(rest), writeChunk)])
		if err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	if err := f.ctl.Flush(); err != nil {
		return 0, err
	}
	// A deadline that stays set would end the stream when it passes, even if nothing
	// is waiting to be written.
	return len(frame), f.ctl.SetWriteDeadline(time.Time{})
}
