package node

import (
	"context"
	"maps"
	"sync/atomic"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// preparing holds what the machine is to prepare before units are moved to it.
type preparing struct {
	reflector *cache.Reflector
	asked     *cache.Collection[v1.Next]
	synced    atomic.Bool
}

func newPreparing(n *Node) *preparing {
	p, row := &preparing{}, n.Keys.PreparationsOf(n.Machine)
	relisted := func(int64) {
		p.synced.Store(true)
		n.enqueue()
	}
	p.reflector = cache.NewReflector(n.Store, row.Prefix(),
		append([]cache.Option{cache.WithLogger(n.Log), cache.OnRelist(relisted), cache.OnIgnored(n.Ignored)}, n.Caches...)...)
	p.asked = cache.Register(p.reflector, row)
	p.asked.OnChange(func([]cache.Event[v1.Next]) { n.changed() })
	return p
}

func (p *preparing) run(ctx context.Context) { _ = p.reflector.Run(ctx) } // ends with ctx

// view returns the starts to prepare by unit; nil if they are not known yet.
func (p *preparing) view() map[string]v1.Preparation {
	if !p.synced.Load() {
		return nil
	}
	asked := map[string]v1.Preparation{}
	for _, o := range p.asked.List() {
		if _, err := unitfile.ParseName(o.Name); err == nil && o.Err == nil {
			asked[o.Name] = o.Value.Preparation
		}
	}
	return asked
}

// withPreparations returns what the machine needs texts and images for: the placements, and the starts to prepare as the next
// ones of placements that name no file yet.
func withPreparations(in Input) map[string]v1.Placement {
	if len(in.Preparations) == 0 {
		return in.Placements
	}
	all := maps.Clone(in.Placements)
	for name, start := range in.Preparations {
		if _, placed := all[name]; !placed {
			all[name] = v1.Placement{DesiredState: v1.Inactive, Next: start}
		}
	}
	return all
}
