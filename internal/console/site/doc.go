// Package site is what all pages of the console share: who visits, in which tailnet,
// what they may see, how errors and redirects look, and the headers that every
// answer carries.
//
// It owns the session cookie and the memory of where a visitor wanted to go before
// signing in. It knows no page. Read site.go first.
package site
