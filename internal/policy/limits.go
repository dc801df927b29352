package policy

// Limits of a policy. They bound the time and memory that a hostile text can cost;
// each is far above what a network of 10,000 devices needs.
const (
	maxSuggestions = 50 // searches for what a name was meant to be
	maxGroups      = 10_000
	maxTags        = 10_000
	maxHosts       = 10_000 // hosts, and IP sets
	maxPostures    = 1_000
	maxRules       = 10_000 // rules of acls and grants together
	maxSSHRules    = 2_000
	maxSelectors   = 200_000
	maxMembers     = 400_000 // members of all groups together
	maxTests       = 10_000
	// maxWork bounds, before compiling, the sum over all rules of the people that
	// their sources and destinations name.
	maxWork = 5_000_000
	// maxPostureWork bounds the conditions that rules ask for, each counted as often
	// as rules name its posture, and maxRangeWork the ranges that IP sets are made
	// of, each counted as often as sets name it.
	maxPostureWork = 1_000_000
	maxRangeWork   = 200_000
	// maxTestWork bounds how many rules the tests of a policy look at, each look
	// taking some ten nanoseconds.
	maxTestWork = 5_000_000
)
