package controller

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the label "result".
const (
	resultSuccess      = "success"
	resultRequeueAfter = "requeue_after"
	resultError        = "error"
	resultPartial      = "partial"
	resultFatal        = "fatal"
)

// Metrics are the metrics of a process's controllers. A nil *Metrics counts nothing.
type Metrics struct {
	reconciles, requeues, panics *prometheus.CounterVec
	duration                     *prometheus.HistogramVec
	depth                        *prometheus.GaugeVec
	health                       *health
}

// NewMetrics creates and registers the metrics. It panics if they are registered already: create them once per process
// and pass them to all controllers, including those that start and stop with leadership.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_controller_reconcile_total",
			Help: "Reconciliations, by result.",
		}, []string{"controller", "result"}),
		requeues: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_controller_requeue_total",
			Help: "Keys requeued by the controller: after an error, or after a delay.",
		}, []string{"controller"}),
		panics: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_controller_panics_total",
			Help: "Panics recovered and treated as errors.",
		}, []string{"controller"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fleet_controller_reconcile_duration_seconds",
			Help:    "Duration of one reconciliation.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9), // 0.5 ms to 33 s
		}, []string{"controller"}),
		depth: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fleet_controller_queue_depth",
			Help: "Keys waiting to be reconciled.",
		}, []string{"controller"}),
		health: newHealth(),
	}
	registerer.MustRegister(m.reconciles, m.requeues, m.panics, m.duration, m.depth, m.health)
	return m
}

// Failing returns the keys of all controllers whose reconciliation keeps failing or does not return.
func (m *Metrics) Failing() []Failing { return m.health.failing(time.Now()) }

// meter is one controller's part of Metrics.
type meter struct {
	metrics *Metrics
	name    string
}

func (m *Metrics) of(controller string) meter { return meter{metrics: m, name: controller} }

func (m meter) depth(n int) {
	if m.metrics != nil {
		m.metrics.depth.WithLabelValues(m.name).Set(float64(n))
	}
}

func (m meter) done(result string, took time.Duration) {
	if m.metrics == nil {
		return
	}
	m.metrics.reconciles.WithLabelValues(m.name, result).Inc()
	m.metrics.duration.WithLabelValues(m.name).Observe(took.Seconds())
	if result == resultError || result == resultPartial || result == resultRequeueAfter {
		m.metrics.requeues.WithLabelValues(m.name).Inc()
	}
}

// looking records the start of a reconciliation; the returned function records its result.
func (m meter) looking(key any) (ended func(error)) {
	if m.metrics == nil {
		return func(error) {}
	}
	k := healthKey{controller: m.name}
	if key != any(Singleton{}) {
		k.key = fmt.Sprint(key)
	}
	m.metrics.health.started(k, time.Now())
	return func(err error) { m.metrics.health.ended(k, time.Now(), err) }
}

func (m meter) left() {
	if m.metrics != nil {
		m.metrics.health.left(m.name)
	}
}

func (m meter) panicked() {
	if m.metrics != nil {
		m.metrics.panics.WithLabelValues(m.name).Inc()
	}
}
