package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A key is failing after failuresFor, if it failed at least failures times in a row, or if one reconciliation has not
// returned for hangsFor. Anything shorter is just retried.
const (
	failuresFor = time.Minute
	failures    = 3
	hangsFor    = 3 * time.Minute
)

// Failing is a key whose reconciliation keeps failing or does not return.
type Failing struct {
	Controller string
	// Key is empty for Singleton controllers.
	Key string
	// Since is the time of the first consecutive failure, or the start of the reconciliation that does not return.
	Since    time.Time
	Failures int
	// Err is the last error.
	Err string
}

func (f Failing) String() string {
	name := f.Controller
	if f.Key != "" {
		name += " of " + f.Key
	}
	return fmt.Sprintf("%s keeps failing since %s (%d times): %s", name, f.Since.UTC().Format(time.RFC3339), f.Failures, f.Err)
}

// health tracks the keys of all controllers of a process.
type health struct {
	mu   sync.Mutex
	keys map[healthKey]*keyHealth
}

type healthKey struct{ controller, key string }

type keyHealth struct {
	failed   int
	since    time.Time // of the first consecutive failure
	err      string
	running  bool
	runSince time.Time
}

func newHealth() *health { return &health{keys: map[healthKey]*keyHealth{}} }

func (h *health) started(k healthKey, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.keys[k]
	if of == nil {
		of = &keyHealth{}
		h.keys[k] = of
	}
	of.running, of.runSince = true, now
}

// ended records the result of a reconciliation; nil is success.
func (h *health) ended(k healthKey, now time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.keys[k]
	if of == nil || err == nil {
		delete(h.keys, k)
		return
	}
	if of.failed == 0 {
		of.since = now
	}
	of.failed++
	of.running, of.err = false, brief(err)
}

// brief returns the first line of an error, truncated; the log has all of it.
func brief(err error) string {
	line, _, more := strings.Cut(err.Error(), "\n")
	if len(line) > 300 {
		line, more = strings.ToValidUTF8(line[:300], ""), true
	}
	if more {
		line += " ..."
	}
	return line
}

// left forgets a controller that has ended.
func (h *health) left(controller string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.keys {
		if k.controller == controller {
			delete(h.keys, k)
		}
	}
}

func (h *health) failing(now time.Time) (list []Failing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, of := range h.keys {
		f := Failing{Controller: k.controller, Key: k.key, Since: of.since, Failures: of.failed, Err: of.err}
		switch {
		case of.failed >= failures && now.Sub(of.since) >= failuresFor:
		case of.running && now.Sub(of.runSince) >= hangsFor:
			f.Since, f.Err = of.runSince, fmt.Sprintf("has not returned for %s", now.Sub(of.runSince).Round(time.Minute))
		default:
			continue
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b Failing) int {
		return cmp.Or(cmp.Compare(a.Controller, b.Controller), cmp.Compare(a.Key, b.Key))
	})
	return list
}

// failingKeys is the number of a controller's failing keys, failingSeconds how long the first of them has been failing.
var (
	failingKeys = prometheus.NewDesc("fleet_controller_failing_keys",
		"Keys whose reconciliation keeps failing or does not return.", []string{"controller"}, nil)
	failingSeconds = prometheus.NewDesc("fleet_controller_failing_seconds",
		"How long the reconciliation of a key has been failing or has not returned.", []string{"controller"}, nil)
)

// Describe implements prometheus.Collector.
func (h *health) Describe(c chan<- *prometheus.Desc) { c <- failingKeys; c <- failingSeconds }

// Collect implements prometheus.Collector.
func (h *health) Collect(c chan<- prometheus.Metric) {
	now := time.Now()
	keys, longest := map[string]int{}, map[string]time.Duration{}
	for _, f := range h.failing(now) {
		keys[f.Controller]++
		longest[f.Controller] = max(longest[f.Controller], now.Sub(f.Since))
	}
	for controller, n := range keys {
		c <- prometheus.MustNewConstMetric(failingKeys, prometheus.GaugeValue, float64(n), controller)
		c <- prometheus.MustNewConstMetric(failingSeconds, prometheus.GaugeValue, longest[controller].Seconds(), controller)
	}
}
