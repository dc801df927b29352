package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash/crc32"
	"strings"

	"selvage"
)

// A secret is PREFIX[ID-]BODYSUM: a prefix that says what it is, so that people and
// scanners for leaked secrets recognise it; for keys and tokens the ID that may be
// shown; a random body; and a checksum, so that a mistyped or cut secret is told
// apart from a wrong one without asking the database.
const (
	authKeyPrefix = "tskey-auth-"
	tokenPrefix   = "tskey-api-"
	linkPrefix    = "selvage-link-"
	sessionPrefix = "selvage-session-"
	relayPrefix   = "selvage-relay-"

	idLength   = 12 // characters
	bodyLength = 32 // characters of 5 bits: 160 bits
	sumLength  = 7  // characters, for the 32 bits of a CRC
	// maxLength bounds what is looked at, in bytes; the longest secret has 63.
	maxLength = 128
)

// sumAlphabet writes checksums; it is that of selvage.RandomText.
const sumAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// checksum returns the CRC-32 of s in sumLength characters.
func checksum(s string) string {
	sum := uint64(crc32.ChecksumIEEE([]byte(s))) << (5*sumLength - 32)
	var b [sumLength]byte
	for i := range b {
		b[i] = sumAlphabet[sum>>(5*(sumLength-1-i))&31]
	}
	return string(b[:])
}

// form is what one kind of secret looks like.
type form struct {
	prefix string
	id     bool
	a      string // its article
	name   string // for people: "auth key"
	remedy string // what to do about one that is no good
}

var forms = map[string]form{
	authKeyPrefix: {authKeyPrefix, true, "an", "auth key", "make a new one with `selvage key create`"},
	tokenPrefix:   {tokenPrefix, true, "an", "API token", "make a new one with `selvage token create`"},
	linkPrefix:    {linkPrefix, false, "a", "sign-in link", "ask for a new one; an administrator makes it with `selvage user link`"},
	sessionPrefix: {sessionPrefix, false, "a", "session", "sign in again"},
	relayPrefix:   {relayPrefix, false, "a", "relay token", "make a new one with `selvage relay add`"},
}

// newSecret returns a secret with the given prefix and its ID, if it has one.
func newSecret(prefix string) (text string, id selvage.KeyID) {
	text = prefix
	if forms[prefix].id {
		id = selvage.KeyID(selvage.RandomText(idLength))
		text += string(id) + "-"
	}
	text += selvage.RandomText(bodyLength)
	return text + checksum(text), id
}

// parse checks the form of a secret and returns its ID, if it has one.
func parse(prefix, text string) (selvage.KeyID, error) {
	f := forms[prefix]
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok || len(text) > maxLength {
		for other, o := range forms {
			if strings.HasPrefix(text, other) {
				return "", selvage.Errorf(selvage.KindUnauthenticated, "this is %s %s, where %s %s belongs", o.a, o.name, f.a, f.name)
			}
		}
		return "", selvage.Errorf(selvage.KindUnauthenticated, "this is no %s of this server: want %q and so on; %s", f.name, prefix, f.remedy)
	}
	var id string
	if f.id {
		id, rest, ok = strings.Cut(rest, "-")
		ok = ok && len(id) == idLength
	}
	if !ok || len(rest) != bodyLength+sumLength || !plain(id+rest) {
		return "", selvage.Errorf(selvage.KindUnauthenticated, "this %s is not complete; copy all of it, or %s", f.name, f.remedy)
	}
	body, sum := text[:len(text)-sumLength], text[len(text)-sumLength:]
	if checksum(body) != sum {
		return "", selvage.Errorf(selvage.KindUnauthenticated, "this %s has a typing mistake; copy all of it, or %s", f.name, f.remedy)
	}
	return selvage.KeyID(id), nil
}

func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(sumAlphabet, r) })
}

// Hash returns what is stored of a secret: the SHA-256 of its whole text in hex. A
// slow hash would add nothing, since every secret has 160 random bits.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// matches reports in constant time whether hash is that of text.
func matches(text, hash string) bool {
	return subtle.ConstantTimeCompare([]byte(Hash(text)), []byte(hash)) == 1
}

// NewAuthKey returns the text of a new auth key, its ID and its hash.
func NewAuthKey() (text string, id selvage.KeyID, hash string) {
	text, id = newSecret(authKeyPrefix)
	return text, id, Hash(text)
}

// ParseAuthKey checks the form of an auth key and returns its ID. Whether it is
// known and fits is for VerifyAuthKey.
func ParseAuthKey(text string) (selvage.KeyID, error) { return parse(authKeyPrefix, text) }

// VerifyAuthKey returns nil if text is the secret of the key. Whether the key may
// still be used is AuthKey.Usable's answer.
func VerifyAuthKey(text string, k *selvage.AuthKey) error {
	id, err := ParseAuthKey(text)
	if err != nil {
		return err
	}
	if id != k.ID || !matches(text, k.Hash) {
		return selvage.Errorf(selvage.KindUnauthenticated, "this auth key is not known here; check that it is complete and of this server")
	}
	return nil
}

// NewRelayToken returns the text of a new relay token and its hash.
func NewRelayToken() (text, hash string) {
	text, _ = newSecret(relayPrefix)
	return text, Hash(text)
}

// ParseRelayToken checks the form of a relay token.
func ParseRelayToken(text string) error {
	_, err := parse(relayPrefix, text)
	return err
}
