package store

import (
	"archive/tar"
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// open returns an empty SQLite database. Package storetest can't be used here: it
// imports this one.
func open(t testing.TB) *DB {
	t.Helper()
	db, err := Open(t.Context(), "sqlite:"+t.TempDir()+"/x.db", Options{MasterKey: make([]byte, MasterKeySize)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// A table that is not part of the backup would be lost.
func TestEveryTableIsInBackup(t *testing.T) {
	db := open(t)
	want := []string{"meta"}
	for _, table := range tables {
		want = append(want, table.name)
	}
	slices.Sort(want)
	var got []string
	err := db.Read(t.Context(), func(tx *Tx) (err error) {
		got, err = tx.tableNames()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
}

func TestMigrationsAreNumbered(t *testing.T) {
	for i, m := range migrations() {
		if m.version != i+1 {
			t.Errorf("%s has number %d, want %d", m.name, m.version, i+1)
		}
	}
}

// fuzzColumns are of every type.
var fuzzColumns = []column{{"i", columnInt}, {"t", columnText}, {"b", columnBool}, {"x", columnBytes}}

func TestRowRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := []any{rapid.Int64().Draw(t, "i"), rapid.String().Draw(t, "t"), rapid.Bool().Draw(t, "b"), rapid.SliceOf(rapid.Byte()).Draw(t, "x")}
		if rapid.Bool().Draw(t, "null") {
			want[rapid.IntRange(0, 3).Draw(t, "which")] = nil
		}
		line, err := appendRow(nil, fuzzColumns, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseRow(line, fuzzColumns)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	})
}

func TestTimeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := time.Unix(0, rapid.Int64().Filter(func(n int64) bool { return n != 0 }).Draw(t, "n")).UTC()
		if got := timeOf(nanos(want)); !got.Equal(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
	tests := []struct {
		name string
		time time.Time
		want int64
	}{
		{"none", time.Time{}, 0},
		{"far", time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64},
		{"long ago", time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC), math.MinInt64},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := nanos(test.time); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
	if got := timeOf(0); !got.IsZero() {
		t.Errorf("got %v, want the zero time", got)
	}
}

func FuzzParseRow(f *testing.F) {
	f.Add([]byte(`{"i":1,"t":"x","b":true,"x":"AAE="}`))
	f.Add([]byte(`{"i":null,"t":null,"b":null,"x":null}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		values, err := parseRow(line, fuzzColumns)
		if err != nil {
			return
		}
		// What was accepted is written and read to the same.
		again, err := appendRow(nil, fuzzColumns, values)
		if err != nil {
			t.Fatal(err)
		}
		second, err := parseRow(again, fuzzColumns)
		if err != nil {
			t.Fatalf("%q: %v", again, err)
		}
		if diff := cmp.Diff(values, second); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	})
}

// FuzzArchive reads archives that anybody may have made. They are not compressed, so
// that the fuzzer gets to what is in them.
func FuzzArchive(f *testing.F) {
	db := open(f)
	var good bytes.Buffer
	err := db.Read(f.Context(), func(tx *Tx) error {
		w := tar.NewWriter(&good)
		if err := tx.export(w); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:2000])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := openTar(bytes.NewReader(data))
		if err != nil {
			return
		}
		if err := a.manifest.check(); err != nil {
			t.Errorf("a manifest was accepted that is wrong: %v", err)
		}
		for _, table := range a.manifest.Tables {
			n := int64(0)
			err := a.rows(table, func(line []byte) error {
				n++
				_, err := parseRow(line, fuzzColumns)
				_ = err // rows of other columns are refused; they must not panic
				return nil
			})
			if n > table.Rows {
				t.Errorf("table %s has %d rows, more than the %d that were announced", table.Name, n, table.Rows)
			}
			if err != nil {
				return
			}
		}
		a.end()
	})
}

// FuzzReadManifest reads compressed archives.
func FuzzReadManifest(f *testing.F) {
	db := open(f)
	var good bytes.Buffer
	if err := db.Export(f.Context(), &good); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadManifest(bytes.NewReader(data))
		if (m == nil) == (err == nil) {
			t.Errorf("got manifest %v and error %v, want one of them", m, err)
		}
	})
}
