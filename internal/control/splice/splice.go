// Package splice builds compressed messages from parts that were compressed before:
// a body of zstd may be several frames end to end, and decodes to their texts end to
// end. So what many receivers get alike needs to be compressed only once.
//
// It is pure and knows nothing of what the texts mean. No frame tells the size of its
// content: clients that decode a whole body at once would make exactly as much room
// for each such frame and copy all that came before. Parts should hold tens of
// kilobytes of text, or compression is lost.
package splice

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// windowSize is how far back an encoder looks, in bytes, and what a decoder has to
// keep in memory for it.
const windowSize = 256 << 10

// encoders are used by one caller at a time each.
var encoders = sync.Pool{New: func() any {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(windowSize), zstd.WithEncoderCRC(false)) // the transport proves that bytes arrive as sent
	if err != nil {
		panic("splice: " + err.Error()) // the options are constants
	}
	return e
}}

// Frame compresses a text to one frame without a content size.
func Frame(text []byte) []byte {
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	var out bytes.Buffer
	e.Reset(&out)
	// Writing to memory does not fail. The flush before the end makes the encoder
	// write the header while it can't know the size.
	e.Write(text)
	e.Flush()
	e.Close()
	e.Reset(nil)
	return out.Bytes()
}

var comma = sync.OnceValue(func() []byte { return Frame([]byte(",")) })

// Message returns the frames of a JSON object: head, which must be a JSON object with
// at least one member, and after its members an array of the given name. Each part
// of the array is a frame of one or more elements with commas between them.
func Message(head []byte, name string, parts [][]byte) []byte {
	quoted, _ := json.Marshal(name) // strings always encode
	open := make([]byte, 0, len(head)+len(quoted)+3)
	open = append(open, head[:len(head)-1]...)
	open = append(open, ',')
	open = append(open, quoted...)
	open = append(open, ':', '[')
	out := Frame(open)
	for i, p := range parts {
		if i > 0 {
			out = append(out, comma()...)
		}
		out = append(out, p...)
	}
	return append(out, Frame([]byte("]}"))...)
}
