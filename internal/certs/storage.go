package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// Store keeps small values by name, such as in the database that replicas share.
// Names are paths with slashes. Some values are private keys: encrypt them.
type Store interface {
	// Load returns a value and when it was stored, or fs.ErrNotExist.
	Load(ctx context.Context, name string) (value []byte, stored time.Time, err error)
	Save(ctx context.Context, name string, value []byte) error
	// Delete is no error if there is nothing.
	Delete(ctx context.Context, name string) error
	// List returns all names that begin with the prefix.
	List(ctx context.Context, prefix string) ([]string, error)
	// Lock waits until nobody else holds the lock of that name. A lock must end by
	// itself some minutes after its holder has died.
	Lock(ctx context.Context, name string) (unlock func(context.Context) error, err error)
}

// storage lets certmagic use a Store. It gives the flat names the semantics of
// folders that certmagic wants.
type storage struct {
	store Store

	mu   sync.Mutex // guards the fields below
	held map[string]func(context.Context) error
}

func newStorage(s Store) *storage {
	return &storage{store: s, held: make(map[string]func(context.Context) error)}
}

// Store implements certmagic.Storage.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	return s.store.Save(ctx, key, value)
}

// Load implements certmagic.Storage.
func (s *storage) Load(ctx context.Context, key string) ([]byte, error) {
	b, _, err := s.store.Load(ctx, key)
	return b, err
}

// Delete implements certmagic.Storage: the value and all below it.
func (s *storage) Delete(ctx context.Context, key string) error {
	below, err := s.below(ctx, key)
	if err != nil {
		return err
	}
	for _, name := range append(below, key) {
		if err := s.store.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// Exists implements certmagic.Storage.
func (s *storage) Exists(ctx context.Context, key string) bool {
	_, err := s.Stat(ctx, key)
	return err == nil
}

// below returns all names in the folder.
func (s *storage) below(ctx context.Context, folder string) ([]string, error) {
	prefix := strings.Trim(folder, "/")
	if prefix != "" {
		prefix += "/"
	}
	return s.store.List(ctx, prefix)
}

// List implements certmagic.Storage.
func (s *storage) List(ctx context.Context, folder string, recursive bool) ([]string, error) {
	names, err := s.below(ctx, folder)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("list %q: %w", folder, fs.ErrNotExist)
	}
	folder = strings.Trim(folder, "/")
	var keys []string
	seen := make(map[string]bool)
	add := func(key string) {
		if !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	for _, name := range names {
		rest := strings.TrimPrefix(strings.TrimPrefix(name, folder), "/")
		parts := strings.Split(rest, "/")
		if !recursive {
			parts = parts[:1]
		}
		for i := range parts {
			add(path.Join(folder, path.Join(parts[:i+1]...)))
		}
	}
	return keys, nil
}

// Stat implements certmagic.Storage.
func (s *storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	b, stored, err := s.store.Load(ctx, key)
	if err == nil {
		return certmagic.KeyInfo{Key: key, Modified: stored, Size: int64(len(b)), IsTerminal: true}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return certmagic.KeyInfo{}, err
	}
	below, err := s.below(ctx, key)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	if len(below) == 0 {
		return certmagic.KeyInfo{}, fmt.Errorf("stat %q: %w", key, fs.ErrNotExist)
	}
	return certmagic.KeyInfo{Key: key}, nil
}

// Lock implements certmagic.Locker.
func (s *storage) Lock(ctx context.Context, name string) error {
	unlock, err := s.store.Lock(ctx, name)
	if err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[name] = unlock
	return nil
}

// Unlock implements certmagic.Locker.
func (s *storage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	unlock, ok := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("unlock %s: it is not locked", name)
	}
	return unlock(ctx)
}
