package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"selvage"
)

const (
	// announceEvery is how often a relay on a host of its own says that it is there.
	announceEvery = 30 * time.Second
	// maxMessage bounds the small messages between relays and server, in bytes.
	maxMessage = 4 << 10
	// maxVersion bounds the version that a relay tells, in bytes.
	maxVersion = 100
)

// Announcement is what a relay tells the server about itself.
type Announcement struct {
	Host     string `json:"host"` // name or address that clients dial
	Port     int    `json:"port"` // of DERP with TLS
	STUNPort int    `json:"stunPort"`
	// CertHash is the SHA-256 of the relay's certificate in hex, empty if the
	// certificate is publicly trusted.
	CertHash string `json:"certHash,omitempty"`
	Version  string `json:"version,omitempty"`
}

// Check returns nil if clients can be told about the relay.
func (a Announcement) Check() error {
	if a.Host == "" {
		return selvage.Errorf(selvage.KindInvalid, "the relay did not say its host; give it the name or address that devices reach it at")
	}
	if err := checkEndpoint(a.Host, a.Port, a.STUNPort); err != nil {
		return err
	}
	if a.Port == 0 || a.STUNPort == 0 {
		return selvage.Errorf(selvage.KindInvalid, "the relay did not say its ports")
	}
	if ip, err := netip.ParseAddr(a.Host); err == nil && ip.Unmap().Is6() && a.CertHash == "" {
		return selvage.Errorf(selvage.KindInvalid, "host %s is an IPv6 address, for which clients accept a pinned certificate only; use a name", a.Host)
	}
	if len(a.Version) > maxVersion {
		return selvage.Errorf(selvage.KindInvalid, "the relay's version is longer than %d bytes", maxVersion)
	}
	if a.CertHash != "" {
		return checkHash(a.CertHash)
	}
	return nil
}

func announcementOf(r selvage.Relay) Announcement {
	return Announcement{Host: r.Host, Port: r.Port, STUNPort: r.STUNPort, CertHash: r.CertHash, Version: r.Version}
}

// ReadAnnouncement reads and checks the body of an announcement.
func ReadAnnouncement(r io.Reader) (Announcement, error) {
	var a Announcement
	if err := readMessage(r, &a); err != nil {
		return a, err
	}
	return a, a.Check()
}

// readMessage reads one JSON value of at most maxMessage bytes.
func readMessage(r io.Reader, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxMessage+1))
	if err != nil {
		return selvage.Errorf(selvage.KindInvalid, "read request: %w", err)
	}
	if len(b) > maxMessage {
		return selvage.Errorf(selvage.KindInvalid, "request is longer than %d bytes", maxMessage)
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(v); err != nil {
		return selvage.Errorf(selvage.KindInvalid, "request: %w", err)
	}
	return nil
}

// AnnounceHandler serves POST /relay/announce, by which relays on hosts of their
// own say every 30 seconds where they are. The relay is known by its token. relays
// returns all that are registered, announced takes the relay with what it told and
// with Seen set; it stores that and calls Regions.SetRelays.
func AnnounceHandler(relays func() []selvage.Relay, announced func(context.Context, selvage.Relay) error, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		relay, err := announce(r, relays())
		if err == nil {
			err = announced(r.Context(), relay)
		}
		if err != nil {
			refuse(w, r, log, err)
			return
		}
		answer(w, announceAnswer{Name: relay.Name, Region: relay.Region})
	})
}

// announceAnswer tells the relay who the server takes it for.
type announceAnswer struct {
	Name   string `json:"name"`
	Region int    `json:"region"`
}

func announce(r *http.Request, relays []selvage.Relay) (selvage.Relay, error) {
	if r.Method != http.MethodPost {
		return selvage.Relay{}, errMethod
	}
	relay, err := byToken(relays, r.Header.Get("Authorization"))
	if err != nil {
		return selvage.Relay{}, err
	}
	a, err := ReadAnnouncement(r.Body)
	if err != nil {
		return selvage.Relay{}, err
	}
	relay.Host, relay.Port, relay.STUNPort = a.Host, a.Port, a.STUNPort
	relay.CertHash, relay.Version = a.CertHash, a.Version
	relay.Seen = time.Now()
	return relay, nil
}

// byToken finds the relay whose token it is. It looks at all of them, so that the
// time taken says nothing about the hashes.
func byToken(relays []selvage.Relay, authorization string) (selvage.Relay, error) {
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok || token == "" {
		return selvage.Relay{}, selvage.Errorf(selvage.KindUnauthenticated, "no relay token; send it as Authorization: Bearer")
	}
	sum := sha256.Sum256([]byte(token))
	hash := []byte(hex.EncodeToString(sum[:]))
	found := -1
	for i, r := range relays {
		if subtle.ConstantTimeCompare(hash, []byte(r.Hash)) == 1 {
			found = i
		}
	}
	if found < 0 {
		return selvage.Relay{}, selvage.Errorf(selvage.KindUnauthenticated, "unknown relay token; make a new one for this relay")
	}
	return relays[found], nil
}

var errMethod = errors.New("use POST")

// refuse answers with an error.
func refuse(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	if errors.Is(err, errMethod) {
		http.Error(w, err.Error(), http.StatusMethodNotAllowed)
		return
	}
	status := map[selvage.Kind]int{
		selvage.KindInvalid:         http.StatusBadRequest,
		selvage.KindUnauthenticated: http.StatusUnauthorized,
		selvage.KindDenied:          http.StatusForbidden,
		selvage.KindNotFound:        http.StatusNotFound,
		selvage.KindConflict:        http.StatusConflict,
		selvage.KindBusy:            http.StatusServiceUnavailable,
	}[selvage.KindOf(err)]
	if status == 0 {
		id := selvage.RandomText(8)
		log.Error("answer relay", "path", r.URL.Path, "id", id, "err", err)
		http.Error(w, "internal error "+id, http.StatusInternalServerError)
		return
	}
	http.Error(w, err.Error(), status)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // the other side has gone if this fails
}
