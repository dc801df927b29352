package control

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"tailscale.com/tailcfg"
)

// keepaliveJSON has a space that the shortest form has not. Clients from 1.96 to
// 1.104 remember the bytes of the shortest form to skip decoding it, but keep them in
// a buffer that is used again, and then drop any message of the same length.
const keepaliveJSON = `{"KeepAlive":true }`

// encoders are zstd encoders for single calls of EncodeAll.
var encoders = sync.Pool{New: func() any {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10))
	if err != nil {
		panic("control: " + err.Error()) // the options are constants
	}
	return e
}}

var keepaliveZstd = sync.OnceValue(func() []byte { return compress([]byte(keepaliveJSON)) })

func compress(b []byte) []byte {
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	return e.EncodeAll(b, nil)
}

// frames writes map messages: a little-endian uint32 length and the body, flushed.
type frames struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	zstd bool
}

func newFrames(w http.ResponseWriter, compress string) *frames {
	return &frames{w: w, ctl: http.NewResponseController(w), zstd: compress == "zstd"}
}

// message sends one message and returns its size on the wire in bytes.
func (f *frames) message(msg *tailcfg.MapResponse) (int, error) {
	body, err := json.Marshal(msg)
	if err != nil {
		return 0, err
	}
	if f.zstd {
		body = compress(body)
	}
	return f.write(body)
}

func (f *frames) keepalive() (int, error) {
	if f.zstd {
		return f.write(keepaliveZstd())
	}
	return f.write([]byte(keepaliveJSON))
}

func (f *frames) write(body []byte) (int, error) {
	if err := f.ctl.SetWriteDeadline(time.Now().Add(messageWriteLimit)); err != nil {
		return 0, err
	}
	frame := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	frame = append(frame, body...)
	if _, err := f.w.Write(frame); err != nil {
		return 0, err
	}
	return len(frame), f.ctl.Flush()
}
