// Command clients builds the client programs of the end-to-end tests that are not
// built yet, so that the tests find them. It takes some minutes the first time.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"selvage/test/clients"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, pin := range []clients.Pin{clients.Current, clients.Oldest, clients.Refused} {
		p, err := clients.Get(ctx, pin)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%s: %s, %s\n", p.Version, p.Tailscale, p.Tailscaled)
	}
}
