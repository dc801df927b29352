package relay

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/http/httptest"

	"go4.org/mem"
	"tailscale.com/types/key"
)

// newRecorder sends one request to the handler.
func newRecorder(h http.Handler, method, path string, body []byte, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// nodeKey makes a key without the cost of a real one.
func nodeKey(i int) key.NodePublic {
	var raw [32]byte
	binary.BigEndian.PutUint64(raw[:], uint64(i)+1)
	return key.NodePublicFromRaw32(mem.B(raw[:]))
}
