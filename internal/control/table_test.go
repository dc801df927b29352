package control

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/netmap"
)

// Over any stretch of time a machine gets no more than its burst and what has come
// back since, and who is told to wait is let in after that wait.
func TestLimiter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLimiter[key.MachinePublic](registerBurst, registerInterval)
		m, other := key.NewMachine().Public(), key.NewMachine().Public()
		start := time.Unix(1_700_000_000, 0)
		now, allowed := start, 0
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "gap")) * time.Millisecond)
			wait, ok := l.allow(m, now)
			if ok {
				allowed++
				if most := registerBurst + int(now.Sub(start)/registerInterval); allowed > most {
					t.Fatalf("%d allowed after %v, at most %d", allowed, now.Sub(start), most)
				}
				continue
			}
			if wait <= 0 || wait > registerInterval {
				t.Fatalf("told to wait %v", wait)
			}
			if _, ok := l.allow(m, now.Add(wait)); !ok {
				t.Fatalf("after the wait of %v it is refused again", wait)
			}
			now, allowed = now.Add(wait), allowed+1
		}
		if _, ok := l.allow(other, now); !ok {
			t.Fatal("another machine is refused")
		}
	})
}

func TestLimiterForgets(t *testing.T) {
	l := newLimiter[key.MachinePublic](registerBurst, registerInterval)
	now := time.Now()
	for range 1000 {
		l.allow(key.NewMachine().Public(), now)
	}
	l.allow(key.NewMachine().Public(), now.Add(time.Minute))
	if len(l.full) != 1 {
		t.Errorf("%d machines are remembered after a minute", len(l.full))
	}
}

// waitAll puts n registrations into a table, a second apart, and returns their codes.
func waitAll(tab *pendingTable, now *time.Time, n int, hostname string) (codes []string) {
	for i := range n {
		*now = now.Add(time.Second)
		c := fmt.Sprint("code", i)
		tab.put(c, netmap.Join{Hostinfo: &tailcfg.Hostinfo{Hostname: hostname}}, &connection{}, false)
		codes = append(codes, c)
	}
	return codes
}

func TestPendingTableIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		count    int
		hostname string
	}{
		"by number": {maxPending + 100, "x"},
		"by size":   {300, string(make([]byte, 100<<10))}, // each zero is six bytes of JSON
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			tab := newPendingTable(func() time.Time { return now })
			// The oldest has a device that waits at this moment.
			first := tab.put("first", netmap.Join{}, &connection{}, false)
			tab.poll(first, 1)
			codes := waitAll(tab, &now, test.count, test.hostname)
			if len(tab.byCode) > maxPending || tab.bytes > maxPendingBytes {
				t.Errorf("%d registrations with %d bytes", len(tab.byCode), tab.bytes)
			}
			size := 0
			for _, p := range tab.byCode {
				size += p.size
			}
			if size != tab.bytes {
				t.Errorf("%d bytes are counted, %d are there", tab.bytes, size)
			}
			if _, ok := tab.get(codes[0]); ok {
				t.Error("the one that was silent for longest is still there")
			}
			for _, c := range []string{"first", codes[len(codes)-1]} {
				if _, ok := tab.get(c); !ok {
					t.Errorf("%s is gone", c)
				}
			}
		})
	}
}

// Devices that come in small and grow afterwards are held to the same bound.
func TestPendingTableIsBoundedWhenTheyGrow(t *testing.T) {
	now := time.Now()
	tab := newPendingTable(func() time.Time { return now })
	codes := waitAll(tab, &now, 300, "x")
	for _, c := range codes {
		now = now.Add(time.Second)
		tab.put(c, netmap.Join{Hostinfo: &tailcfg.Hostinfo{Hostname: string(make([]byte, 100<<10))}}, &connection{}, false)
		if tab.bytes > maxPendingBytes {
			t.Fatalf("%d bytes after %s has grown", tab.bytes, c)
		}
		if _, ok := tab.get(c); !ok {
			t.Fatalf("%s is gone by its own growth", c)
		}
	}
	tab.put("giant", netmap.Join{Hostinfo: &tailcfg.Hostinfo{Hostname: string(make([]byte, maxPendingBytes/6))}}, &connection{}, false)
	if tab.bytes != 0 || len(tab.byCode) != 0 {
		t.Errorf("one that is too big by itself leaves %d registrations with %d bytes", len(tab.byCode), tab.bytes)
	}
}

func TestPendingEndsAfterSilence(t *testing.T) {
	now := time.Now()
	tab := newPendingTable(func() time.Time { return now })
	p := tab.put("code", netmap.Join{}, &connection{}, false)
	now = now.Add(pendingTTL)
	if _, ok := tab.get("code"); !ok {
		t.Error("it is gone before its time")
	}
	now = now.Add(time.Second)
	if _, ok := tab.get("code"); ok {
		t.Error("it is there after an hour of silence")
	}
	tab.poll(p, 1)
	now = now.Add(2 * pendingTTL)
	if _, ok := tab.get("code"); !ok {
		t.Error("it is gone though its device waits")
	}
}

func TestAskTableIsBounded(t *testing.T) {
	tab := newAskTable()
	m := key.NewMachine().Public()
	var last string
	for range maxAsks {
		token, _, err := tab.add(m, 0)
		if err != nil {
			t.Fatal(err)
		}
		last = token
	}
	if _, _, err := tab.add(m, 0); !selvage.Is(err, selvage.KindBusy) {
		t.Errorf("one too many gives %v", err)
	}
	if tab.take(last, key.NewMachine().Public()) != nil || tab.take(last, m) == nil || tab.take(last, m) != nil {
		t.Error("a token is not for one answer of one machine")
	}
	if _, _, err := tab.add(m, 0); err != nil {
		t.Errorf("after an answer: %v", err)
	}
}
