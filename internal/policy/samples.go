package policy

import "selvage/internal/policy/sample"

// Sample is a policy to start from.
type Sample = sample.Sample

// Default returns the text of a new network's policy: everybody reaches their own
// devices and nobody else's.
func Default() string { return sample.All()[0].Text }

// Samples returns policies to start from, the one of a new network first.
func Samples() []Sample { return sample.All() }
