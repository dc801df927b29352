package relay

import (
	"bytes"
	"net/http"
	"net/http/httptest"
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
