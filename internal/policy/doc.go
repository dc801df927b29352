// Package policy reads the policy file of a tailnet, checks it, and answers from
// it: who may know of whom, which packet filter a device gets, which routes it may
// use, approve or serve, which tags a user may give.
//
// It is pure: text and facts in, decisions out. It does no I/O, has no clock and
// no database, and knows nothing of sessions or of messages. Who is in the tailnet
// is told to it ([Policy.Compile] takes people, [Compiled.Class] takes devices).
//
// Read in this order: parse.go (text to [Policy]), rule.go and selector.go (the
// form that everything else works on), compile.go and class.go (a policy and its
// people to sets and classes), filter.go (a class to the rules a client gets). Below
// it are source (the text and its places), transport (protocols and ports), posture
// (conditions on devices) and sample (policies to start from); above it is review,
// which answers what people ask.
//
// The language is Tailscale's policy file. Where its documentation is silent, what
// the hosted service answered to real clients decides.
//
// # Classes
//
// A rule names a set of sources and a set of destinations. Devices that match the
// same sets form a [Class], and every answer is worked out between classes, never
// between pairs of devices. A set is matched in one of two ways, which matter
// differently: by identity (user, group, tag), in which case the device's addresses
// are written into other devices' filters; or by address (a literal address or
// network that covers it or a route of it, or the wildcard), in which case the text
// of the policy is written there and the filter does not depend on who is a member.
// Where a rule asks for a posture, all its sources are matched by identity, so that
// the posture of a device is part of its class.
//
// # Forms of a filter
//
// [Compiled.Filter] lists the addresses of sources, as the hosted service does.
// [Compiled.CompactFilter] names them by capabilities that peers carry, which costs
// each peer a line and spares a new filter for everybody when a device joins a group.
package policy
