package node

import (
	"fmt"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// fleetd pulls the image of a unit before it starts the unit or gives it another file, and before the app controller takes
// anything away from an instance that runs. Meanwhile what runs goes on. systemd's own restarts pull nothing: they start what
// is on the machine.

// launchPatience is how long a unit that does not run waits for a pull if the machine has an image of that name.
const launchPatience = time.Minute

// Images are the images that a unit's file and the file of its next start name.
type Images struct{ Now, Next unitfile.Image }

// PullKey names the start that an image is pulled for.
type PullKey struct {
	Unit string
	v1.Preparation
}

// Pull is how far the pull of an image is. The zero value of all but Since is an image that was pulled.
type Pull struct {
	// Since is when it was first asked for.
	Since time.Time
	// Running: it is being pulled, or waits for its turn. Progress is what the runtime says of it.
	Running  bool
	Progress string
	// Present: the machine had an image of that name before.
	Present bool
	// Err is why the last try failed, in the runtime's words; Retry is when to try again.
	Err   string
	Retry time.Time
}

// keyOf is the start that a placement asks for.
func keyOf(name string, pl v1.Placement) PullKey {
	return PullKey{name, v1.Preparation{Hash: pl.Hash, RequestedAt: pl.RequestedAt}}
}

// prepare prepares the next start of a unit that goes on as it is, here or on the machine from which it is about to be moved
// here.
func (p *planner) prepare(name string, next v1.Preparation) {
	if next == (v1.Preparation{}) || !p.in.FromStore {
		return
	}
	if !p.in.StatesRead { // an earlier fleetd may have prepared it
		p.unknownYet[name] = true
		return
	}
	if missing := p.in.Texts[next.Hash].Missing; missing != "" {
		p.prepared[name] = v1.Prepared{Preparation: next, State: v1.PreparedFailed, Message: missing}
		return
	}
	p.prepared[name] = p.pull(PullKey{name, next}, p.in.Images[name].Next, 0)
}

// waitsForImage is why a unit cannot be started yet, because of its image; "" if it can be.
func (p *planner) waitsForImage(name string, pl v1.Placement, rec Record, unit SystemdUnit) string {
	if p.booting(name, pl, rec) {
		return ""
	}
	patience := launchPatience
	if unit.active() {
		patience = 0 // what runs goes on
	}
	is := p.pull(keyOf(name, pl), p.in.Images[name].Now, patience)
	if is.State == v1.PreparedReady {
		return ""
	}
	p.waiting[name] = is.Message
	if pl.Next == (v1.Preparation{}) {
		is.Message = "" // the unit's message says it
		p.prepared[name] = is
	}
	return p.waiting[name]
}

// booting reports whether the machine has booted and this is the start that it had made before: it starts what it has, as
// systemd would.
func (p *planner) booting(name string, pl v1.Placement, rec Record) bool {
	had, ok := p.in.Booted[name]
	return ok && keyOf(name, had) == keyOf(name, pl) && had.DesiredState == v1.Launched && rec.Launched == "" && !rec.Stopped
}

// pull brings an image to the machine, and says how far that is. With patience the image that the machine has will do when
// that has passed; 0 means none.
func (p *planner) pull(key PullKey, image unitfile.Image, patience time.Duration) v1.Prepared {
	is, known := p.pulls[key]
	if known {
		return is
	}
	is = p.pulling(key, image, patience)
	is.Preparation = key.Preparation
	p.pulls[key] = is
	if told := p.in.States[key.Unit].Prepared; is.Message != "" && is.State != v1.PreparedPulling && (told.Preparation != is.Preparation || told.State != is.State) {
		p.act(Action{Kind: Tell, Unit: key.Unit, Reason: PullFailed, Event: v1.Event{
			Kind: v1.KindUnit, Name: key.Unit, Type: v1.EventWarning, Reason: PullFailed, Message: is.Message,
		}})
	}
	return is
}

func (p *planner) pulling(key PullKey, image unitfile.Image, patience time.Duration) v1.Prepared {
	got, asked := p.in.Pulls[key]
	is := v1.Prepared{State: v1.PreparedReady, Since: got.Since}
	switch told := p.in.States[key.Unit].Prepared; {
	case image.Name == "" || p.in.NoPulls:
	case !asked && told.Preparation == key.Preparation && told.State == v1.PreparedReady: // by a fleetd that has ended since
		return told
	case !asked:
		p.act(Action{Kind: PullImage, Unit: key.Unit, Pull: key, Image: image, Reason: ImageWanted})
		is.State, is.Since = v1.PreparedPulling, p.in.Now
		is.Message = got.progress(image, p.in.Now)
	case got.Running && got.Present && patience > 0:
		left := got.Since.Add(patience).Sub(p.in.Now)
		if left > 0 {
			p.lookAgain(left)
			is.State, is.Message = v1.PreparedPulling, got.progress(image, got.Since)
			break
		}
		is.Message = fmt.Sprintf("%s is not pulled after %s: the image of that name that the machine has is used", image.Name, patience)
	case got.Running && got.Err == "":
		is.State, is.Message = v1.PreparedPulling, got.progress(image, got.Since)
	case got.Err == "":
	case got.Present:
		is.Message = fmt.Sprintf("cannot pull %s: %s: the image of that name that the machine has is used", image.Name, got.Err)
	default:
		is.State, is.Message = v1.PreparedFailed, fmt.Sprintf("cannot pull %s: %s", image.Name, got.Err)
		switch left := got.Retry.Sub(p.in.Now); {
		case got.Running:
		case left > 0:
			p.lookAgain(left)
		default:
			p.act(Action{Kind: PullImage, Unit: key.Unit, Pull: key, Image: image, Reason: ImageWanted})
		}
	}
	return is
}

func (g Pull) progress(image unitfile.Image, since time.Time) string {
	text := fmt.Sprintf("pulling %s since %s", image.Name, since.UTC().Format(time.RFC3339))
	if g.Progress != "" {
		text += " (" + g.Progress + ")"
	}
	return text
}

// pullsOf returns the starts that images are pulled for: what is pulled for others is given up.
func pullsOf(placements map[string]v1.Placement) map[PullKey]bool {
	wanted := make(map[PullKey]bool, len(placements))
	for name, pl := range placements {
		wanted[keyOf(name, pl)] = true
		if pl.Next != (v1.Preparation{}) {
			wanted[PullKey{name, pl.Next}] = true
		}
	}
	return wanted
}
