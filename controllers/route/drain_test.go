package route

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// Load balancers leave a machine while it is drained. Cordon alone changes nothing, nor does another machine's drain, what is
// unreadable, or etcd's absence.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &router{t: t, store: memstore.New(memstore.Options{}), keys: keyspace.New("")}
		conn := r.store.Connect()
		var told []bool
		fails := 0
		d := Drain{Store: conn, Keys: r.keys, Machine: "m1", Log: logr.Discard(), Set: func(draining bool) error {
			if fails > 0 {
				fails--
				return errors.New("no space left on device")
			}
			told = append(told, draining)
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.Run(ctx) }()
		key := r.keys.MachineConfigs().Key("m1")
		tells := func(want []bool, message string) {
			t.Helper()
			time.Sleep(20 * time.Second)
			synctest.Wait()
			require.Equal(t, want, told, message)
			told = nil
		}
		tells([]bool{false}, "there is no configuration")
		r.put(key, `{"cordoned": true}`)
		r.put(key+"1", `{"drain": true}`)
		tells(nil, "cordoned, and another machine drained")
		r.put(key, `{"cordoned": true, "drain": true}`)
		tells([]bool{true}, "drained")
		r.put(key, `{"drain": `)
		tells(nil, "unreadable")
		conn.SetDown(true)
		r.put(key, "")
		tells(nil, "etcd is away")
		fails = 2
		conn.SetDown(false)
		tells([]bool{false}, "uncordoned, and the disk was full")
		cancel()
		<-done
	})
}

// A drained machine that reboots while etcd is away tells load balancers so before it asks etcd. When it is uncordoned that is
// forgotten, too.
func TestDrainOverAReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &router{t: t, store: memstore.New(memstore.Options{}), keys: keyspace.New("")}
		conn, key := r.store.Connect(), r.keys.MachineConfigs().Key("m1")
		file := filepath.Join(t.TempDir(), "state", "router.json.draining")
		// boots runs a router for a minute, and returns what load balancers are told at first and in the end.
		boots := func() (first, last bool) {
			told := false
			d := Drain{Store: conn, Keys: r.keys, Machine: "m1", Log: logr.Discard(), StateFile: file, Set: func(draining bool) error {
				told = draining
				return nil
			}}
			require.NoError(t, d.Restore())
			first = told
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			d.Run(ctx)
			return first, told
		}
		told := func(first, last bool, message string) {
			t.Helper()
			isFirst, isLast := boots()
			require.Equal(t, []bool{first, last}, []bool{isFirst, isLast}, message)
		}
		conn.SetDown(true)
		told(false, false, "nothing is known of it")
		conn.SetDown(false)
		r.put(key, `{"cordoned": true, "drain": true}`)
		told(false, true, "etcd says that it is drained")
		conn.SetDown(true)
		told(true, true, "etcd is away")
		r.put(key, "")
		told(true, true, "it was uncordoned meanwhile, which it cannot know")
		conn.SetDown(false)
		told(true, false, "etcd says that it is not")
		conn.SetDown(true)
		told(false, false, "which is remembered")
	})
}

// A disk that is full keeps no machine from telling load balancers, and the rest is tried again.
func TestDrainThatCannotBeRemembered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "router.json.draining")
	told := []bool{}
	d := Drain{Keys: keyspace.New(""), Machine: "m1", Log: logr.Discard(), StateFile: filepath.Join(file, "x"), Set: func(draining bool) error {
		told = append(told, draining)
		return nil
	}}
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	var set *bool
	require.Error(t, d.apply([]byte(`{"drain": true}`), true, &set))
	require.Equal(t, []bool{true}, told)
	require.Nil(t, set)
	require.NoError(t, os.Remove(file))
	require.NoError(t, d.apply([]byte(`{"drain": true}`), true, &set))
	require.True(t, *set)
	require.FileExists(t, d.StateFile)
}
