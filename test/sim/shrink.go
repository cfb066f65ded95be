package sim

import (
	"slices"
	"testing"
)

// shrinkRuns bounds how often a failing plan is run again.
const shrinkRuns = 80

// Shrink drops steps from a plan for as long as it still fails in the same way, halves first, then smaller parts, and
// returns what is left with its violation and transcript. newDir gives an empty directory for each run.
func Shrink(t *testing.T, p Plan, violation *Violation, transcript string, newDir func() string) (Plan, *Violation, string) {
	runs := 0
	for size := (len(p.Steps) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(p.Steps) && runs < shrinkRuns; {
			smaller := p
			smaller.Steps = slices.Delete(slices.Clone(p.Steps), from, min(from+size, len(p.Steps)))
			runs++
			if v, text := Run(t, smaller, newDir()); v != nil && v.Invariant == violation.Invariant {
				p, violation, transcript = smaller, v, text
			} else {
				from += size
			}
		}
	}
	return p, violation, transcript
}
