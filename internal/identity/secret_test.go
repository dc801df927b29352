package identity

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"selvage"
)

func TestSecretsParse(t *testing.T) {
	for prefix, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			text, id := newSecret(prefix)
			got, err := parse(prefix, text)
			if err != nil || got != id || (id != "") != f.id {
				t.Fatalf("parse(%q) = %q, %v; want %q", text, got, err, id)
			}
			if again, _ := newSecret(prefix); again == text {
				t.Error("two secrets are the same")
			}
		})
	}
}

func TestParseAuthKeyRefuses(t *testing.T) {
	good, _, _ := NewAuthKey()
	token, _ := newSecret(tokenPrefix)
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "no auth key of this server"},
		{"other prefix", "hskey-auth-" + strings.TrimPrefix(good, authKeyPrefix), "no auth key of this server"},
		{"API token", token, "this is an API token, where an auth key belongs"},
		{"cut", good[:len(good)-1], "not complete"},
		{"long", good + "0", "not complete"},
		{"very long", good + strings.Repeat("0", 1000), "an auth key"},
		{"no ID", authKeyPrefix + strings.ReplaceAll(good[len(authKeyPrefix):], "-", "0"), "not complete"},
		{"capitals", authKeyPrefix + strings.ToUpper(good[len(authKeyPrefix):]), "not complete"},
		{"two letters swapped", swapped(good), "typing mistake"},
		{"white space", good + "\n", "not complete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := ParseAuthKey(tt.text)
			if !selvage.Is(err, selvage.KindUnauthenticated) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseAuthKey = %q, %v; want an error with %q", id, err, tt.want)
			}
		})
	}
}

// swapped exchanges the first two neighbours in the body that differ.
func swapped(text string) string {
	b := []byte(text)
	for i := len(authKeyPrefix) + idLength + 1; ; i++ {
		if b[i] != b[i+1] {
			b[i], b[i+1] = b[i+1], b[i]
			return string(b)
		}
	}
}

// A checksum finds every mistake of one character.
func TestOneWrongCharacter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, _, _ := NewAuthKey()
		at := rapid.IntRange(len(authKeyPrefix), len(text)-1).Draw(t, "at")
		c := sumAlphabet[rapid.IntRange(0, 31).Draw(t, "character")]
		if text[at] == c {
			return
		}
		wrong := text[:at] + string(c) + text[at+1:]
		if _, err := ParseAuthKey(wrong); err == nil {
			t.Errorf("%q was taken for %q", wrong, text)
		}
	})
}

func TestVerifyAuthKey(t *testing.T) {
	text, id, hash := NewAuthKey()
	other, _, _ := NewAuthKey()
	// The ID of the first key with the body of another: well formed, but wrong.
	forged := other[:len(authKeyPrefix)] + string(id) + other[len(authKeyPrefix)+idLength:]
	forged = forged[:len(forged)-sumLength]
	forged += checksum(forged)
	k := &selvage.AuthKey{ID: id, Hash: hash}
	if err := VerifyAuthKey(text, k); err != nil {
		t.Errorf("the right key is refused: %v", err)
	}
	for name, wrong := range map[string]string{"other key": other, "right ID, wrong body": forged, "hash as key": hash} {
		if err := VerifyAuthKey(wrong, k); !selvage.Is(err, selvage.KindUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if strings.Contains(hash, text[len(authKeyPrefix):]) || len(hash) != 64 {
		t.Errorf("bad hash %q", hash)
	}
}

func TestRelayToken(t *testing.T) {
	text, hash := NewRelayToken()
	if err := ParseRelayToken(text); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(text, "selvage-relay-") || hash != Hash(text) {
		t.Errorf("text %q, hash %q", text, hash)
	}
	if err := ParseRelayToken(text[1:]); err == nil {
		t.Error("a cut token is accepted")
	}
}

func FuzzParse(f *testing.F) {
	for prefix := range forms {
		text, _ := newSecret(prefix)
		f.Add(text)
		f.Add(text[:len(text)/2])
	}
	f.Fuzz(func(t *testing.T, text string) {
		accepted := 0
		for prefix, form := range forms {
			id, err := parse(prefix, text)
			if err != nil {
				if !selvage.Is(err, selvage.KindUnauthenticated) {
					t.Errorf("parse(%q, %q): %v", prefix, text, err)
				}
				continue
			}
			accepted++
			if form.id && !strings.HasPrefix(text, prefix+string(id)+"-") {
				t.Errorf("parse(%q, %q) = %q", prefix, text, id)
			}
		}
		if accepted > 1 {
			t.Errorf("%q is taken for %d kinds of secret", text, accepted)
		}
	})
}
