package route

import (
	"context"
	"errors"
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
