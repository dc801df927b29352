package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"selvage/internal/api/admin"
)

func tokenCommand() *command {
	return &command{
		name: "token", short: "Make and delete API tokens, with which programs act for a user.",
		long: "With a token, this command line works from anywhere: set SELVAGE_URL to the server's\nURL and SELVAGE_TOKEN to the token.",
		sub: []*command{
			tokenCreate(),
			{
				name: "list", short: "List API tokens.",
				examples: []string{"token list", "token list --json"},
				setup:    func(*flag.FlagSet) runFunc { return listTokens },
			},
			{
				name: "delete", args: "ID", least: 1, most: 1, short: "Delete an API token; it stops working at once.",
				examples: []string{"token delete 8f3kq2m1x0ab", "token delete 8f3kq2m1x0ab --tailnet lab"},
				setup: func(*flag.FlagSet) runFunc {
					return func(ctx context.Context, sh *shell, args []string) error {
						answer, err := call[struct{}](ctx, sh, "DELETE", in("tokens", args[0]), nil, nil)
						if err != nil {
							return err
						}
						return sh.say(answer, "API token %s is deleted.", args[0])
					}
				},
			},
		},
	}
}

func tokenCreate() *command {
	return &command{
		name: "create", short: "Make an API token. It is shown once.",
		examples: []string{"token create", "token create --user ann@example.com --expires 30d --description terraform"},
		values:   map[string]completion{"user": completeUser},
		setup: func(fs *flag.FlagSet) runFunc {
			var b admin.TokenCreate
			life := lifeFlag{d: admin.DefaultTokenLife}
			fs.StringVar(&b.User, "user", "", "`login` of the user for whom it acts; default: the owner")
			fs.Var(&life, "expires", "how long it works: a `time` from 1h to 365d")
			fs.StringVar(&b.Description, "description", "", "`text` that tells what the token is for")
			return func(ctx context.Context, sh *shell, _ []string) error {
				if life.d < admin.MinTokenLife || life.d > admin.MaxTokenLife {
					return usagef("--expires %s: want a time from 1h to 365d", exactly(life.d))
				}
				b.ExpirySeconds = int64(life.d / time.Second)
				t, err := post[admin.Token](ctx, sh, "/tokens", b)
				if err != nil {
					return err
				}
				if !sh.global.json {
					fmt.Fprintf(sh.err, "API token %s of %s; it is shown only now and expires %s:\n", t.ID, printable(t.User), until(sh.now(), t.Expires))
				}
				return sh.say(t, "%s", t.Token)
			}
		},
	}
}

func listTokens(ctx context.Context, sh *shell, _ []string) error {
	list, err := get[[]admin.Token](ctx, sh, "/tokens", nil)
	if err != nil {
		return err
	}
	return sh.show(list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "No API tokens. Make one with `selvage token create`.")
			return err
		}
		t := table{}
		t.add("ID", "USER", "EXPIRES", "CREATED", "DESCRIPTION")
		for _, k := range list {
			t.add(string(k.ID), k.User, until(sh.now(), k.Expires), ago(sh.now(), k.Created), k.Description)
		}
		return t.write(w)
	})
}
