package cache

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of all reflectors of a process. A nil *Metrics counts nothing.
type Metrics struct {
	drops, checks, relists *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them, once a process.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_cache_events_dropped_total",
			Help: "Events of etcd that were not applied: Known came twice or too late to matter, Late made a new listing necessary.",
		}, []string{"prefix", "reason"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_cache_checks_total",
			Help: "Comparisons of a cache with etcd, by result: Same, Failed, or why a new listing is necessary.",
		}, []string{"prefix", "result"}),
		relists: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_cache_relists_total",
			Help: "Listings after the first one, by what made them necessary: Compacted, Late, Missed, Behind, WentBack.",
		}, []string{"prefix", "reason"}),
	}
	registerer.MustRegister(m.drops, m.checks, m.relists)
	return m
}

// WithMetrics has the reflector count there.
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
