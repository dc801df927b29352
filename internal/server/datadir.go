package server

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"selvage"
	"selvage/internal/store"
)

// Files of the data directory.
const (
	databaseFile  = "selvage.db"
	masterKeyFile = "master.key"
	lockFile      = "selvage.lock"
)

// prepareDataDir makes the directory and proves that it can be written.
func prepareDataDir(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return selvage.Errorf(selvage.KindInvalid, "data directory %s cannot be made: %w; choose another one with --data-dir", dir, err)
	}
	if fi, err := os.Stat(dir); err == nil && fi.Mode().Perm()&0o022 != 0 {
		log.Warn("other users of this machine can write to the data directory; `chmod 0700` it", "directory", dir, "mode", fi.Mode().Perm())
	}
	f, err := os.CreateTemp(dir, ".write-test-*")
	if err != nil {
		return selvage.Errorf(selvage.KindInvalid, "data directory %s cannot be written: %w; make it writable for this user or choose another one with --data-dir", dir, err)
	}
	f.Close()
	return os.Remove(f.Name())
}

// lockDataDir makes sure that one server at a time uses the directory. The lock ends
// with the process, however it ends.
func lockDataDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid := make([]byte, 20)
		n, _ := f.ReadAt(pid, 0)
		f.Close()
		return nil, selvage.Errorf(selvage.KindConflict, "data directory %s is in use by process %s; stop that server first, or choose another directory with --data-dir", dir, strings.TrimSpace(string(pid[:n])))
	}
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return f, nil
}

// masterKey returns the key that seals secrets in the database: the configured one,
// or the one in the data directory, which is made at the first start.
func masterKey(configured, dir string) ([]byte, error) {
	if configured != "" {
		return parseMasterKey(configured, "master_key")
	}
	path := filepath.Join(dir, masterKeyFile)
	text, err := os.ReadFile(path)
	if err == nil {
		return parseMasterKey(string(text), path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read master key: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, databaseFile)); err == nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "%s is missing, but there is a database; put the file back from a backup, since the secrets in the database cannot be read without it", path)
	}
	k := make([]byte, store.MasterKeySize)
	rand.Read(k) // never fails
	if err := WriteMasterKey(dir, k); err != nil {
		return nil, err
	}
	return k, nil
}

// WriteMasterKey puts a master key into a data directory that has none.
func WriteMasterKey(dir string, k []byte) error {
	path := filepath.Join(dir, masterKeyFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make master key: %w", err)
	}
	if _, err := fmt.Fprintln(f, base64.StdEncoding.EncodeToString(k)); err != nil {
		f.Close()
		return fmt.Errorf("write master key %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("write master key %s: %w", path, err)
	}
	return f.Close()
}

func parseMasterKey(text, where string) ([]byte, error) {
	k, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(k) != store.MasterKeySize {
		return nil, selvage.Errorf(selvage.KindInvalid, "bad master key in %s: want %d bytes in base 64", where, store.MasterKeySize)
	}
	return k, nil
}
