package sim

import (
	"maps"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// crowd is an app with so many instances that their units come in a burst (controllers/schedule waits until it is complete).
const crowd = "crowd"

// Many changes at once, as from a script or git.
func init() {
	maps.Copy(people, map[string]func(w *world, s step){
		"burst": func(w *world, s step) {
			w.put(w.keys.Apps().Key(crowd), manifest(crowd, 100+s.B%20, 0, 0))
			for i, app := range apps {
				w.put(w.keys.Apps().Key(app), manifest(app, (s.B+uint64(i))%5, (s.C+uint64(i))%4, s.C/4))
			}
			for i, u := range handMade {
				if _, again := fails(u.name); again {
					continue
				}
				w.submit(uint64(i), v1.Launched, "")
			}
		},
		"burst over": func(w *world, s step) {
			w.put(w.keys.Apps().Key(crowd), manifest(crowd, s.B%4, 0, 0))
			if s.C%2 == 0 { // all of it
				for _, app := range append([]string{crowd}, apps...) {
					w.write(store.Op{Key: w.keys.Apps().Key(app)})
				}
				for _, u := range handMade {
					w.write(store.Op{Key: w.keys.Units().Key(u.name)})
				}
				return
			}
			for n := range int32(4) {
				w.put(w.keys.Overrides().Key(v1.AppUnit(crowd, n+1)), string(encode(v1.Override{DesiredState: v1.Launched, RequestedAt: time.Now().Format(time.RFC3339Nano)})))
			}
		},
	})
}
