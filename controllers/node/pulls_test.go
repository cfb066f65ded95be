package node

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	fakeruntime "github.com/fleet-starter/fleet/internal/container/fake"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// puller counts the pulls of a runtime, each of which takes a second.
type puller struct {
	*fakeruntime.Runtime
	mu    sync.Mutex
	pulls []string
	most  int // pulls at once
	now   int
}

// newPuller returns a puller whose machine has these images, as its registry has.
func newPuller(t *testing.T, has ...string) *puller {
	r := &puller{Runtime: &fakeruntime.Runtime{Registry: new(fakeruntime.Registry)}}
	r.Registry.Push(has...)
	for _, name := range has {
		require.NoError(t, r.Runtime.Pull(t.Context(), unitfile.Image{Name: name}, func(string) {}))
	}
	r.PullTakes = time.Second
	return r
}

func (r *puller) Pull(ctx context.Context, image unitfile.Image, progress func(string)) error {
	r.mu.Lock()
	r.pulls = append(r.pulls, image.Name)
	r.now++
	r.most = max(r.most, r.now)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.now--
	}()
	return r.Runtime.Pull(ctx, image, progress)
}

// pulling runs pulls, which are all wanted unless the test says otherwise.
func pulling(t *testing.T, r *puller, test func(p *pulls, wanted map[PullKey]bool)) {
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
	r := newPuller(t)
	pulling(t, r, func(p *pulls, wanted map[PullKey]bool) {
		key := PullKey{Unit: app}
		wanted[key] = true
		begun := time.Now()
		for _, wait := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
			p.begin(key, newImage)
			require.True(t, p.of(wanted)[key].Running)
			time.Sleep(1001 * time.Millisecond)
			is := p.of(wanted)[key]
			require.Contains(t, is.Err, "manifest unknown")
			require.False(t, is.Running)
			require.Equal(t, begun, is.Since)
			require.InDelta(t, wait.Seconds(), time.Until(is.Retry).Seconds(), 0.1)
		}
		r.Registry.Push("reg/web:2")
		p.begin(key, newImage)
		time.Sleep(1001 * time.Millisecond)
		require.Equal(t, Pull{Since: begun, Retry: p.of(wanted)[key].Retry}, p.of(wanted)[key])
	})
}

func TestAnImageThatIsThereIsPulledIfAlways(t *testing.T) {
	r := newPuller(t, "reg/web:2")
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
	r := newPuller(t, "other/web:1")
	pulling(t, r, func(p *pulls, wanted map[PullKey]bool) {
		r.Registry.Break("reg/", fakeruntime.Hangs)
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
	r := newPuller(t, "reg/web:1")
	pulling(t, r, func(p *pulls, wanted map[PullKey]bool) {
		r.Registry.Break("reg/", fakeruntime.Hangs)
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
			return fmt.Sprintf("%s[X-Fleet]\nImage=reg/web:%d\n", stays, version)
		}
		r := newPuller(t)
		r.Registry.Push("reg/web:1", "reg/web:2")
		r.Registry.Break("reg/web:2", fakeruntime.Hangs)
		m := startModel(t, fake.Options{}, func(o *Options) { o.Puller = r })
		second := v1.Preparation{Hash: m.keep(text(2))}
		prepares := func(pl *v1.Placement) { pl.Next = second }

		m.place(app, text(1))
		m.pass(500 * time.Millisecond)
		require.Contains(t, m.told(app).Message, "pulling reg/web:1 since ")
		m.pass(2 * time.Second)
		require.Equal(t, "active", m.told(app).ActiveState)
		require.Zero(t, m.told(app).Prepared)
		invocation := m.told(app).InvocationID

		m.place(app, text(1), prepares)
		m.pass(time.Minute)
		require.Equal(t, v1.PreparedPulling, m.told(app).Prepared.State)
		require.Equal(t, second, m.told(app).Prepared.Preparation)
		require.Contains(t, m.told(app).Prepared.Message, "pulling reg/web:2 since ")
		m.place(app, text(1)) // it is needed no more
		m.pass(time.Second)
		require.Zero(t, m.told(app).Prepared)
		require.Zero(t, r.now)

		r.Registry.Break("reg/web:2", fakeruntime.None)
		m.place(app, text(1), prepares)
		m.pass(3 * time.Second)
		require.Equal(t, v1.PreparedReady, m.told(app).Prepared.State)
		require.Equal(t, invocation, m.told(app).InvocationID, "it has run all the while")
		pulled := len(r.pulls)
		m.place(app, text(2))
		m.pass(500 * time.Millisecond)
		require.Equal(t, second.Hash, m.told(app).Hash)
		require.NotEqual(t, invocation, m.told(app).InvocationID)
		require.Len(t, r.pulls, pulled, "it was prepared")
		m.pass(time.Minute)
		require.NoError(t, m.units.Kill(app))
		m.pass(5 * time.Second)
		require.Len(t, r.pulls, pulled, "what systemd restarts pulls nothing")
	})
}
