package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"selvage"
	"selvage/internal/store"
)

func backupCommand() *command {
	return &command{
		name: "backup", args: "[FILE|-]", most: 1, short: "Save everything that the server knows in one file, while it runs.",
		long:     "The file holds the server's secrets: keep it like a key. `selvage restore` makes a\nserver of it, on SQLite or PostgreSQL.",
		examples: []string{"backup", "backup /backup/selvage.tar.gz", "backup - | age -r RECIPIENT > selvage.tar.gz.age"},
		complete: []completion{completeFile},
		setup: func(fs *flag.FlagSet) runFunc {
			overwrite := fs.Bool("overwrite", false, "replace a file that is there")
			return func(ctx context.Context, sh *shell, args []string) error {
				name := "selvage-" + sh.now().Format("2006-01-02-150405") + ".tar.gz"
				if len(args) > 0 {
					name = args[0]
				}
				return backup(ctx, sh, name, *overwrite)
			}
		},
	}
}

func backup(ctx context.Context, sh *shell, name string, overwrite bool) error {
	if _, err := os.Lstat(name); name != "-" && err == nil && !overwrite {
		return selvage.Errorf(selvage.KindConflict, "%s exists; choose another name, or replace it with --overwrite", name)
	}
	c, err := sh.client()
	if err != nil {
		return err
	}
	resp, err := c.send(ctx, http.MethodGet, "/backup", nil, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if name == "-" {
		_, err := io.Copy(sh.out, sh.progress(resp.Body, "backup"))
		if err != nil {
			return fmt.Errorf("the backup is not complete, do not use it: %w", err)
		}
		return nil
	}
	m, err := saveBackup(sh, resp.Body, name)
	if err != nil {
		return err
	}
	rows := int64(0)
	for _, t := range m.Tables {
		rows += t.Rows
	}
	answer := struct {
		File string    `json:"file"`
		Time time.Time `json:"time"`
		Rows int64     `json:"rows"`
	}{name, m.Created, rows}
	return sh.say(answer, "The backup is in %s (%d rows). It holds the server's secrets.", name, rows)
}

// saveBackup writes the backup beside its name first, so that a file of that name is
// always a whole one.
func saveBackup(sh *shell, r io.Reader, name string) (*store.Manifest, error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".selvage-backup-*") // made with mode 0600
	if err != nil {
		return nil, fmt.Errorf("write backup: %w", err)
	}
	defer os.Remove(f.Name()) // it is gone after the renaming
	_, err = io.Copy(f, sh.progress(r, "backup"))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("write backup %s: %w", name, err)
	}
	back, err := os.Open(f.Name())
	if err != nil {
		return nil, fmt.Errorf("read backup back: %w", err)
	}
	defer back.Close()
	m, err := store.ReadManifest(back)
	if err != nil {
		return nil, fmt.Errorf("the backup is no good: %w", err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return nil, fmt.Errorf("write backup: %w", err)
	}
	return m, nil
}

// progressInterval is how often progress is shown.
const progressInterval = 200 * time.Millisecond

// progress returns a reader that shows on a terminal how much was read.
func (sh *shell) progress(r io.Reader, what string) io.Reader {
	if !sh.terminal {
		return r
	}
	return &progress{r: r, sh: sh, what: what}
}

type progress struct {
	r     io.Reader
	sh    *shell
	what  string
	bytes int64
	shown time.Time
}

// Read implements io.Reader.
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.bytes += int64(n)
	if now := p.sh.now(); now.Sub(p.shown) > progressInterval || err != nil {
		p.shown = now
		fmt.Fprintf(p.sh.err, "\r%s: %.1f MB", p.what, float64(p.bytes)/1e6)
	}
	if err != nil {
		fmt.Fprintln(p.sh.err)
	}
	return n, err
}

// isEmpty returns nil if the folder is missing or holds nothing but a configuration.
func isEmpty(dir string, allowed string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into data folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() != allowed {
			return selvage.Errorf(selvage.KindConflict, "the data folder %s is not empty: it has %s; choose an empty one with --data-dir, so that nothing is lost", dir, e.Name())
		}
	}
	return nil
}
