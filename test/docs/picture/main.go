// Command picture makes the pictures of the documentation from the program itself:
//
//	go run ./test/docs/picture demo    > docs/images/demo.svg
//	go run ./test/docs/picture console > docs/images/console.png
//
// The first is what a terminal shows of `selvage demo`, at the pace at which it came.
// The second is a page of the console of a server with some devices, for which it needs
// chromium. SELVAGE_PROGRAM names a built selvage to use instead of the source tree. The
// program owns how pictures look; it holds nothing of what they show.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// pictureTime bounds the making of a picture, the build of the program included.
const pictureTime = 15 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, pictureTime)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	kinds := map[string]func(ctx context.Context, program, dir string) ([]byte, error){
		"demo": demoPicture, "console": consolePicture,
	}
	if len(args) != 1 || kinds[args[0]] == nil {
		return errors.New("want one argument: demo or console")
	}
	dir, err := os.MkdirTemp("", "selvage-picture-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	program, err := build(ctx, dir)
	if err != nil {
		return err
	}
	picture, err := kinds[args[0]](ctx, program, dir)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(picture)
	return err
}

// build returns the selvage to use.
func build(ctx context.Context, dir string) (string, error) {
	if given := os.Getenv("SELVAGE_PROGRAM"); given != "" {
		return given, nil
	}
	path := filepath.Join(dir, "selvage")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "selvage/cmd/selvage")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build selvage: %w\n%s", err, out)
	}
	return path, nil
}
