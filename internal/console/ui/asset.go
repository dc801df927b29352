package ui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
)

//go:embed static
var static embed.FS

// StaticPrefix is where the files of the look are served.
const StaticPrefix = "/static/"

// hashes has, for each file, the part of its address that changes with its content,
// so that browsers may keep it for ever.
var hashes = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	entries, err := fs.ReadDir(static, "static")
	if err != nil {
		panic(err) // the files are part of the program
	}
	for _, e := range entries {
		b, err := fs.ReadFile(static, path.Join("static", e.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		m[e.Name()] = hex.EncodeToString(sum[:6])
	}
	return m
})

// AssetPath returns the address of a file of the look: its name with a mark of its
// content. It panics for a name that is not there.
func AssetPath(name string) string {
	h, ok := hashes()[name]
	if !ok {
		panic("no asset " + name)
	}
	return StaticPrefix + name + "?v=" + h
}

// Asset returns the content of a file, and whether the mark is that of its content,
// so that the answer never changes.
func Asset(name string, query url.Values) (content []byte, lasting, ok bool) {
	h, ok := hashes()[name]
	if !ok || strings.Contains(name, "/") {
		return nil, false, false
	}
	b, err := static.ReadFile("static/" + name)
	if err != nil {
		return nil, false, false
	}
	return b, query.Get("v") == h, true
}
