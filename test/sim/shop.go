package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// shop is an app with everything that a manifest may ask of a roll-out: a port that is assigned, instances beside the others, a
// canary, a release command or both, and a version that is taken back. Its steps are drawn separately, like the rare ones.
const shop = "shop"

// withShop: one in so many plans has a shop.
const withShop = 2

// worseFlag is what a version's command line has if it answers each request with 500; failsFlag is that of a release command that
// ends with 1.
const (
	worseFlag = "--worse"
	failsFlag = "--fails"
)

// How long the release command runs, and how long requests to a withdrawn instance are waited for.
const (
	migrates     = 4 * time.Second
	drainTimeout = 8 * time.Second
)

// What changes between two versions of the shop.
const (
	changePlain = iota
	changeCanary
	changeWorse
	changeRelease
	changeReleaseFails
	changeReverts       // a version that fails while something breaks is taken back
	changeReleaseCanary // first the command, then the canary
	changes
)

// shopManifest is one of many versions.
func shopManifest(replicas, version, change uint64) string {
	name := strings.Repeat("v", int(version)+1)
	command, further, update := "--version="+name, "", ""
	switch change {
	case changeWorse:
		command += "\", \"" + worseFlag
		fallthrough
	case changeCanary:
		update = ", canary: {requests: 20, timeout: 1m}"
		if version%2 == 1 {
			update = ", canary: {requests: 20, timeout: 1m, weight: 30%}"
		}
	case changeReverts:
		update = ", onFailure: revert"
	case changeReleaseCanary:
		update = ", canary: {requests: 20, timeout: 1m}"
		further = fmt.Sprintf("  release: {command: [/bin/migrate, %s], timeout: 30s}\n", name)
	case changeReleaseFails:
		further = fmt.Sprintf("  release: {command: [/bin/migrate, %s, %q], timeout: 30s}\n", name, failsFlag)
	case changeRelease:
		further = fmt.Sprintf("  release: {command: [/bin/migrate, %s], timeout: 30s}\n", name)
	}
	return fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: %s}\nspec:\n  replicas: %d\n  exec: {command: [/bin/shop, \"%s\"]}\n"+
		"  ports: [{name: http, hostPort: auto}]\n  announce: {port: http, ttl: 10s}\n"+
		"  healthCheck: {http: {path: /}, interval: 1s, timeout: 1s, unhealthyThreshold: 2}\n"+
		"  update: {maxSurge: 1, maxUnavailable: 0, healthyDeadline: 40s, drainTimeout: %s%s}\n%s", shop, replicas, command, drainTimeout, update, further)
}

// drawShop adds the shop and its steps to some plans.
func (p *Plan) drawShop(length time.Duration) {
	r := rand.New(rand.NewPCG(p.Seed, 733))
	if r.IntN(withShop) != 0 {
		return
	}
	add := func(at time.Duration, do string, kind uint64) {
		p.Steps = append(p.Steps, step{At: at, Do: do, A: r.Uint64() >> 8, B: kind, C: r.Uint64() >> 8})
	}
	at := 2*time.Second + time.Duration(r.Int64N(int64(4*time.Second)))
	add(at, "apply shop", changePlain)
	for range 4 + r.IntN(4) {
		at += 12*time.Second + time.Duration(r.Int64N(int64(length/3)))
		switch do := []string{"apply shop", "apply shop", "apply shop", "restart shop", "drain shop", "delete shop"}[r.IntN(6)]; {
		case do == "drain shop":
			add(at, do, 0)
			add(at+lasts(r), "undrain", 0)
		case do == "delete shop" && r.IntN(2) == 0:
			add(at, do, 0)
			add(at+lasts(r), "apply shop", r.Uint64N(changes))
		case do == "restart shop":
			add(at, do, r.Uint64()>>8)
		default:
			add(at, "apply shop", r.Uint64N(changes))
		}
	}
}

func init() {
	maps.Copy(people, map[string]func(w *world, s step){
		"apply shop": func(w *world, s step) {
			w.put(w.keys.Apps().Key(shop), shopManifest(1+s.A%2, s.C%4, s.B%changes))
		},
		"delete shop": func(w *world, _ step) { w.write(store.Op{Key: w.keys.Apps().Key(shop)}) },
		"restart shop": func(w *world, s step) {
			wish := v1.Override{DesiredState: v1.Launched, RequestedAt: time.Now().Format(time.RFC3339Nano), Restart: true}
			if unit := v1.AppUnit(shop, int32(1+s.B%2)); w.check.knows(unit) {
				w.put(w.keys.Overrides().Key(unit), string(encode(wish)))
			}
		},
		"drain shop": func(w *world, s step) { // a machine that has an instance
			hosts := slices.DeleteFunc(slices.Clone(w.hosts[:w.machines]), func(h *host) bool {
				return !slices.ContainsFunc(h.units(), func(unit string) bool { return appOf(unit) == shop })
			})
			if len(hosts) > 0 {
				w.put(w.keys.MachineConfigs().Key(hosts[s.A%uint64(len(hosts))].id), string(encode(v1.MachineConfig{Drain: true})))
			}
		},
	})
}
