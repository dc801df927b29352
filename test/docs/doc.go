// Package docs has the tests of the documentation: what a page tells people to type is
// typed here. It owns the list of pages, the stand-ins for programs that are not ours,
// and the two pages that are made from the program itself. It holds no code.
//
//	go test ./test/docs                      all pages
//	go test ./test/docs -run 'Commands/dns'  one of them
//	go test ./test/docs -update              write configuration.md and cli.md anew
//
// A fenced block says by its first word what becomes of it:
//
//	sh       the commands are run, and have to succeed
//	console  lines that begin with "$ " are run; the others are what they print
//	jsonc    a whole policy, which has to be accepted
//	yaml     a configuration of the server, or what the next word says
//
// In what a command prints, "…" stands for anything, and alone on a line for any lines.
// Read commands_test.go first.
package docs
