package daemon

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/config"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// metrics are all of fleetd's metrics: name, type, labels. Dashboards and alerts depend on them, so a renamed metric is a
// breaking change.
const metrics = `
fleet_cache_checks_total counter prefix,result
fleet_cache_events_dropped_total counter prefix,reason
fleet_cache_relists_total counter prefix,reason
fleet_controller_failing_keys gauge controller
fleet_controller_failing_seconds gauge controller
fleet_controller_panics_total counter controller
fleet_controller_queue_depth gauge controller
fleet_controller_reconcile_duration_seconds histogram controller
fleet_controller_reconcile_total counter controller,result
fleet_controller_requeue_total counter controller
fleet_leading gauge
`

func TestMetricsAreThoseOfTheDocs(t *testing.T) {
	want := strings.Split(strings.TrimSpace(metrics), "\n")
	d := New(&config.Config{LogFormat: "text"}, Options{Log: io.Discard})
	require.Equal(t, labelsOnly(want), described(d.registry))

	text, err := os.ReadFile("../../docs/monitoring.md")
	require.NoError(t, err)
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(fleet_\\w+)` \\| (\\w+) \\|([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, strings.TrimSpace(row[1]+" "+row[2]+" "+strings.NewReplacer("`", "", " ", "").Replace(row[3])))
	}
	slices.Sort(documented)
	require.Equal(t, want, documented, "docs/monitoring.md, the table of metrics")

	for _, name := range regexp.MustCompile(`\bfleet_\w+`).FindAllString(string(text), -1) {
		require.Contains(t, metrics, "\n"+name+" ", "docs/monitoring.md speaks of a metric that there is none of")
	}

	values := told(t)
	require.Subset(t, want, values)
	require.Len(t, values, len(want)-2, "%v: all but those that tell that etcd's watch lost something", values)
}

// labelsOnly removes the types, which descriptions do not have.
func labelsOnly(list []string) (without []string) {
	for _, line := range list {
		f := append(strings.Fields(line), "")
		without = append(without, f[0]+" "+f[2])
	}
	return without
}

// described returns the name and the labels of each metric, with or without a value.
func described(registry *prometheus.Registry) (list []string) {
	descriptions := make(chan *prometheus.Desc)
	go func() { defer close(descriptions); registry.Describe(descriptions) }()
	pattern := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{(.*?)\}`)
	for desc := range descriptions {
		if m := pattern.FindStringSubmatch(desc.String()); strings.HasPrefix(m[1], "fleet_") { // the rest is from Go and the process collector
			list = append(list, m[1]+" "+m[2])
		}
	}
	slices.Sort(list)
	return list
}

// told returns the metrics gathered after a controller has failed and panicked for a while, and a cache was compared with
// etcd.
func told(t *testing.T) (list []string) {
	synctest.Test(t, func(t *testing.T) {
		d := New(&config.Config{LogFormat: "text"}, Options{Log: io.Discard})
		looks := 0
		loop := controller.New("c", controller.Func[controller.Singleton](func(context.Context, controller.Singleton) (controller.Result, error) {
			if looks++; looks == 1 {
				panic("once")
			}
			return controller.Result{}, errors.New("always")
		}), controller.Options{Metrics: d.metrics})
		reflector := cache.NewReflector(memstore.New(memstore.Options{}), d.keys.Root(), d.caches...)
		cache.Register(reflector, d.keys.Units())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = loop.Run(ctx) })
		running.Go(func() { _ = reflector.Run(ctx) })
		loop.Enqueue(controller.Singleton{})
		time.Sleep(2 * store.CheckEvery)
		synctest.Wait()
		families, err := d.registry.Gather()
		cancel()
		running.Wait()
		require.NoError(t, err)
		for _, f := range families {
			var labels []string
			for _, l := range f.Metric[0].Label {
				labels = append(labels, l.GetName())
			}
			if strings.HasPrefix(f.GetName(), "fleet_") {
				list = append(list, strings.TrimSpace(f.GetName()+" "+strings.ToLower(f.GetType().String())+" "+strings.Join(labels, ",")))
			}
		}
	})
	return list
}
