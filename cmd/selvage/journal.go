package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"selvage/internal/api/admin"
)

func journalCommand() *command {
	return &command{
		name: "journal", short: "Read who changed what.",
		sub: []*command{
			journalList(),
			journalFollow(),
			{
				name: "verify", short: "Check that no entry was changed, removed or put in between.",
				long:     "Keep the hash of the last entry elsewhere: it tells later whether the entries up to\nit are still the same.",
				examples: []string{"journal verify", "journal verify --server --json"},
				setup: func(fs *flag.FlagSet) runFunc {
					server := serverFlag(fs)
					return func(ctx context.Context, sh *shell, _ []string) error { return verifyJournal(ctx, sh, *server) }
				},
			},
		},
	}
}

func serverFlag(fs *flag.FlagSet) *bool {
	return fs.Bool("server", false, "the journal of what concerns the whole server: relays, tailnets")
}

func journalList() *command {
	return &command{
		name: "list", short: "List changes, the latest at the end.",
		examples: []string{"journal list", "journal list --since 24h --action node.", "journal list --target node:12 --json"},
		values:   map[string]completion{"action": completeAction},
		setup: func(fs *flag.FlagSet) runFunc {
			q := map[string]*string{}
			for name, usage := range map[string]string{
				"action": "`beginning` of the action: node. or node.create",
				"target": "`target`, such as node:12, user:3 or policy",
				"actor":  "`name` of who made the change",
			} {
				q[name] = fs.String(name, "", usage)
			}
			since := fs.String("since", "", "not before this `time`: 2026-01-31, or 2h for two hours ago")
			until := fs.String("until", "", "before this `time`")
			limit := fs.Int("limit", 50, "at most this `number`, up to 1000")
			server := serverFlag(fs)
			return func(ctx context.Context, sh *shell, _ []string) error {
				query := url.Values{"limit": {strconv.Itoa(*limit)}}
				for name, value := range q {
					query.Set(name, *value)
				}
				if *limit < 1 || *limit > 1000 {
					return usagef("--limit %d: want 1 to 1000", *limit)
				}
				for name, text := range map[string]string{"since": *since, "until": *until} {
					if text == "" {
						continue
					}
					t, err := parseTime(text, sh.now())
					if err != nil {
						return usagef("--%s: %v", name, err)
					}
					query.Set(name, t.UTC().Format(time.RFC3339))
				}
				return listJournal(ctx, sh, query, *server)
			}
		},
	}
}

func listJournal(ctx context.Context, sh *shell, q url.Values, server bool) error {
	q.Set("server", strconv.FormatBool(server))
	list, err := get[[]admin.Entry](ctx, sh, "/journal", q)
	if err != nil {
		return err
	}
	slices.Reverse(list)
	return sh.show(list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "No changes.")
			return err
		}
		t := table{}
		t.add("SEQ", "TIME", "ACTOR", "ACTION", "TARGET", "CHANGE")
		for _, e := range list {
			t.add(entryCells(e)...)
		}
		return t.write(w)
	})
}

func entryCells(e admin.Entry) []string {
	return []string{
		fmt.Sprint(e.Seq), e.Time.Local().Format("2006-01-02 15:04:05"), actorOf(e.Actor), e.Action, e.Target, changeOf(e),
	}
}

func actorOf(a admin.Actor) string {
	name := string(a.Kind)
	if a.Name != "" {
		name = a.Name
		if a.Kind != "user" {
			name += " (" + string(a.Kind) + ")"
		}
	} else if a.ID != "" {
		name += " " + a.ID
	}
	return name
}

const (
	maxFields = 3  // of a change that are shown
	maxValue  = 40 // characters of a value that are shown
)

// changeOf says in a few words what differs between the old and the new value.
func changeOf(e admin.Entry) string {
	var before, after map[string]json.RawMessage
	if json.Unmarshal(e.New, &after) != nil {
		return ""
	}
	// Of a new thing the most telling fields are shown, of a changed one those that
	// differ.
	if json.Unmarshal(e.Old, &before) != nil {
		var parts []string
		for _, k := range []string{"name", "login", "role", "user", "rev", "tags", "description"} {
			if v, ok := after[k]; ok {
				parts = append(parts, k+" "+value(v))
			}
		}
		return strings.Join(parts[:min(len(parts), maxFields)], ", ")
	}
	keys := maps.Clone(after)
	maps.Copy(keys, before)
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if !bytes.Equal(before[k], after[k]) {
			parts = append(parts, k+" "+value(before[k])+" -> "+value(after[k]))
		}
	}
	if len(parts) > maxFields {
		parts = append(parts[:maxFields], fmt.Sprintf("%d more", len(parts)-maxFields))
	}
	return strings.Join(parts, ", ")
}

// value writes a value of JSON for people.
func value(v json.RawMessage) string {
	text := string(v)
	var s string
	if len(v) == 0 {
		text = "none"
	} else if json.Unmarshal(v, &s) == nil && s != "" {
		text = s
	}
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > maxValue {
		text = string(r[:maxValue-3]) + "..."
	}
	return text
}

func journalFollow() *command {
	return &command{
		name: "follow", short: "Print changes as they are made, until interrupted.",
		examples: []string{"journal follow", "journal follow --after 100 --json"},
		setup: func(fs *flag.FlagSet) runFunc {
			after := fs.Int64("after", -1, "begin after the entry with this `number`; default: with the next change")
			server := serverFlag(fs)
			return func(ctx context.Context, sh *shell, _ []string) error {
				return followJournal(ctx, sh, *after, *server)
			}
		},
	}
}

// followRetry is the pause before a broken stream is asked for again.
const followRetry = 2 * time.Second

// followJournal reads the stream, and asks for it again when it ends: the server
// limits how long one lasts.
func followJournal(ctx context.Context, sh *shell, after int64, server bool) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	query := url.Values{"server": {strconv.FormatBool(server)}}
	if after < 0 {
		query.Set("limit", "1")
		last, err := callOn[[]admin.Entry](ctx, c, http.MethodGet, "/journal", query, nil, nil)
		if err != nil {
			return err
		}
		after = 0
		for _, e := range last {
			after = e.Seq
		}
		query.Del("limit")
	}
	first := true
	for ctx.Err() == nil {
		query.Set("after", strconv.FormatInt(after, 10))
		err := followOnce(ctx, sh, c, query, &after)
		var unreachable unreachableError
		switch {
		case ctx.Err() != nil:
		case err != nil && (first || !errors.As(err, &unreachable)):
			return err
		case err != nil:
			select {
			case <-ctx.Done():
			case <-time.After(followRetry):
			}
		}
		first = false
	}
	return nil
}

// followOnce prints the entries of one stream.
func followOnce(ctx context.Context, sh *shell, c *client, query url.Values, after *int64) error {
	resp, err := c.send(ctx, http.MethodGet, "/journal/follow", query, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var e admin.Entry
		if err := dec.Decode(&e); err != nil {
			return nil // the stream has ended, in whatever way
		}
		*after = e.Seq
		if err := printEntry(sh, e); err != nil {
			return err
		}
	}
}

func printEntry(sh *shell, e admin.Entry) error {
	if sh.global.json {
		enc := json.NewEncoder(sh.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(e)
	}
	_, err := fmt.Fprintln(sh.out, printable(strings.TrimSpace(strings.Join(entryCells(e), gap))))
	return err
}

func verifyJournal(ctx context.Context, sh *shell, server bool) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	// No bound of time: a long journal takes long.
	resp, err := c.send(ctx, http.MethodGet, "/journal/verify", url.Values{"server": {strconv.FormatBool(server)}}, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var v admin.Verification
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&v); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.place, err)
	}
	if v.OK {
		return sh.say(v, "All %d entries are in order. The last has the hash %s.", v.Entries, v.Head)
	}
	if sh.global.json {
		if err := sh.show(v, nil); err != nil {
			return err
		}
	}
	return fmt.Errorf("the journal is not in order at entry %d: %s; the %d entries before it are good", v.Bad, v.Problem, v.Entries)
}
