// Package server wires the parts together: a configuration in, a running program
// out. It owns the data directory, the listeners, the order of start and stop, and
// nothing else: what a part does is the part's business.
//
// Read server.go first (Open and Run), then routes.go (which path leads where) and
// listen.go (which address serves what).
package server
