package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func TestLogsAreReadOnceForEachFailureAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var read []string
		says := "boom"
		passes := 0
		o := newOutputs(Options{Log: logr.Discard(), Output: func(_ context.Context, unit string, _ time.Time) (string, bool, error) {
			read = append(read, unit)
			return says, true, nil
		}}, func() { passes++ })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { o.run(ctx); close(done) }()
		of := func(id string) Output {
			return o.of(time.Now(), map[string]failure{"a.service": {id: id}})["a.service"]
		}

		require.Equal(t, Output{Pending: true}, of("1"))
		require.Equal(t, Output{Pending: true}, of("1"))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, Output{Text: "boom"}, of("1"))
		require.Len(t, read, 1)
		require.Equal(t, 1, passes)
		for i := range 20 { // it fails every second
			time.Sleep(time.Second)
			require.Equal(t, Output{Text: "boom"}, of(fmt.Sprint("loop", i)))
		}
		require.Len(t, read, 1)
		time.Sleep(outputEvery)
		says = ""
		require.Equal(t, Output{Text: "boom", Pending: true}, of("2"), "what is known goes on until it is read")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, of("2").Text)
		require.Len(t, read, 3, "nothing was found, so once more")
		require.Equal(t, 2, passes, "which was no news")

		require.Empty(t, o.of(time.Now(), nil))
		require.Empty(t, o.known, "of others nothing is kept")
		cancel()
		<-done
	})
}

// A log that has no word of the failure is not all that the unit said.
func TestALogIsReadAgainUntilTheFailureIsInIt(t *testing.T) {
	for name, tc := range map[string]struct {
		logs  []string // what is read each time; the last one has the failure if it ends with a full stop
		reads int
	}{
		"at once":    {[]string{"first, cannot open the database."}, 1},
		"slowly":     {[]string{"", "first", "first, cannot open the database."}, 3},
		"never":      {[]string{"first"}, outputTries},
		"not a word": {[]string{"."}, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			reads := 0
			o := newOutputs(Options{Log: logr.Discard(), Output: func(context.Context, string, time.Time) (string, bool, error) {
				says := tc.logs[min(reads, len(tc.logs)-1)]
				reads++
				text, ended := strings.CutSuffix(says, ".")
				return text, ended, nil
			}}, func() {})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { o.run(ctx); close(done) }()
			of := func() Output { return o.of(time.Now(), map[string]failure{"a.service": {id: "1"}})["a.service"] }
			require.True(t, of().Pending, name)
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, Output{Text: strings.TrimSuffix(tc.logs[len(tc.logs)-1], ".")}, of(), name)
			require.Equal(t, tc.reads, reads, name)
			cancel()
			<-done
		})
	}
}

// A journal that does not answer delays no pass.
func TestSlowLogDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutputs(Options{Log: logr.Discard(), Output: func(ctx context.Context, _ string, _ time.Time) (string, bool, error) {
			<-ctx.Done()
			return "", false, ctx.Err()
		}}, func() {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { o.run(ctx); close(done) }()
		fails := map[string]failure{}
		for i := range 2 * outputQueue {
			fails[fmt.Sprintf("u%d.service", i)] = failure{id: "1"}
		}
		begun := time.Now()
		require.Len(t, o.of(begun, fails), len(fails))
		require.Equal(t, begun, time.Now())
		time.Sleep(outputSettle + outputWithin + time.Millisecond)
		synctest.Wait()
		var ended int
		for _, out := range o.of(time.Now(), fails) {
			if !out.Pending {
				ended++
			}
		}
		require.Positive(t, ended)
		cancel()
		<-done
	})
}

// A unit whose stop failed is started again: that it had failed has no log to be read, so that the log of the start can be read at once.
func TestAFailedStopIsNoFailureOfTheNextStart(t *testing.T) {
	in := Input{
		Now: time.Now(), Units: map[string]SystemdUnit{"a.service": unit("failed", "i1")},
		Placements: map[string]v1.Placement{"a.service": {Hash: "A", DesiredState: v1.Launched, RequestedAt: "2"}},
		Records:    map[string]Record{"a.service": {Loaded: "A", Stopped: true, RequestedAt: "1"}},
	}
	require.Empty(t, failures(in), "stopped, and about to be started")
	in.Units["a.service"] = unit("failed", "i2")
	in.Records["a.service"] = Record{Loaded: "A", Launched: "A", RequestedAt: "2"}
	require.Len(t, failures(in), 1, "started")
}
