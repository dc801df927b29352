package main

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"selvage"
	"selvage/internal/config"
	"selvage/internal/server"
	"selvage/internal/store"
)

func restoreCommand() *command {
	return &command{
		name: "restore", args: "FILE|-", least: 1, most: 1, short: "Make a server of a backup, in an empty data folder or database.",
		long:     "The server must not run. Devices go on where they were, as the server's keys are in the\nbackup. If a master key is configured, it replaces that of the backup.",
		examples: []string{"restore selvage.tar.gz --data-dir /var/lib/selvage", "restore selvage.tar.gz --database postgres://selvage@db/selvage"},
		complete: []completion{completeFile},
		own:      true,
		setup: func(fs *flag.FlagSet) runFunc {
			flags := config.AddFlags(fs, "data_dir", "database", "master_key_file")
			return func(ctx context.Context, sh *shell, args []string) error {
				l, err := config.Load(config.Source{Flags: flags, Environ: sh.environ, UID: sh.uid})
				if err != nil {
					return err
				}
				return restore(ctx, sh, l, args[0])
			}
		},
	}
}

func restore(ctx context.Context, sh *shell, l *config.Loaded, name string) error {
	if err := isEmpty(l.DataDir, config.FileName); err != nil {
		return err
	}
	in := sh.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("read backup: %w", err)
		}
		defer f.Close()
		in = f
	}
	o := store.Options{}
	if l.MasterKey != "" {
		k, err := base64.StdEncoding.DecodeString(l.MasterKey)
		if err != nil || len(k) != store.MasterKeySize {
			return selvage.Errorf(selvage.KindInvalid, "the configured master key is no good: want %d bytes in base 64", store.MasterKeySize)
		}
		o.MasterKey = k
	}
	if err := os.MkdirAll(l.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	m, err := store.Import(ctx, l.DSN(), sh.progress(in, "restore"), o)
	if err != nil {
		return forget(l, err)
	}
	if l.MasterKey == "" {
		if err := server.WriteMasterKey(l.DataDir, m.MasterKey); err != nil {
			return forget(l, err)
		}
	}
	rows := int64(0)
	for _, t := range m.Tables {
		rows += t.Rows
	}
	answer := struct {
		DataDir string    `json:"dataDir"`
		Backup  time.Time `json:"backup"`
		Rows    int64     `json:"rows"`
	}{l.DataDir, m.Created, rows}
	return sh.say(answer, "Restored %d rows from the backup of %s. Start the server with `selvage serve --data-dir %s`.",
		rows, m.Created.Local().Format("2006-01-02 15:04"), l.DataDir)
}

// forget removes what a failed restoration has left in the data folder, which was
// empty before, so that it can be tried again.
func forget(l *config.Loaded, err error) error {
	if path, ok := strings.CutPrefix(l.DSN(), "sqlite:"); ok && filepath.Dir(path) == filepath.Clean(l.DataDir) {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			os.Remove(path + suffix)
		}
	}
	return err
}
