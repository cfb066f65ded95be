package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// From the placement in etcd to the state in etcd, including systemd starting the unit.
func BenchmarkPlacementToActive(b *testing.B) {
	for _, units := range []int{1, 33, 100} {
		b.Run(fmt.Sprintf("units=%d", units), func(b *testing.B) {
			l := newLab(b)
			l.begin()
			hash := l.file(sleeper)
			b.StopTimer()
			b.ResetTimer()
			for i := range b.N {
				var on, off []store.Op
				var names []string
				for u := range units {
					name := fmt.Sprintf("b%d-%d.service", i, u)
					names = append(names, name)
					on = append(on, placement(b, name, v1.Placement{Hash: hash, DesiredState: v1.Launched}))
					off = append(off, placement(b, name, v1.Placement{}))
				}
				b.StartTimer()
				l.commit(on...)
				for _, name := range names {
					l.awaitActive(name)
				}
				b.StopTimer()
				l.commit(off...)
				for _, name := range names {
					l.awaitGone(name)
				}
			}
		})
	}
}

// For comparison: the unit file already exists.
func BenchmarkSystemctlStart(b *testing.B) {
	l := newLab(b)
	l.begin()
	dir := filepath.Join(l.machine.XDGRuntimeDir(), "systemd/user")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ResetTimer()
	for i := range b.N {
		name := fmt.Sprintf("b%d.service", i)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(sleeper), 0o644); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		l.systemctl("start", name)
		b.StopTimer()
		l.systemctl("stop", name)
	}
}
