// Package dns turns the name settings of a tailnet into what clients are told,
// and decides which names are good.
//
// It owns the rules for names: of devices (CleanHostname, Unique, CheckLabel), of
// tailnets (CheckDomain) and of everything that an operator may configure
// (Check). It is pure: it looks nothing up, and it answers no DNS queries; those
// are answered by the clients themselves.
//
// The rules are strict for a reason. A search domain or a route that is no valid
// name makes clients up to 1.102.5 stop at start, and they can't be reached to
// be told better. So Check refuses such names before they are stored, and Config
// leaves out what Check would have refused.
package dns
