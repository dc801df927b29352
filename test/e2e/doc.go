// Package e2e has the stories that Selvage must be able to tell with the official,
// unmodified clients: one file each, told by real tailscaled processes on the hosts
// of a lab of network namespaces (package natlab), against the real `selvage serve`.
// It owns the stories and the stage they play on; it imports nothing of the server.
//
//	go test ./test/e2e                            all of them, about seven minutes
//	go test ./test/e2e -run '^TestExitNode$' -v   one
//
// They need root, Linux and a few commands, and are skipped where those are missing
// and with -short. The first run builds the clients (package clients), which takes
// minutes. SELVAGE_PROGRAM names a built selvage to test instead of the source tree.
//
// Read world_test.go first: a world is a lab with a server. A story that fails shows
// the end of the server's log, and of each client its status and the end of its log.
package e2e
