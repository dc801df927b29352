package relay

import (
	"io"
	"log/slog"
	"net/http"

	"tailscale.com/tailcfg"

	"selvage"
)

// VerifyHandler serves POST /verify, where relays on hosts of their own ask whether
// a client may use them: ours, and stock derper with -verify-client-url. It answers
// from memory. Anyone may ask, as stock relays have nothing to identify themselves
// with; the answer tells only those something who know a device's key already.
func VerifyHandler(admit Admit, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			refuse(w, r, log, errMethod)
			return
		}
		req, err := readVerify(r.Body)
		if err != nil {
			refuse(w, r, log, err)
			return
		}
		answer(w, tailcfg.DERPAdmitClientResponse{Allow: admit(req.NodePublic, req.Source.Unmap())})
	})
}

func readVerify(r io.Reader) (tailcfg.DERPAdmitClientRequest, error) {
	var req tailcfg.DERPAdmitClientRequest
	if err := readMessage(r, &req); err != nil {
		return req, err
	}
	if req.NodePublic.IsZero() {
		return req, selvage.Errorf(selvage.KindInvalid, "the request names no NodePublic")
	}
	return req, nil
}
