package sim

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Events are checked against writes, in both directions: what an event reports has happened, and what happened has an event.

// toldIn is how long the writer of a change may take to write its event, if nothing hinders it.
const toldIn = time.Minute

// repeatedIn is how long a repeated event is not written again, see events.Options.
const repeatedIn = 10 * time.Minute

// happening is something that a leader did and has to report.
type happening struct {
	at   time.Time
	by   *process
	name string
	// oneOf are the possible messages, up to a following ": ".
	oneOf []string
}

func (h happening) is(e *v1.Event) bool {
	return e.Name == h.name && slices.ContainsFunc(h.oneOf, func(begin string) bool { return strings.HasPrefix(e.Message, begin) })
}

// tellers is what a checker remembers of what happened, and of what was reported.
type tellers struct {
	// happened is everything that happened, in this file's words.
	happened map[string]bool
	untold   []happening
	recorded map[*process][]v1.Event
}

func newTellers() tellers {
	return tellers{happened: map[string]bool{}, recorded: map[*process][]v1.Event{}}
}

// happen records what a revision does, before it is applied.
func (c *checker) happen(events []store.Event, by writer) {
	for _, e := range events {
		row, name, _ := strings.Cut(c.w.short(e.Key), "/")
		_, had := c.kv[e.Key]
		switch {
		case by.process == nil:
		case by.process.kind == kindPerson && !e.Deleted:
			c.happened["key "+e.Key] = true
		case by.part == "collect" && e.Deleted:
			c.happened["collected "+e.Key] = true
		}
		switch {
		case row == "units" && !e.Deleted:
			c.unitHappens(name, e)
		case row == "revisions" && !e.Deleted:
			c.revisionHappens(name, e, by, had)
		case row == "apps" && by.part == "source":
			c.happened["source app/"+name] = true
		case row == "placements":
			c.placementHappens(name, e, by, had)
		case row == "unplaced" && !e.Deleted:
			said, err := c.keys.Unplaced().Decode(e.Value)
			if err == nil {
				c.happened["unplaced "+name+" "+said.Message] = true
				c.expect(by, name, said.Message)
			}
		case row == "events" && !e.Deleted && by.process != nil && by.process.kind != kindPerson:
			c.eventHappens(e, by.process)
		}
	}
}

// expect records that the writer has to report an event.
func (c *checker) expect(by writer, name string, oneOf ...string) {
	if by.process != nil && by.process.kind == kindFleetd {
		c.untold = append(c.untold, happening{time.Now(), by.process, name, oneOf})
	}
}

func (c *checker) unitHappens(name string, e store.Event) {
	unit, err := c.keys.Units().Decode(e.Value)
	if err != nil {
		return
	}
	rollout := v1.RolloutOf(&unit, nil)
	if rollout.UnderWay() {
		c.happened["touched "+name] = true
	}
	if unit.Next != (v1.Next{}) {
		c.happened["next "+name] = true
	}
	if from := rollout.From; from != "" {
		c.happened["to leave "+name+" "+from] = true
	}
}

func (c *checker) revisionHappens(name string, e store.Event, by writer, had bool) {
	revision, err := c.keys.Revisions().Decode(e.Value)
	app, _, ok := strings.Cut(name, "/")
	if err != nil || !ok {
		return
	}
	c.happened[fmt.Sprintf("revision %s %d", app, revision.Number)] = true
	before := c.latest(app)
	again := before != nil && before.ManifestRevision == revision.ManifestRevision // with the lost files, nothing else
	accepted := []string{fmt.Sprintf("revision %d accepted", revision.Number)}
	if before != nil && v1.SameSpec(&before.Spec, &revision.Spec) { // unless what runs is of an earlier revision
		accepted = append(accepted, fmt.Sprintf("revision %d: only the text of the manifest has changed", revision.Number))
	}
	if !had && !again {
		c.expect(by, app, accepted...)
	}
}

func (c *checker) placementHappens(name string, e store.Event, by writer, had bool) {
	machine, unit, ok := keyspace.Split(name)
	switch {
	case !ok || had != e.Deleted: // an update, or nothing
	case e.Deleted:
		c.happened["taken "+unit+" "+machine] = true
		c.expect(by, unit, "taken off "+machine+": ", "moved from "+machine+" to ")
	default:
		c.happened["placed "+unit+" "+machine] = true
		oneOf := []string{"placed on " + machine + ": "}
		for _, h := range c.w.hosts {
			oneOf = append(oneOf, "moved from "+h.id+" to "+machine+": ")
		}
		c.expect(by, unit, oneOf...)
	}
}

// eventHappens checks an event against what has happened.
func (c *checker) eventHappens(e store.Event, by *process) {
	event, err := c.keys.Events().Decode(e.Value)
	if err != nil {
		c.w.fail(invEvents, "%s cannot be read: %v", e.Key, err)
		return
	}
	c.recorded[by] = append(c.recorded[by], event)
	c.counts.Check(invEvents)
	if problem := c.eventProblem(&event, by); problem != "" {
		c.w.fail(invEvents, "%s of %s tells of %s %s: %s: %s: %s", event.Source, by.name, event.Kind, event.Name, event.Reason, event.Message, problem)
	}
}

// The messages of events.
var (
	placedOn    = regexp.MustCompile(`^placed on ([^: ]+): .`)
	movedFromTo = regexp.MustCompile(`^moved from (\S+) to ([^: ]+): .`)
	takenOff    = regexp.MustCompile(`^taken off ([^: ]+): .`)
	missedOf    = regexp.MustCompile(`^(\d+) of (\d+) machines are missed: `)
	ofRevision  = regexp.MustCompile(`revision (\d+)`)
	wasToLeave  = regexp.MustCompile(`^(\S+), which had to leave ([^, ]+), is ready again$`)
	butForAway  = regexp.MustCompile(`, but (\S+)(?: and (\d+) more)?, whose machines? (?:is|are) not present$`)
	cannotPull  = regexp.MustCompile(`^cannot pull (\S+): .`)
	notPulled   = regexp.MustCompile(`^(\S+) is not pulled after `)
	isNotReady  = regexp.MustCompile(`^(?:revision \d+: )?(\S+) is still not ready \S+ after it`)
	isNotAsked  = regexp.MustCompile(`^revision \d+: (?:(\S+) is not replaced after \S+: its next file fits nowhere, |no machine is ready for (\S+) with its new file after )`)
)

// movingReasons are the reasons to place or move a unit, or to take it off a machine.
var movingReasons = []string{"Placed", "MachineGone", "Drain", "Deleted", "Inactive", "Duplicate", "Replaced", "MachineID", "MachineMetadata",
	"Excepted", "MachineOf", "Conflicts", "Ports", "AutoPorts", "CPU", "Memory"}

// otherReasons are those of events that are not checked further.
var otherReasons = []string{"app DoubtfulManifest", "app NameTaken", "route NotRouted", "node NotStarted", "node TakenOver", "node LeftAlone", "fleetd ControllerFailing", "fleetd ControllerWorks"}

// eventProblem says what is wrong in an event.
func (c *checker) eventProblem(e *v1.Event, by *process) string {
	switch {
	case by.host != nil && e.Machine != by.host.id:
		return "it says that it is of " + e.Machine
	case e.Source == "schedule" && e.Kind == v1.KindUnit:
		return c.scheduleProblem(e)
	case e.Source == "schedule" && e.Kind == "Cluster":
		return c.missedProblem(e)
	case e.Source == "source":
		return c.sourceEventProblem(e)
	case e.Source == "app":
		return c.appEventProblem(e)
	case e.Source == "node" && slices.Contains([]string{"Failed", "Restarting", "Recovered"}, e.Reason):
		if _, ran := c.ranUntil[e.Name][by.host]; !ran {
			return "it never ran there"
		}
		return ""
	case e.Source == "node" && e.Reason == "PullFailed":
		if m := cannotPull.FindStringSubmatch(e.Message); m != nil {
			return c.needs("pull failed " + by.host.name + " " + m[1])
		}
		if m := notPulled.FindStringSubmatch(e.Message); m != nil {
			return c.needs("pull " + by.host.name + " " + m[1])
		}
		return "its message has another form"
	case e.Source == "collect":
		return c.needs("collected " + e.Name)
	case e.Kind == v1.KindKey && strings.HasPrefix(e.Reason, "Cache"):
		return ""
	case e.Kind == v1.KindKey:
		return c.needs("key " + e.Name)
	case slices.Contains(otherReasons, e.Source+" "+e.Reason):
		return ""
	}
	return "there is no such reason"
}

// needs reports which of these have not happened.
func (c *checker) needs(all ...string) string {
	for _, what := range all {
		if !c.happened[what] {
			return "it did not happen: " + what
		}
	}
	return ""
}

func (c *checker) scheduleProblem(e *v1.Event) string {
	if e.Reason == "NoMachineFits" || e.Reason == "UnitFile" && !takenOff.MatchString(e.Message) {
		return c.needs("unplaced " + e.Name + " " + e.Message)
	}
	if e.Reason == "NotWritten" || e.Reason == "Stray" {
		return ""
	}
	if !slices.Contains(movingReasons, e.Reason) {
		return "there is no such reason"
	}
	if m := placedOn.FindStringSubmatch(e.Message); m != nil {
		return c.needs("placed " + e.Name + " " + m[1])
	}
	if m := movedFromTo.FindStringSubmatch(e.Message); m != nil {
		return c.needs("taken "+e.Name+" "+m[1], "placed "+e.Name+" "+m[2])
	}
	if m := takenOff.FindStringSubmatch(e.Message); m != nil {
		return c.needs("taken " + e.Name + " " + m[1])
	}
	return "its message has another form"
}

// missedProblem checks events about a freeze and its end.
func (c *checker) missedProblem(e *v1.Event) string {
	m := missedOf.FindStringSubmatch(e.Message)
	switch {
	case m == nil || e.Reason != "MachinesVanished" && e.Reason != "MachinesBack":
		return "its message has another form"
	case c.frozen.missed.IsZero() && c.frozen.until.IsZero():
		return "most machines were there all the time"
	}
	var missing, known int
	_, _ = fmt.Sscan(m[1], &missing) // they are digits
	_, _ = fmt.Sscan(m[2], &known)
	if most := missing >= 3 && missing*2 > known; e.Reason == "MachinesVanished" && !most {
		return "those are not most, or no three"
	}
	return ""
}

func (c *checker) appEventProblem(e *v1.Event) string {
	revision := ""
	if m := ofRevision.FindStringSubmatch(e.Message); m != nil {
		revision = "revision " + e.Name + " " + m[1]
	}
	switch e.Reason {
	case "Accepted", "Reworded", "RevisionRejected", "CanaryFollowed", "Releasing", "Released":
		return c.needs(revision)
	case "RolloutComplete":
		if problem := c.needs(revision); problem != "" {
			return problem
		}
		return c.completeProblem(e, strings.TrimPrefix(revision, "revision "+e.Name+" "))
	case "MoveComplete":
		m := wasToLeave.FindStringSubmatch(e.Message)
		if m == nil {
			return "its message has another form"
		}
		return c.needs("to leave " + m[1] + " " + m[2])
	case "RolloutStalled", "MoveStalled":
		if m := isNotAsked.FindStringSubmatch(e.Message); m != nil {
			return c.needs("next " + m[1] + m[2])
		}
		m := isNotReady.FindStringSubmatch(e.Message)
		if m == nil {
			return "its message has another form"
		}
		return c.needs("touched " + m[1])
	case "InvalidManifest":
		for _, text := range c.manifests[e.Name] {
			if _, err := v1.ParseAppNamed(e.Name, text); err != nil {
				return ""
			}
		}
		return "each of its manifests is valid"
	}
	if !slices.Contains(otherReasons, "app "+e.Reason) {
		return "there is no such reason"
	}
	return ""
}

// completeProblem checks that, unless something newer was accepted, all of the app's wanted units have the revision's file,
// except those named.
func (c *checker) completeProblem(e *v1.Event, number string) string {
	latest := c.runsOf(e.Name)
	if latest == nil || fmt.Sprint(latest.Number) != number {
		return ""
	}
	var outdated []string
	for _, name := range c.unitsOf(e.Name) {
		unit, _ := c.unit(name)
		n, sidekick, ok := v1.ParseAppUnit(e.Name, name)
		surplus := n > latest.Spec.Instances() || (n == 0) != latest.Spec.Global // about to be removed
		if ok && !sidekick && !surplus && unit.Spec.Hash != latest.UnitFile {
			outdated = append(outdated, name)
		}
	}
	m := butForAway.FindStringSubmatch(e.Message)
	switch {
	case len(outdated) == 0: // absent ones may have been updated since
		return ""
	case m == nil:
		return outdated[0] + " has another file"
	case !slices.Contains(outdated, m[1]) || len(outdated) > 1 && m[2] == "":
		return fmt.Sprintf("%v have another file", outdated)
	}
	return ""
}

// silence checks that what happened was reported. An event is lost with its fleetd, and waits while etcd is unreachable, or full:
// then what only deletes is written, such as what takes a unit off its machine, and its event is not.
func (c *checker) silence() {
	c.untold = slices.DeleteFunc(c.untold, func(h happening) bool {
		for _, event := range slices.Backward(c.recorded[h.by]) {
			if event.Time.Before(h.at.Add(-repeatedIn - time.Hour)) {
				break
			}
			if h.is(&event) {
				c.counts.Check(invEvents)
				return true
			}
		}
		if time.Since(h.at) < toldIn || c.w.full.Load() {
			return false
		}
		excuse := ""
		if !c.trouble[h.by.host].Before(h.at.Add(-settled)) || h.by.dead() {
			excuse = "who did it was killed or cut off before it could tell"
		} else if deposed := c.frozen.deposed[h.by]; !deposed.Before(h.at) && deposed.Sub(h.at) < settled {
			excuse = "who did it was deposed before it could tell" // a write's answer that it did not wait for
		}
		if c.judge(invEvents, excuse) {
			c.w.fail(invEvents, "%s did not tell of what happened to %s at %s: %q", h.by.name, h.name, h.at.Sub(c.w.start), h.oneOf[0])
		}
		return true
	})
}
