package netmap

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTrieIsAnArray compares a trie with a map, and each earlier version with what it
// was when it was made.
func TestTrieIsAnArray(t *testing.T) {
	type version struct {
		trie trie[int]
		want map[uint64]int
	}
	rapid.Check(t, func(t *rapid.T) {
		versions := []version{{}}
		index := rapid.OneOf(rapid.Uint64Range(0, 200), rapid.Uint64Range(0, 1<<20), rapid.Uint64())
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			last := versions[len(versions)-1]
			next := version{last.trie, maps.Clone(last.want)}
			if next.want == nil {
				next.want = map[uint64]int{}
			}
			i := index.Draw(t, "index")
			if len(next.want) > 0 && rapid.Bool().Draw(t, "known") {
				i = rapid.SampledFrom(slices.Sorted(maps.Keys(next.want))).Draw(t, "which")
			}
			v := rapid.IntRange(0, 2).Draw(t, "value")
			next.trie = next.trie.set(i, v)
			if v == 0 {
				delete(next.want, i)
			} else {
				next.want[i] = v
			}
			versions = append(versions, next)
		}
		for _, v := range versions {
			for i, want := range v.want {
				if got := v.trie.at(i); got != want {
					t.Fatalf("at %d: %d, want %d", i, got, want)
				}
			}
			if got := slices.Collect(v.trie.all); !slices.Equal(got, inOrder(v.want)) {
				t.Fatalf("all: %v, want %v", got, inOrder(v.want))
			}
			if len(v.want) == 0 && v.trie.root != nil {
				t.Fatal("an empty trie has pages")
			}
			doubled := v.trie.mapped(func(n int) int { return 2 * n })
			for i, want := range v.want {
				if got := doubled.at(i); got != 2*want {
					t.Fatalf("mapped at %d: %d, want %d", i, got, 2*want)
				}
			}
		}
		a := rapid.SampledFrom(versions).Draw(t, "a")
		b := rapid.SampledFrom(versions).Draw(t, "b")
		checkWalk(t, a.want, b.want, true, func(visit func(uint64, int, int) bool) { differing(a.trie, b.trie, visit) })
		checkWalk(t, a.want, b.want, false, func(visit func(uint64, int, int) bool) { both(a.trie, b.trie, visit) })
	})
}

func inOrder(m map[uint64]int) []int {
	var values []int
	for _, i := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[i])
	}
	return values
}

func checkWalk(t *rapid.T, a, b map[uint64]int, onlyDifferent bool, walk func(func(uint64, int, int) bool)) {
	want := map[uint64]string{}
	for i, x := range a {
		if !onlyDifferent || b[i] != x {
			want[i] = fmt.Sprint(x, b[i])
		}
	}
	for i, y := range b {
		if !onlyDifferent || a[i] != y {
			want[i] = fmt.Sprint(a[i], y)
		}
	}
	got := map[uint64]string{}
	last, first := uint64(0), true
	walk(func(i uint64, x, y int) bool {
		if !first && i <= last {
			t.Fatalf("index %d comes after %d", i, last)
		}
		last, first = i, false
		got[i] = fmt.Sprint(x, y)
		return true
	})
	if !maps.Equal(got, want) {
		t.Fatalf("visited %v, want %v", got, want)
	}
	visits := 0
	walk(func(uint64, int, int) bool {
		visits++
		return visits < 2
	})
	if visits > 2 {
		t.Fatalf("%d visits after the second was to be the last", visits)
	}
}

func TestTextMapIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m textMap[*int]
		want := map[string]*int{}
		for range rapid.IntRange(1, 50).Draw(t, "changes") {
			key := rapid.StringMatching("[a-c]{0,3}").Draw(t, "key")
			before := m
			was := want[key]
			if rapid.Bool().Draw(t, "remove") {
				m = m.set(key, nil)
				delete(want, key)
			} else {
				m = m.set(key, new(int))
				want[key] = m.at(key)
			}
			if before.at(key) != was {
				t.Fatalf("the map before changed at %q", key)
			}
		}
		for key, v := range want {
			if v == nil || m.at(key) != v {
				t.Fatalf("at %q: %p, want %p", key, m.at(key), v)
			}
		}
		if got := len(slices.Collect(m.all)); got != len(want) {
			t.Fatalf("%d values, want %d", got, len(want))
		}
	})
}
