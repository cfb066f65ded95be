package sim

import (
	"slices"
	"testing"
)

// shrinkRuns bounds how often a failing plan is run again.
const shrinkRuns = 80

// Shrink drops steps from a plan while it still fails in the same way, halves first, then smaller parts, and returns the rest
// with its outcome. newDir returns an empty directory for each run.
func Shrink(t *testing.T, p Plan, o Outcome, newDir func() string) (Plan, Outcome) {
	runs := 0
	for size := (len(p.Steps) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(p.Steps) && runs < shrinkRuns; {
			smaller := p
			smaller.Steps = slices.Delete(slices.Clone(p.Steps), from, min(from+size, len(p.Steps)))
			runs++
			if again := Run(t, smaller, newDir()); again.Violation != nil && again.Violation.Invariant == o.Violation.Invariant {
				p, o = smaller, again
			} else {
				from += size
			}
		}
	}
	return p, o
}
