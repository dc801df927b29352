package store_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// fill puts something into every table.
func fill(t testing.TB, db *store.DB) {
	t.Helper()
	write(t, db, func(tx *store.Tx) error {
		node := newNode(1, 1, "n")
		bare := &selvage.Node{ID: 2, Tailnet: 1, StableID: "s2", Name: "bare"}
		for _, err := range []error{
			tx.PutTailnet(newTailnet(1, "corp")),
			tx.PutUser(&selvage.User{ID: 1, Tailnet: 1, Login: "ann", Created: epoch, Pending: true}),
			tx.PutNode(node),
			tx.PutNode(bare),
			tx.PutSoft(map[selvage.NodeID]*selvage.Soft{1: {Hostinfo: &tailcfg.Hostinfo{Hostname: "\x00<ü>"}, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("1.2.3.4:5")}}}),
			tx.PutAuthKey(&selvage.AuthKey{ID: "k", Tailnet: 1, Hash: "h", Created: epoch}),
			tx.PutToken(&selvage.Token{ID: "t", Tailnet: 1, User: 1, Hash: "h", Created: epoch}),
			tx.PutPolicy(&selvage.PolicyRevision{Tailnet: 1, Rev: 1, Text: "{\r\n \"a\": [] // <&>\u2028\n}", Created: epoch}),
			tx.PutSecret("noise", []byte{0, 1, 2, 255}),
			tx.PutLink(&selvage.Link{Hash: "l", Tailnet: 1, User: 1, Created: epoch}),
			tx.PutSession(&selvage.Session{Hash: "s", Tailnet: 1, User: 1, Created: epoch}),
			tx.PutRelay(&selvage.Relay{Name: "r", Region: 901, Created: epoch, STUNPort: -1}),
			tx.InsertEntry(&selvage.Entry{Tailnet: 1, Seq: 1, Time: epoch, Action: "a", Hash: []byte{0, 255}, New: json.RawMessage(`{}`)}),
			tx.PutCursor("c", 1<<62),
		} {
			if err != nil {
				return err
			}
		}
		_, err := tx.NextID(store.CounterNode)
		return err
	})
}

// contents returns what is in the database, through the methods that others use.
func contents(t testing.TB, db *store.DB) map[string]any {
	t.Helper()
	return read(t, db, func(tx *store.Tx) (map[string]any, error) {
		all := map[string]any{}
		var first error
		add := func(name string) func(any, error) {
			return func(v any, err error) {
				all[name] = v
				if err != nil && first == nil {
					first = fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		wrap := func(name string, f func() (any, error)) { v, err := f(); add(name)(v, err) }
		wrap("tailnets", func() (any, error) { return tx.Tailnets() })
		wrap("head", func() (any, error) { return tx.Head(1) })
		wrap("users", func() (any, error) { return tx.Users(1) })
		wrap("nodes", func() (any, error) { return tx.Nodes(1) })
		wrap("soft", func() (any, error) { return tx.Soft(1) })
		wrap("keys", func() (any, error) { return tx.AuthKeys(1) })
		wrap("tokens", func() (any, error) { return tx.Tokens(1) })
		wrap("policy", func() (any, error) { return tx.Policy(1) })
		wrap("secret", func() (any, error) { return tx.Secret("noise") })
		wrap("link", func() (any, error) { return tx.LinkByHash("l") })
		wrap("sessions", func() (any, error) { return tx.Sessions(1) })
		wrap("relays", func() (any, error) { return tx.Relays() })
		wrap("entries", func() (any, error) { return tx.Entries(1, store.Query{}) })
		wrap("cursor", func() (any, error) { return tx.Cursor("c") })
		return all, first
	})
}

func export(t testing.TB, db *store.DB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := db.Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A backup of either kind of database fits both.
func TestBackupRoundTrip(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, from func() string) {
		db := storetest.Open(t, from())
		fill(t, db)
		want, backup := contents(t, db), export(t, db)
		storetest.EachDSN(t, func(t *testing.T, to func() string) {
			dsn := to()
			m, err := store.Import(t.Context(), dsn, bytes.NewReader(backup), store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.MasterKey, storetest.MasterKey()) {
				t.Error("the manifest has another master key")
			}
			restored := storetest.Open(t, dsn)
			same(t, "contents", contents(t, restored), want)
			write(t, restored, func(tx *store.Tx) error {
				id, err := tx.NextID(store.CounterNode)
				same(t, "next node ID", id, 2)
				return err
			})
			again, err := store.ReadManifest(bytes.NewReader(export(t, restored)))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "counts of rows", again.Tables, m.Tables)
		})
	})
}

func TestFillFillsEveryTable(t *testing.T) {
	db := storetest.New(t)
	fill(t, db)
	m, err := store.ReadManifest(bytes.NewReader(export(t, db)))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range m.Tables {
		if table.Rows == 0 {
			t.Errorf("table %s is empty: the tests of the backup don't cover it", table.Name)
		}
	}
}

func TestImportWithAnotherKey(t *testing.T) {
	db := storetest.New(t)
	fill(t, db)
	dsn := storetest.SQLite(t)
	o := store.Options{MasterKey: bytes.Repeat([]byte{9}, store.MasterKeySize)}
	if _, err := store.Import(t.Context(), dsn, bytes.NewReader(export(t, db)), o); err != nil {
		t.Fatal(err)
	}
	restored, err := store.Open(t.Context(), dsn, o)
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	same(t, "contents", contents(t, restored), contents(t, db))
}

// The backup is one state, although others write meanwhile.
func TestExportIsConsistent(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		ctx, stop := context.WithCancel(t.Context())
		started, done := make(chan struct{}), make(chan error, 1)
		go func() {
			for i := int64(1); ; i++ {
				err := db.Tx(ctx, func(tx *store.Tx) error {
					if err := tx.PutCursor(fmt.Sprint("c", i), i); err != nil {
						return err
					}
					return tx.PutPolicy(&selvage.PolicyRevision{Tailnet: 1, Rev: i})
				})
				if i == 1 {
					close(started)
				}
				if err != nil {
					done <- err
					return
				}
			}
		}()
		<-started
		for range 3 {
			m, err := store.ReadManifest(bytes.NewReader(export(t, db)))
			if err != nil {
				t.Fatal(err)
			}
			rows := map[string]int64{}
			for _, table := range m.Tables {
				rows[table.Name] = table.Rows
			}
			if rows["cursors"] == 0 || rows["cursors"] != rows["policies"] {
				t.Errorf("got %d cursors and %d policies, which are written together", rows["cursors"], rows["policies"])
			}
		}
		stop()
		if err := <-done; ctx.Err() == nil {
			t.Error(err)
		}
	})
}

func TestImportRefusesDatabaseInUse(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn func() string) {
		used := dsn()
		db := storetest.Open(t, used)
		fill(t, db)
		before := contents(t, db)
		_, err := store.Import(t.Context(), used, bytes.NewReader(export(t, db)), store.Options{})
		wantKind(t, err, selvage.KindConflict, "not empty")
		same(t, "contents", contents(t, db), before)
	})
}

// Whatever is missing at the end of a backup, nothing of it is restored.
func TestImportRefusesTruncated(t *testing.T) {
	db := storetest.New(t)
	fill(t, db)
	backup := export(t, db)
	dsn := storetest.SQLite(t)
	for _, size := range []int{0, 1, 10, 100, len(backup) / 2, len(backup) - 100, len(backup) - 9, len(backup) - 8, len(backup) - 1} {
		_, err := store.Import(t.Context(), dsn, bytes.NewReader(backup[:size]), store.Options{})
		wantKind(t, err, selvage.KindInvalid, "complete")
	}
	// All of them left the file empty.
	if _, err := store.Import(t.Context(), dsn, bytes.NewReader(backup), store.Options{}); err != nil {
		t.Error(err)
	}
}

// file is a file of an archive.
type file struct{ name, text string }

// files unpacks an archive.
func files(t testing.TB, backup []byte) []file {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	var list []file
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, file{h.Name, string(text)})
	}
}

// pack is the inverse of files.
func pack(t testing.TB, list []file) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range list {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, f.text)
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

func TestImportRefusesChanged(t *testing.T) {
	db := storetest.New(t)
	fill(t, db)
	good := files(t, export(t, db))
	index := func(name string) int {
		for i, f := range good {
			if f.name == name {
				return i
			}
		}
		t.Fatalf("the backup has no %s", name)
		return 0
	}
	// replace changes a text in one file.
	replace := func(name, old, new string) func([]file) []file {
		return func(list []file) []file {
			f := &list[index(name)]
			if !strings.Contains(f.text, old) {
				t.Fatalf("%s has no %q", name, old)
			}
			f.text = strings.Replace(f.text, old, new, 1)
			return list
		}
	}
	tests := []struct {
		name   string
		change func([]file) []file
		want   string
	}{
		{"other product", replace("manifest.json", `"selvage"`, `"other"`), "no backup of selvage"},
		{"newer format", replace("manifest.json", `"format": 1`, `"format": 2`), "newer program"},
		{"newer schema", replace("manifest.json", `"schema": 1`, `"schema": 999`), "newer program"},
		{"no schema", replace("manifest.json", `"schema": 1`, `"schema": 0`), "want numbers from 1"},
		{"no key", replace("manifest.json", `"masterKey": "`, `"masterKey": "", "x": "`), "master key of 0 bytes"},
		{"other key", replace("manifest.json", `"masterKey": "B`, `"masterKey": "C`), "master key does not fit"},
		{"no JSON", replace("manifest.json", `{`, `[`), "can't be read"},
		{"other table", replace("manifest.json", `"users"`, `"users; DROP"`), "lists the tables"},
		{"negative count", replace("manifest.json", `"rows": 1`, `"rows": -1`), "-1 rows"},
		{"count too low", replace("manifest.json", `"rows": 3`, `"rows": 2`), "more than the 2 rows"},
		{"count too high", replace("manifest.json", `"rows": 3`, `"rows": 4`), "not complete"},
		{"huge manifest", replace("manifest.json", `{`, strings.Repeat(" ", 1<<20)+"{"), "larger than"},
		{"row cut", replace("tables/users.jsonl", `}`, ``), "no JSON object"},
		{"column missing", replace("tables/users.jsonl", `"login":`, `"logon":`), "column login is missing"},
		{"column too many", replace("tables/users.jsonl", `"login":`, `"x":1,"login":`), "columns"},
		{"text for a number", replace("tables/users.jsonl", `"id":1`, `"id":"1"`), "column id"},
		{"number too large", replace("tables/users.jsonl", `"id":1`, `"id":10000000000000000000`), "column id"},
		{"number for a text", replace("tables/users.jsonl", `"login":"ann"`, `"login":1`), "column login"},
		{"list for a text", replace("tables/users.jsonl", `"login":"ann"`, `"login":[]`), "column login"},
		{"zero byte", replace("tables/users.jsonl", `"login":"ann"`, `"login":"\u0000"`), "zero byte"},
		{"no base64", replace("tables/secrets.jsonl", `"sealed":"`, `"sealed":"?`), "column sealed"},
		{"file missing", func(list []file) []file { return append(list[:3:3], list[4:]...) }, "should be"},
		{"files swapped", func(list []file) []file { list[2], list[3] = list[3], list[2]; return list }, "should be"},
		{"last file missing", func(list []file) []file { return list[:len(list)-1] }, "ends before"},
		{"file too many", func(list []file) []file { return append(list, file{"../x", ""}) }, "where it should end"},
		{"no manifest", func(list []file) []file { return list[1:] }, "manifest.json should be"},
		{"no files", func([]file) []file { return nil }, "ends before manifest.json"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			backup := pack(t, test.change(append([]file(nil), good...)))
			_, err := store.Import(t.Context(), storetest.SQLite(t), bytes.NewReader(backup), store.Options{})
			wantKind(t, err, selvage.KindInvalid, test.want)
		})
	}
	t.Run("unchanged", func(t *testing.T) {
		if _, err := store.Import(t.Context(), storetest.SQLite(t), bytes.NewReader(pack(t, good)), store.Options{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("reference to nothing", func(t *testing.T) {
		list := replace("tables/users.jsonl", `"tailnet":1`, `"tailnet":7`)(append([]file(nil), good...))
		_, err := store.Import(t.Context(), storetest.SQLite(t), bytes.NewReader(pack(t, list)), store.Options{})
		wantKind(t, err, selvage.KindConflict, "not there")
	})
}

func TestExportStopsWithContext(t *testing.T) {
	db := storetest.New(t)
	fill(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	w := writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil })
	if err := db.Export(ctx, w); err == nil {
		t.Error("the export went on after its context ended")
	}
	write(t, db, func(tx *store.Tx) error { return tx.PutCursor("c", 2) }) // the database is as before
}

func TestExportTellsOfBadWriter(t *testing.T) {
	db := storetest.New(t)
	err := db.Export(t.Context(), writerFunc(func([]byte) (int, error) { return 0, io.ErrShortWrite }))
	if err == nil || !strings.Contains(err.Error(), "short write") {
		t.Errorf("got %v, want the writer's error", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// The rows of a backup don't depend on the kind of database.
func TestBackupFormat(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		write(t, db, func(tx *store.Tx) error {
			return tx.PutUser(&selvage.User{ID: 1, Tailnet: 1, Login: "Ann", Role: "member", Created: epoch, Pending: true})
		})
		got := map[string]string{}
		for _, f := range files(t, export(t, db)) {
			got[f.name] = f.text
		}
		want := `{"id":1,"tailnet":1,"login":"Ann","login_key":"ann","display_name":"","picture_url":"","role":"member","created":1772600767000000089,"pending":true,"suspended":false}` + "\n"
		if diff := cmp.Diff(want, got["tables/users.jsonl"]); diff != "" {
			t.Errorf("users (-want +got):\n%s", diff)
		}
	})
}
