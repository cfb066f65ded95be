package cache

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of a process's reflectors. A nil *Metrics counts nothing.
type Metrics struct {
	drops, checks, relists *prometheus.CounterVec
}

// NewMetrics creates and registers the metrics, once per process.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_cache_events_dropped_total",
			Help: "Events of etcd that were not applied: Known were repeated or superseded, Late required a new listing.",
		}, []string{"prefix", "reason"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_cache_checks_total",
			Help: "Comparisons of a cache with etcd, by result: Same, Failed, or the reason for a new listing.",
		}, []string{"prefix", "result"}),
		relists: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_cache_relists_total",
			Help: "Listings after the first one, by reason: Compacted, Late, Missed, Behind, WentBack.",
		}, []string{"prefix", "reason"}),
	}
	registerer.MustRegister(m.drops, m.checks, m.relists)
	return m
}

// WithMetrics sets the metrics.
func WithMetrics(m *Metrics) Option { return func(r *Reflector) { r.metrics = m } }

func (m *Metrics) dropped(prefix string, v verdict) {
	if m != nil {
		m.drops.WithLabelValues(prefix, string(v)).Inc()
	}
}

func (m *Metrics) checked(prefix, result string) {
	if m != nil {
		m.checks.WithLabelValues(prefix, result).Inc()
	}
}

func (m *Metrics) relisted(prefix, reason string) {
	if m != nil {
		m.relists.WithLabelValues(prefix, reason).Inc()
	}
}
