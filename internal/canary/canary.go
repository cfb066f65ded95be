// Package canary compares the instances of a new version with fresh ones of the old version, by what routers have counted.
package canary

import (
	"fmt"
	"math"
)

// Buckets is how many ranges of latency are told apart: up to 1 ms, 2 ms, 4 ms ... and the last one for all above.
const Buckets = 18

// Counts are the responses of some instances.
type Counts struct {
	// Requests are all of them, Errors those with a status from 500 on.
	Requests, Errors int64
	// Latency counts them by the time until their header came: those of bucket b took at most 2^b ms.
	Latency [Buckets]int64
}

// Add adds other counts.
func (c *Counts) Add(o Counts) {
	c.Requests += o.Requests
	c.Errors += o.Errors
	for b := range c.Latency {
		c.Latency[b] += o.Latency[b]
	}
}

// above counts the responses that took longer than those of a bucket.
func (c Counts) above(bucket int) (n int64) {
	for _, slower := range c.Latency[bucket+1:] {
		n += slower
	}
	return n
}

// The test. A version whose true rates of errors and of slow responses are at most Tolerance times those of the old one is taken
// back with a probability of at most FalsePositives, however often and for however long one looks: half of it is for errors, half
// for latency.
const (
	FalsePositives = 0.01
	Tolerance      = 1.5
)

// Worse is why the new version is worse than the old one; "" if that is not sure (yet).
//
// Under the hypothesis that it is not, each error comes from the new version with a probability of at most p0, its tolerated share
// of the requests. The evidence against that is a wager on each error, averaged over all p from p0 to 1, which grows above 1/a with
// a probability of at most a (Ville's inequality). For latency, "slower than 2^b ms" takes the place of an error, and the evidence
// is the mean over all b.
func Worse(canary, baseline Counts) string {
	if canary.Requests == 0 || baseline.Requests == 0 {
		return ""
	}
	limit := math.Log(2 / FalsePositives)
	share := tolerated(canary.Requests, baseline.Requests)
	if evidence(canary.Errors, baseline.Errors, share) > limit {
		return fmt.Sprintf("%s of its requests failed with 5xx, and %s of the old version's", rate(canary.Errors, canary.Requests), rate(baseline.Errors, baseline.Requests))
	}
	sum, worst, most := 0.0, 0, math.Inf(-1)
	for b := range Buckets - 1 {
		e := evidence(canary.above(b), baseline.above(b), share)
		if sum += math.Exp(min(e, 700)) / (Buckets - 1); e > most {
			worst, most = b, e
		}
	}
	if math.Log(sum) > limit {
		return fmt.Sprintf("%s of its requests took longer than %d ms, and %s of the old version's",
			rate(canary.above(worst), canary.Requests), 1<<worst, rate(baseline.above(worst), baseline.Requests))
	}
	return ""
}

// tolerated is the largest share of the errors that the canary may have.
func tolerated(canary, baseline int64) float64 {
	c := Tolerance * float64(canary)
	return c / (c + float64(baseline))
}

// evidence is the logarithm of the mean, over p from p0 to 1, of how much likelier it is that x of x+y come from the canary if each
// does with probability p than with p0.
func evidence(x, y int64, p0 float64) float64 {
	if x+y == 0 {
		return 0
	}
	const steps = 100
	width := (1 - p0) / steps
	logs, most := [steps]float64{}, math.Inf(-1)
	for i := range logs {
		p := p0 + (float64(i)+0.5)*width
		logs[i] = float64(x)*math.Log(p/p0) + float64(y)*math.Log((1-p)/(1-p0))
		most = max(most, logs[i])
	}
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l-most) / steps
	}
	return most + math.Log(sum)
}

func rate(n, of int64) string {
	return fmt.Sprintf("%.2g%% (%d of %d)", 100*float64(n)/float64(max(of, 1)), n, of)
}
