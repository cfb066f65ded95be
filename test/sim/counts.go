package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Counts are how often each invariant was checked, and how often it was excused, by reason.
type Counts map[string]*Count

// Count is the count of one invariant.
type Count struct {
	Checked int
	Excused map[string]int
}

// Check counts one check of an invariant.
func (c Counts) Check(invariant string) { c.of(invariant).Checked++ }

// Excuse counts one excuse, and why.
func (c Counts) Excuse(invariant, why string) { c.of(invariant).Excused[why]++ }

func (c Counts) of(invariant string) *Count {
	if c[invariant] == nil {
		c[invariant] = &Count{Excused: map[string]int{}}
	}
	return c[invariant]
}

// Add adds the counts of another run.
func (c Counts) Add(other Counts) {
	for invariant, count := range other {
		sum := c.of(invariant)
		sum.Checked += count.Checked
		for why, n := range count.Excused {
			sum.Excused[why] += n
		}
	}
}

// excused is the total.
func (c *Count) excused() int {
	n := 0
	for _, times := range c.Excused {
		n += times
	}
	return n
}

// mostExcused is the maximum share of excuses, in per cent: an invariant that is excused more often proves nothing.
const mostExcused = 10

// Weak returns what these counts do not prove: invariants that were never checked, or too rarely.
func (c Counts) Weak() []string {
	var weak []string
	for _, invariant := range Invariants {
		switch count := c.of(invariant); {
		case count.Checked == 0:
			weak = append(weak, fmt.Sprintf("%q was never checked", invariant))
		case count.excused()*100 > mostExcused*(count.Checked+count.excused()):
			weak = append(weak, fmt.Sprintf("%q was checked %d times and excused %d times", invariant, count.Checked, count.excused()))
		}
	}
	return weak
}

// String returns a table: one line for each invariant, and for each excuse.
func (c Counts) String() string {
	var b strings.Builder
	for _, invariant := range Invariants {
		count := c.of(invariant)
		fmt.Fprintf(&b, "%9d checked %6d excused  %s\n", count.Checked, count.excused(), invariant)
		for _, why := range slices.Sorted(maps.Keys(count.Excused)) {
			fmt.Fprintf(&b, "%26d    because %s\n", count.Excused[why], why)
		}
	}
	return b.String()
}
