package v1

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Update configures roll-outs, restarts and moves: how many instances may be beside and below spec.replicas meanwhile, and when one
// has failed. An instance follows another one when that is active, healthy and announced.
type Update struct {
	// MaxSurge is how many instances are started beside the others, with the lowest free numbers, before one of those is taken
	// away: a number, or a share of replicas such as 25%, rounded up. 0 replaces in place. Default: 1, or 0 where two instances
	// cannot be beside each other (a fixed port, placement.conflicts with itself, a fixed container name).
	MaxSurge *IntOrPercent `json:"maxSurge,omitempty"`
	// MaxUnavailable is how many of spec.replicas may be missing meanwhile: a number, or a share of replicas, rounded down.
	// Default: 0, or 1 where maxSurge is 0.
	MaxUnavailable *IntOrPercent `json:"maxUnavailable,omitempty"`
	// MinReady is how long an unannounced instance must be active without a restart before it counts as ready. Default
	// 5s.
	MinReady Duration `json:"minReady,omitempty"`
	// DrainTimeout is how long requests that are under way may keep an instance that is out of the routers from being stopped, at
	// most 24h. Default 30s.
	DrainTimeout Duration `json:"drainTimeout,omitempty"`
	// HealthyDeadline is how long a new instance may take to become ready before the roll-out counts as stalled. Default
	// 5m.
	HealthyDeadline Duration `json:"healthyDeadline,omitempty"`
	// OnFailure is what happens to a changed manifest whose instances are not ready within healthyDeadline, end again and again
	// (also within healthyDeadline after the roll-out was complete), or whose image cannot be pulled. With pause the roll-out stops
	// there, until the manifest changes; with revert what ran before is rolled out again, and the change is not tried again until
	// the manifest changes. Default pause.
	OnFailure string `json:"onFailure,omitempty"`
	// Canary has a changed manifest tried by some instances first. One that fails, or answers worse than the revision before, is taken
	// back like with onFailure: revert.
	Canary *Canary `json:"canary,omitempty"`
}

// Reverts reports whether a revision that fails is taken back.
func (s *AppSpec) Reverts() bool { return s.Update != nil && s.Update.OnFailure == OnFailureRevert }

// The values of Update.OnFailure.
const (
	OnFailurePause  = "pause"
	OnFailureRevert = "revert"
)

// DefaultDrainTimeout is the value of Update.DrainTimeout where that is not set, MaxDrainTimeout the most that it may be.
const (
	DefaultDrainTimeout = 30 * time.Second
	MaxDrainTimeout     = 24 * time.Hour
)

// IntOrPercent is a number, or a share of another one: 1 or "25%".
type IntOrPercent struct {
	Value   int32
	Percent bool
}

// String writes it as in a manifest.
func (n IntOrPercent) String() string {
	if n.Percent {
		return fmt.Sprintf("%d%%", n.Value)
	}
	return strconv.Itoa(int(n.Value))
}

// MarshalJSON writes a number, or a string with a percent sign.
func (n IntOrPercent) MarshalJSON() ([]byte, error) {
	if n.Percent {
		return json.Marshal(n.String())
	}
	return json.Marshal(n.Value)
}

// UnmarshalJSON reads a whole number, or one with a percent sign.
func (n *IntOrPercent) UnmarshalJSON(data []byte) error {
	text := string(data)
	var s string
	if err := json.Unmarshal(data, &s); err == nil {
		text = s
	}
	digits, percent := strings.CutSuffix(text, "%")
	value, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return fmt.Errorf("%s is not an amount: use a whole number such as 1, or a share such as 25%%", shorten(text, 40))
	}
	*n = IntOrPercent{Value: int32(value), Percent: percent}
	return nil
}

// of is the number of instances that it means. A share is rounded up or down.
func (n IntOrPercent) of(replicas int32, up bool) int32 {
	if !n.Percent {
		return n.Value
	}
	share := int64(n.Value) * int64(replicas)
	if up {
		share += 99
	}
	return int32(share / 100)
}

// Leeway is what a roll-out may do with the instances of an app at once.
type Leeway struct {
	// Surge is how many instances there may be beside spec.replicas, Unavailable how many may be missing. One of them is above 0.
	Surge, Unavailable int32
	// Chosen: the manifest asks for this Unavailable, so it is kept also where no surge finds a machine.
	Chosen bool
	// InPlace is why nothing surges where the manifest does not say so; "" where it does, or where there is a surge.
	InPlace string
}

// Leeway resolves maxSurge and maxUnavailable of the app of that name.
func (s *AppSpec) Leeway(app string) Leeway {
	update := s.Update
	if update == nil {
		update = &Update{}
	}
	l := Leeway{Surge: 1}
	if update.MaxSurge != nil {
		l.Surge = update.MaxSurge.of(s.Instances(), true)
	} else if l.InPlace = s.whyInPlace(app); l.InPlace != "" {
		l.Surge = 0
	}
	if l.Chosen = update.MaxUnavailable != nil; l.Chosen {
		l.Unavailable = update.MaxUnavailable.of(s.Instances(), false)
	}
	if l.Surge == 0 && l.Unavailable == 0 { // also where shares of few replicas are rounded to nothing
		l.Unavailable = 1
	}
	return l
}

// UnavailableOf is on how many machines at once a global app that runs on so many may be away during a roll-out.
func (s *AppSpec) UnavailableOf(machines int) int {
	if s.Update == nil || s.Update.MaxUnavailable == nil {
		return 1
	}
	return max(1, int(s.Update.MaxUnavailable.of(int32(machines), false)))
}

// whyInPlace is why an instance is not started beside another one unless the manifest asks for it; "" if it is.
func (s *AppSpec) whyInPlace(app string) string {
	v := &validator{app: app}
	if why := v.cannotSurge(s); why != "" {
		return why
	}
	switch {
	case v.conflictsWithItself(s):
		return "its instances are in conflict with each other (placement.conflicts)"
	case s.Container != nil && takesPorts(s.Container.Options):
		return "its container takes ports of the machine (container.options)"
	}
	return ""
}

// cannotSurge is why no instance can be started beside another one; "" if it can.
func (v *validator) cannotSurge(s *AppSpec) string {
	fixed := slices.IndexFunc(s.Ports, func(p Port) bool { return !p.HostPort.IsAuto() })
	switch {
	case s.Global:
		return "a global app has one instance on each machine"
	case fixed >= 0:
		return fmt.Sprintf("port %s of the machine is fixed", s.Ports[fixed].HostPort)
	case s.Container != nil && !namesDiffer(s.Container.Name):
		return "all instances have the container name " + s.Container.Name
	case s.Placement != nil:
		for _, unit := range s.Placement.MachineOf {
			if namesNumber(unit) {
				return "each number needs its own " + unit + " (placement.machineOf)"
			}
		}
	}
	return ""
}

// namesDiffer reports whether the containers of two instances have different names.
func namesDiffer(name string) bool { return name == "" || namesNumber(name) }

// namesNumber reports whether a text has a specifier that differs between instances.
func namesNumber(text string) bool {
	return slices.ContainsFunc([]string{"%i", "%I", "%n", "%N"}, func(specifier string) bool { return strings.Contains(text, specifier) })
}

// takesPorts reports whether options of docker run publish ports, or give the container the machine's network.
func takesPorts(options []string) bool {
	for i, option := range options {
		name, value, joined := strings.Cut(option, "=")
		if !joined && i+1 < len(options) {
			value = options[i+1]
		}
		switch name {
		case "-p", "-P", "--publish", "--publish-all":
			return true
		case "--network", "--net":
			if value == "host" {
				return true
			}
		}
	}
	return false
}

// update checks spec.update.
func (v *validator) update(s *AppSpec) {
	u := s.Update
	if u == nil {
		return
	}
	v.positive("spec.update.healthyDeadline", u.HealthyDeadline)
	v.positive("spec.update.minReady", u.MinReady)
	if u.OnFailure != "" {
		v.oneOf("spec.update.onFailure", u.OnFailure, OnFailurePause, OnFailureRevert)
	}
	if u.DrainTimeout != 0 && (u.DrainTimeout < Duration(time.Second) || u.DrainTimeout > Duration(MaxDrainTimeout)) {
		v.add("spec.update.drainTimeout", "%s is out of range: use 1s to 24h", u.DrainTimeout)
	}
	v.canary(s)
	v.amount("spec.update.maxSurge", u.MaxSurge)
	v.amount("spec.update.maxUnavailable", u.MaxUnavailable)
	none := u.MaxUnavailable != nil && u.MaxUnavailable.Value == 0
	switch why := v.cannotSurge(s); {
	case u.MaxSurge != nil && u.MaxSurge.Value > 0 && why != "":
		v.add("spec.update.maxSurge", "no instance can be started beside another one: %s: remove maxSurge, and they are replaced in place", why)
	case none && u.MaxSurge != nil && u.MaxSurge.Value == 0:
		v.add("spec.update.maxUnavailable", "is 0, and so is maxSurge, so nothing could ever be replaced: raise one of the two")
	case none && u.MaxSurge == nil && s.whyInPlace(v.app) != "":
		v.add("spec.update.maxUnavailable", "is 0, but no instance can be started beside another one: %s: remove it, and they are replaced in place", s.whyInPlace(v.app))
	}
}

// amount refuses a number of instances that makes no sense.
func (v *validator) amount(field string, n *IntOrPercent) {
	switch {
	case n == nil:
	case n.Value < 0:
		v.add(field, "%s is negative: use a number of instances such as 1, or a share such as 25%%", n)
	case n.Percent && n.Value > 100:
		v.add(field, "%s is more than all: use at most 100%%", n)
	case n.Value > MaxReplicas:
		v.add(field, "%s is too many: use at most %d", n, MaxReplicas)
	}
}
