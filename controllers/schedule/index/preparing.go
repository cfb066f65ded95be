package index

import (
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Preparing is a stored preparation: a machine is asked to prepare a unit's start before the unit is moved there.
type Preparing struct {
	Machine string
	Next    v1.Next
	Mod     int64
	// Prepared is what the machine reports of the unit. It answers Next if it names the same start.
	Prepared v1.Prepared
}

// Answer is how far the machine is; ok is false if it has not answered.
func (p *Preparing) Answer() (is v1.Prepared, ok bool) {
	return p.Prepared, p.Prepared.Preparation == p.Next.Preparation && p.Prepared.State != ""
}

// SetPreparing adds or updates a stored preparation.
func (x *Index) SetPreparing(unit string, p Preparing) {
	u := x.unit(unit)
	x.touch(u)
	if old := u.PreparingOn(p.Machine); old != nil {
		*old = p
		return
	}
	u.Preparing = append(u.Preparing, &p)
	slices.SortFunc(u.Preparing, func(a, b *Preparing) int { return strings.Compare(a.Machine, b.Machine) })
}

// DeletePreparing removes a preparation. Another unit of the family may have its turn.
func (x *Index) DeletePreparing(machine, unit string) {
	u := x.units[unit]
	if u == nil || u.PreparingOn(machine) == nil {
		return
	}
	u.Preparing = slices.DeleteFunc(u.Preparing, func(p *Preparing) bool { return p.Machine == machine })
	x.touch(u)
	x.wake |= ForDrain
	x.forgetUnit(u)
}

// SetPrepared records what a machine reports of a preparation. What it says while it pulls is for people.
func (x *Index) SetPrepared(machine, unit string, is v1.Prepared) {
	u := x.units[unit]
	if u == nil {
		return
	}
	if p := u.PreparingOn(machine); p != nil {
		if p.Prepared.State != is.State || p.Prepared.Preparation != is.Preparation {
			x.touch(u)
		}
		p.Prepared = is
	}
}

// PreparingOn returns the unit's preparation on a machine; nil if there is none.
func (u *Unit) PreparingOn(machine string) *Preparing {
	for _, p := range u.Preparing {
		if p.Machine == machine {
			return p
		}
	}
	return nil
}
