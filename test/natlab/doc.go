// Package natlab builds small test networks out of Linux network namespaces:
// hosts, switches and NAT routers that exist only for the length of a test. It
// owns the namespaces, what is in them and the processes on their hosts. It knows
// nothing of Selvage; of the official client it knows how to run it on a host.
//
// Everything a Lab makes carries its prefix: each network namespace is called
// "<prefix>-<name>", and every virtual interface is created directly inside
// one of those namespaces, so neither the interfaces nor the routes of the
// namespace the test runs in are touched. No namespace gets a route to the
// outside: a lab has no way to send a packet to a real network.
//
// A Host is more than a network namespace. It also has a host name and a mount
// namespace of its own, with copy-on-write views of /etc and /var and an empty
// /run. A VPN client under test can therefore rewrite /etc/resolv.conf or use
// its default state directory and socket without anyone else noticing, and two
// of them can run side by side with their default paths. Programs and files that
// a host must read may lie anywhere but under those three.
//
// It needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN), and the commands of tools.
// Available says whether all that is there; tests call SkipUnlessAvailable.
//
// Start with lab.go, then switch.go, host.go and nat.go. Methods of a Lab and of
// its parts may be called from several goroutines, but Close only once.
package natlab
