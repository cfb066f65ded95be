package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// registry is a puller: each pull does what is said of its image, and takes a second.
type registry struct {
	mu      sync.Mutex
	present map[string]bool
	hangs   map[string]bool
	fails   map[string]string
	pulls   []string
	at      []time.Time
	most    int // pulls at once
	now     int
}

func (r *registry) Present(_ context.Context, image unitfile.Image) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.present[image.Name]
}

func (r *registry) Pull(ctx context.Context, image unitfile.Image, progress func(string)) error {
	r.mu.Lock()
	r.pulls, r.at = append(r.pulls, image.Name), append(r.at, time.Now())
	r.now++
	r.most = max(r.most, r.now)
	hangs, fails := r.hangs[image.Name], r.fails[image.Name]
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.now--
	}()
	progress("0 of 1 layers")
	if hangs {
		<-ctx.Done()
		return errors.New("signal: terminated")
	}
	time.Sleep(time.Second)
	if fails != "" {
		return errors.New(fails)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.present == nil {
		r.present = map[string]bool{}
	}
	r.present[image.Name] = true
	return nil
}

// pulling runs pulls, which are all wanted unless the test says otherwise.
func pulling(t *testing.T, r *registry, test func(p *pulls, wanted map[PullKey]bool)) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulls(Options{Log: logr.Discard(), Puller: r}, func() {})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.run(ctx) })
		test(p, map[PullKey]bool{})
		cancel()
		running.Wait()
	})
}

func TestAPullThatFailsIsTriedAgainLater(t *testing.T) {
	r := &registry{fails: map[string]string{"reg/web:2": "manifest unknown"}}
	pulling(t, r, func(p *pulls, wanted map[PullKey]bool) {
		key := PullKey{Unit: app}
		wanted[key] = true
		begun := time.Now()
		for _, wait := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
			p.begin(key, newImage)
			require.True(t, p.of(wanted)[key].Running)
			time.Sleep(1001 * time.Millisecond)
			is := p.of(wanted)[key]
			require.Equal(t, "manifest unknown", is.Err)
			require.False(t, is.Running)
			require.Equal(t, begun, is.Since)
			require.InDelta(t, wait.Seconds(), time.Until(is.Retry).Seconds(), 0.1)
		}
		r.fails = nil
		p.begin(key, newImage)
		time.Sleep(1001 * time.Millisecond)
		require.Equal(t, Pull{Since: begun, Retry: p.of(wanted)[key].Retry}, p.of(wanted)[key])
	})
}

func TestAnImageThatIsThereIsPulledIfAlways(t *testing.T) {
	r := &registry{present: map[string]bool{"reg/web:2": true}}
	pulling(t, r, func(p *pulls, wanted map[PullKey]bool) {
		missing := newImage
		missing.Always = false
		for n, image := range []unitfile.Image{missing, newImage} {
			key := PullKey{Unit: fmt.Sprint(n)}
			wanted[key] = true
			p.begin(key, image)
		}
		time.Sleep(2 * time.Second)
		for key, is := range p.of(wanted) {
			require.False(t, is.Running, key)
			require.True(t, is.Present, key)
		}
		require.Equal(t, []string{"reg/web:2"}, r.pulls)
	})
}

// A registry that hangs is asked a few times at once, and delays no other one.
func TestARegistryThatHangsDelaysNoOther(t *testing.T) {
	r := &registry{hangs: map[string]bool{"reg/web:2": true}, present: map[string]bool{"other/web:1": true}}
	pulling(t, r, func(p *pulls, wanted map[PullKey]bool) {
		for n := range 10 {
			key := PullKey{Unit: fmt.Sprint(n)}
			wanted[key] = true
			p.begin(key, newImage)
		}
		time.Sleep(time.Second)
		other := PullKey{Unit: "other"}
		wanted[other] = true
		p.begin(other, unitfile.Image{Runtime: "docker", Name: "other/web:1", Always: true})
		time.Sleep(2 * time.Second)
		require.False(t, p.of(wanted)[other].Running)
		require.Equal(t, pullsAtOnce, r.now)

		delete(wanted, PullKey{Unit: "0"})
		for n := range 10 { // what is not wanted any more is given up
			delete(wanted, PullKey{Unit: fmt.Sprint(n)})
		}
		p.of(wanted)
		require.Len(t, p.known, 1, "the other one")
		time.Sleep(time.Second)
		require.Zero(t, r.now)
	})
	require.Equal(t, pullsAtOnce+1, r.most)
}

func TestAPullThatHangsEnds(t *testing.T) {
	r := &registry{hangs: map[string]bool{"reg/web:2": true, "reg/web:1": true}, present: map[string]bool{"reg/web:1": true}}
	pulling(t, r, func(p *pulls, wanted map[PullKey]bool) {
		absent, present := PullKey{Unit: "absent"}, PullKey{Unit: "present"}
		wanted[absent], wanted[present] = true, true
		p.begin(absent, newImage)
		p.begin(present, oldImage)
		time.Sleep(pullWithinIfPresent + time.Second)
		require.Equal(t, "docker pull has not ended within 10m0s", p.of(wanted)[present].Err)
		require.True(t, p.of(wanted)[absent].Running)
		require.Equal(t, "0 of 1 layers", p.of(wanted)[absent].Progress)
		time.Sleep(pullWithin - pullWithinIfPresent)
		require.Equal(t, "docker pull has not ended within 30m0s", p.of(wanted)[absent].Err)
	})
}

// A machine pulls what it is asked to prepare while the unit runs on, and restarts it at once when it is placed.
func TestNextStartIsPrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := func(version int) string {
			return fmt.Sprintf("[Service]\nExecStart=/bin/stays\n[X-Fleet]\nImage=reg/web:%d\n", version)
		}
		dir, keys, s := t.TempDir(), keyspace.New(""), memstore.New(memstore.Options{})
		l := layout.Layout{State: dir + "/state", Runtime: dir + "/run", Units: dir + "/run/units", Shared: dir + "/run"}
		conn := s.Connect()
		put := func(key, value string) {
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
			require.NoError(t, err)
		}
		for version := range 3 {
			put(keys.UnitFiles().Key(unitfile.Hash(text(version))), text(version))
		}
		place := func(pl v1.Placement) {
			value, err := keys.PlacementsOf("m1").Encode(pl)
			require.NoError(t, err)
			put(keys.PlacementsOf("m1").Key(app), string(value))
		}
		state := func() v1.UnitState {
			kv, ok, _, err := conn.Get(t.Context(), keys.StatesOf("m1").Key(app))
			require.NoError(t, err)
			require.True(t, ok)
			state, err := keys.StatesOf("m1").Decode(kv.Value)
			require.NoError(t, err)
			return state
		}
		r := &registry{hangs: map[string]bool{"reg/web:2": true}}
		manager := fake.New(fake.Options{ReadFile: func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(l.Units, filepath.Base(path))) }})
		ctx, cancel := context.WithCancel(t.Context())
		n, err := New(Options{Machine: "m1", Keys: keys, Store: conn, Systemd: manager, Layout: l, Log: logr.Discard(), Puller: r})
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		pass := func(d time.Duration) {
			for ; d > 0; d -= 100 * time.Millisecond {
				manager.Advance(100 * time.Millisecond)
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait()
		}

		first := v1.Placement{Hash: unitfile.Hash(text(1)), DesiredState: v1.Launched}
		place(first)
		pass(500 * time.Millisecond)
		require.Contains(t, state().Message, "pulling reg/web:1 since ")
		pass(2 * time.Second)
		require.Equal(t, "active", state().ActiveState)
		require.Zero(t, state().Prepared)
		invocation := state().InvocationID

		second := v1.Preparation{Hash: unitfile.Hash(text(2))}
		asks := first
		asks.Next = second
		place(asks)
		pass(time.Minute)
		require.Equal(t, v1.PreparedPulling, state().Prepared.State)
		require.Equal(t, second, state().Prepared.Preparation)
		require.Contains(t, state().Prepared.Message, "pulling reg/web:2 since ")
		place(first) // it is needed no more
		pass(time.Second)
		require.Zero(t, state().Prepared)
		require.Zero(t, r.now)

		r.hangs = nil
		place(asks)
		pass(3 * time.Second)
		require.Equal(t, v1.PreparedReady, state().Prepared.State)
		require.Equal(t, invocation, state().InvocationID, "it has run all the while")
		pulled := len(r.pulls)
		place(v1.Placement{Hash: second.Hash, DesiredState: v1.Launched})
		pass(500 * time.Millisecond)
		require.Equal(t, second.Hash, state().Hash)
		require.NotEqual(t, invocation, state().InvocationID)
		require.Len(t, r.pulls, pulled, "it was prepared")
		pass(time.Minute)
		require.NoError(t, manager.Kill(app))
		pass(5 * time.Second)
		require.Len(t, r.pulls, pulled, "what systemd restarts pulls nothing")

		cancel()
		require.NoError(t, <-done)
	})
}
