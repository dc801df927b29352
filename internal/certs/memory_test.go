package certs

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// memory is a Store in memory.
type memory struct {
	mu     sync.Mutex // guards the fields below
	values map[string][]byte
	locks  map[string]chan struct{}
}

func newMemory() *memory {
	return &memory{values: make(map[string][]byte), locks: make(map[string]chan struct{})}
}

func (m *memory) Load(_ context.Context, name string) ([]byte, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.values[name]
	if !ok {
		return nil, time.Time{}, fmt.Errorf("load %s: %w", name, fs.ErrNotExist)
	}
	return slices.Clone(b), time.Unix(1, 0), nil
}

func (m *memory) Save(_ context.Context, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[name] = slices.Clone(value)
	return nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, name)
	return nil
}

func (m *memory) List(_ context.Context, prefix string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.values {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (m *memory) Lock(ctx context.Context, name string) (func(context.Context) error, error) {
	m.mu.Lock()
	if m.locks[name] == nil {
		m.locks[name] = make(chan struct{}, 1)
	}
	lock := m.locks[name]
	m.mu.Unlock()
	select {
	case lock <- struct{}{}:
		return func(context.Context) error { <-lock; return nil }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
