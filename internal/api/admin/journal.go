package admin

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/journal"
	"selvage/internal/store"
)

func entryOf(e *selvage.Entry) Entry {
	return Entry{
		Seq: e.Seq, Time: e.Time, Action: e.Action, Target: e.Target, Old: e.Old, New: e.New, Hash: hex.EncodeToString(e.Hash),
		Actor: Actor{Kind: e.Kind, ID: e.ID, Name: e.Name, Address: e.Address},
	}
}

// journal returns whose journal a request is about: with server=true that of what
// concerns the whole server.
func (r *request) journal() (selvage.TailnetID, error) {
	if ok, _ := strconv.ParseBool(r.URL.Query().Get("server")); ok {
		return store.ServerTailnet, r.server(authz.ServerJournalRead)
	}
	net, err := r.net(authz.JournalRead)
	if err != nil {
		return 0, err
	}
	return net.ID(), nil
}

// listEntries answers with entries, the newest first unless oldest=true.
func listEntries(r *request) (any, error) {
	id, err := r.journal()
	if err != nil {
		return nil, err
	}
	q, err := entryQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	list := []Entry{}
	err = r.s.opts.DB.Read(r.Context(), func(tx *store.Tx) error {
		entries, err := tx.Entries(id, q)
		for _, e := range entries {
			list = append(list, entryOf(e))
		}
		return err
	})
	return list, err
}

// entryQuery reads the filters: after, before and limit are numbers; oldest=true
// begins with the oldest; action is the beginning of one; target and actor are exact;
// since and until are times.
func entryQuery(q url.Values) (store.Query, error) {
	out := store.Query{Action: q.Get("action"), Target: q.Get("target"), ActorName: q.Get("actor"), Newest: true}
	for name, to := range map[string]*int64{"after": &out.After, "before": &out.Before} {
		if err := number(q, name, to); err != nil {
			return out, err
		}
	}
	var limit int64
	if err := number(q, "limit", &limit); err != nil {
		return out, err
	}
	out.Limit = int(min(limit, store.MaxEntries))
	if oldest, _ := strconv.ParseBool(q.Get("oldest")); oldest {
		out.Newest = false
	}
	for name, to := range map[string]*time.Time{"since": &out.Since, "until": &out.Until} {
		if q.Get(name) == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, q.Get(name))
		if err != nil {
			return out, selvage.Errorf(selvage.KindInvalid, "bad %s %q: want a time such as 2026-01-31T12:00:00Z", name, q.Get(name))
		}
		*to = t
	}
	return out, nil
}

func number(q url.Values, name string, to *int64) error {
	if q.Get(name) == "" {
		return nil
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	if err != nil || n < 0 {
		return selvage.Errorf(selvage.KindInvalid, "bad %s %q: want a number", name, q.Get(name))
	}
	*to = n
	return nil
}

func verifyJournal(r *request) (any, error) {
	id, err := r.journal()
	if err != nil {
		return nil, err
	}
	v, err := journal.Verify(r.Context(), r.s.opts.DB, id)
	if err != nil {
		return nil, err
	}
	return Verification{OK: v.Bad == 0, Entries: v.Entries, Bad: v.Bad, Problem: v.Problem, Head: hex.EncodeToString(v.Head)}, nil
}

const (
	// followWrite bounds the writing of one entry to a follower: who does not read
	// is cut off.
	followWrite = 30 * time.Second
	// followLife bounds a stream, so that a token that was deleted meanwhile, or a
	// user who was suspended, does not go on reading. Followers come back.
	followLife = 10 * time.Minute
)

// followJournal streams entries after a number as they come, one on each line.
func followJournal(r *request) (any, error) {
	id, err := r.journal()
	if err != nil {
		return nil, err
	}
	var after int64
	if err := number(r.URL.Query(), "after", &after); err != nil {
		return nil, err
	}
	r.w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(r.w)
	if err := out.Flush(); err != nil {
		return nil, err
	}
	ctx, cancel := contextFor(r, followLife)
	defer cancel()
	enc := json.NewEncoder(r.w)
	for e, err := range journal.Follow(ctx, r.s.opts.DB, id, after) {
		if err != nil {
			// The status is out already; the client sees the stream end and asks again.
			r.s.log.Error("follow journal", "tailnet", id, "err", err)
			return nil, nil
		}
		// Not every writer can have a deadline; the stream's own end holds for all.
		out.SetWriteDeadline(r.s.now().Add(followWrite))
		if enc.Encode(entryOf(e)) != nil || out.Flush() != nil {
			return nil, nil // the client has gone
		}
	}
	return nil, nil
}
