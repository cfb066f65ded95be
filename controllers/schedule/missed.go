package schedule

import (
	"maps"
	"slices"
	"time"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// Absences is what a scheduler knows that is stored nowhere: since when machines are missed. One that begins without it gives those that
// it finds missing their time anew.
type Absences struct {
	Missed      []Missed
	Frozen      bool
	FrozenSince time.Time
}

// Missed is a machine that is missed: it has units, or had them a moment ago.
type Missed struct {
	Machine string
	// Since is when the first plan noticed. Seen: it was present before, while this scheduler led. Lost: see index.Machine.
	Since      time.Time
	Seen, Lost bool
}

// Absences returns what the controller knew after its last plan. It may be called from any goroutine.
func (c *Controller) Absences() Absences {
	c.remembered.Lock()
	defer c.remembered.Unlock()
	return c.absences
}

// remember keeps what the index knows.
func (c *Controller) remember() {
	m := remembered(c.index)
	m.FrozenSince = c.frozenSince
	c.remembered.Lock()
	defer c.remembered.Unlock()
	c.absences = m
}

func remembered(x *index.Index) Absences {
	m := Absences{Frozen: x.Frozen()}
	for _, absent := range slices.SortedFunc(maps.Keys(x.Absent()), index.ByID) {
		if absent.RunsUnits() || absent.Lost {
			m.Missed = append(m.Missed, Missed{absent.ID, absent.Gone, absent.Seen, absent.Lost})
		}
	}
	return m
}

// recall gives an index that knows only what is stored what another one remembers.
func (m Absences) recall(x *index.Index) {
	for _, missed := range m.Missed {
		x.Recall(missed.Machine, missed.Since, missed.Seen, missed.Lost)
	}
	x.Refreeze(m.Frozen)
}

// IDs are those of the machines.
func (m Absences) IDs() (ids []string) {
	for _, missed := range m.Missed {
		ids = append(ids, missed.Machine)
	}
	return ids
}
