package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"selvage/internal/api/admin"
)

func keyCommand() *command {
	return &command{
		name: "key", short: "Make and revoke auth keys, with which devices join without a browser.",
		sub: []*command{
			keyCreate(),
			{
				name: "list", short: "List the auth keys that can be used.",
				examples: []string{"key list", "key list --all --json"},
				setup: func(fs *flag.FlagSet) runFunc {
					all := fs.Bool("all", false, "also those that were used up, revoked or have expired")
					return func(ctx context.Context, sh *shell, _ []string) error { return listKeys(ctx, sh, *all) }
				},
			},
			{
				name: "revoke", args: "ID...", least: 1, most: -1, short: "Keep auth keys from admitting further devices; those that joined stay.",
				examples: []string{"key revoke 8f3kq2m1x0ab", "key revoke 8f3kq2m1x0ab 7d2jp1n0w9zy"},
				complete: []completion{completeKey},
				setup:    func(*flag.FlagSet) runFunc { return revokeKeys },
			},
		},
	}
}

func keyCreate() *command {
	return &command{
		name: "create", short: "Make an auth key. It is shown once.",
		long:     "The key admits one device unless it is --reusable. Devices belong to the user of the\nkey, or with tags to nobody.",
		examples: []string{"key create", "key create --reusable --expires 30d --user ann@example.com", "key create --ephemeral --tag tag:ci --json"},
		values:   map[string]completion{"user": completeUser, "tag": completeTag},
		setup: func(fs *flag.FlagSet) runFunc {
			var b admin.KeyCreate
			life := lifeFlag{d: admin.DefaultKeyLife}
			var tags listFlag
			fs.BoolVar(&b.Reusable, "reusable", false, "for any number of devices")
			fs.BoolVar(&b.Ephemeral, "ephemeral", false, "devices are removed when they are silent")
			fs.BoolVar(&b.Preapproved, "preapproved", false, "devices need no approval")
			fs.Var(&tags, "tag", "`tag` for the devices; may be repeated")
			fs.StringVar(&b.User, "user", "", "`login` of the user who gets the devices; default: the owner")
			fs.Var(&life, "expires", "how long new devices may join: a `time` from 1h to 90d")
			fs.StringVar(&b.Description, "description", "", "`text` that tells what the key is for")
			return func(ctx context.Context, sh *shell, _ []string) error {
				b.Tags = tags.values
				if life.d < admin.MinKeyLife || life.d > admin.MaxKeyLife {
					return usagef("--expires %s: want a time from 1h to 90d", exactly(life.d))
				}
				b.ExpirySeconds = int64(life.d / time.Second)
				k, err := post[admin.Key](ctx, sh, "/keys", b)
				if err != nil {
					return err
				}
				if !sh.global.json {
					// To stderr, so that the key alone can be piped on.
					fmt.Fprintf(sh.err, "Auth key %s for %s; it is shown only now and expires %s:\n", k.ID, printable(keyOwner(k)), until(sh.now(), k.Expires))
				}
				return sh.say(k, "%s", k.Key)
			}
		},
	}
}

func keyOwner(k admin.Key) string {
	if len(k.Tags) > 0 {
		return strings.Join(k.Tags, " ")
	}
	return k.User
}

func listKeys(ctx context.Context, sh *shell, all bool) error {
	keys, err := get[[]admin.Key](ctx, sh, "/keys", nil)
	if err != nil {
		return err
	}
	list := []admin.Key{}
	for _, k := range keys {
		if all || k.Usable {
			list = append(list, k)
		}
	}
	return sh.show(list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "No auth keys. Make one with `selvage key create`.")
			return err
		}
		t := table{}
		t.add("ID", "FOR", "KIND", "STATE", "EXPIRES", "USES", "CREATED", "DESCRIPTION")
		for _, k := range list {
			t.add(string(k.ID), keyOwner(k), keyKind(k), keyState(sh.now(), k), until(sh.now(), k.Expires), fmt.Sprint(k.Uses), ago(sh.now(), k.Created), k.Description)
		}
		return t.write(w)
	})
}

func keyKind(k admin.Key) string {
	kind := "single"
	if k.Reusable {
		kind = "reusable"
	}
	if k.Ephemeral {
		kind += " ephemeral"
	}
	if k.Preapproved {
		kind += " preapproved"
	}
	return kind
}

func keyState(now time.Time, k admin.Key) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked"
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return "expired"
	case !k.Usable:
		return "used"
	}
	return "usable"
}

func revokeKeys(ctx context.Context, sh *shell, args []string) error {
	done := []admin.Key{}
	for _, id := range args {
		k, err := call[admin.Key](ctx, sh, "DELETE", in("keys", id), nil, nil)
		if err != nil {
			return err
		}
		done = append(done, k)
	}
	return sh.say(done, "Revoked: %s.", strings.Join(args, " "))
}
