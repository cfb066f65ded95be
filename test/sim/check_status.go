package sim

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Status is checked against the world, never against what another controller wrote: running processes, files on disks,
// endpoints, what each nginx serves, manifests, people's wishes.

// contents is what a checker remembers of the world to check the contents of keys.
type contents struct {
	tellers
	argv      map[*host]map[string][]string          // the last command line of units' main processes
	variables map[*host]map[string]map[string]string // and the variables with its ports
	ranUntil  map[string]map[*host]time.Time         // when units last started or ended
	manifests map[string]map[int64][]byte            // all versions of each app, by revision
}

func newContents() contents {
	return contents{tellers: newTellers(), argv: map[*host]map[string][]string{}, variables: map[*host]map[string]map[string]string{}, ranUntil: map[string]map[*host]time.Time{}, manifests: map[string]map[int64][]byte{}}
}

func (c *checker) manifestWritten(app string, e store.Event) {
	if e.Deleted {
		return
	}
	if c.manifests[app] == nil {
		c.manifests[app] = map[int64][]byte{}
	}
	c.manifests[app][e.ModRevision] = e.Value
}

// fact is the real state of an app's instance; for a global app, on one machine.
type fact struct {
	unit, machine string
	// stopped: by a person. placed: it has a machine. filed: its units have the files of the accepted revision; updated: its
	// machine runs them.
	stopped, placed, filed, updated bool
	// runs: its process does. withdrawn: its app wants its sidekick stopped. announced: its endpoint exists, with the
	// machine's address; served: by every nginx.
	runs, announces, withdrawn, announced, served bool
	unplaced                                      *v1.Unplaced
	rollout                                       v1.Rollout
	// early: by the clock of the leader, which stepped, the deadline of its rollout has not passed.
	early bool
}

// works reports whether it does its job.
func (f *fact) works() bool {
	return f.runs && (!f.announces || !f.withdrawn && f.announced && f.served)
}

// state is why it is not ready, as in docs and API.
func (f *fact) state() string {
	switch {
	case f.stopped:
		return "Stopped"
	case !f.placed && f.unplaced != nil:
		return "Unplaced"
	case !f.placed:
		return "Pending"
	case !f.filed:
		return "OutOfDate"
	case !f.updated && f.unplaced != nil:
		return "Unplaced"
	case !f.updated:
		return "OutOfDate"
	case !f.runs:
		return "NotActive"
	case f.announces && f.withdrawn && f.rollout.From != "":
		return "Moving"
	case f.announces && f.withdrawn:
		return "Withdrawn"
	case f.announces && !f.announced:
		return "NotAnnounced"
	case f.announces && !f.served:
		return "WaitingForRouters"
	}
	return "Ready"
}

// facts are those of all instances that an app's accepted revision wants.
func (c *checker) facts(app string, latest *v1.Revision) []fact {
	if !latest.Spec.Global {
		var all []fact
		for n := int32(1); n <= latest.Spec.Instances(); n++ {
			machine := ""
			for _, id := range sortedKeys(c.placed) {
				if _, there := c.placed[id][v1.AppUnit(app, n)]; there {
					machine = id
				}
			}
			all = append(all, c.fact(app, n, machine, latest))
		}
		return all
	}
	var all []fact
	for _, h := range c.w.hosts[:c.w.machines] {
		_, placed := c.placed[h.id][v1.AppUnit(app, 0)]
		machine, err := c.keys.Machines().Decode(c.kv[c.keys.Machines().Key(h.id)].Value)
		config, _ := c.keys.MachineConfigs().Decode(c.kv[c.keys.MachineConfigs().Key(h.id)].Value)
		fleet, _ := c.fleet(v1.AppUnit(app, 0), latest.UnitFile)
		if placed || err == nil && !config.Cordoned && !config.Drain && c.wanted(fleet, machine) {
			all = append(all, c.fact(app, 0, h.id, latest))
		}
	}
	if len(all) == 0 {
		all = append(all, c.fact(app, 0, "", latest)) // it matches no machine, and status has to say so
	}
	return all
}

func (c *checker) fact(app string, n int32, id string, latest *v1.Revision) fact {
	unit, sidekick := v1.AppUnit(app, n), v1.SidekickUnit(app, n)
	f := fact{unit: unit, machine: id, stopped: c.wished(unit)}
	own, _ := c.unit(unit)
	beside, announced := c.unit(sidekick)
	f.filed = own.Spec.Hash == latest.UnitFile && beside.Spec.Hash == latest.SidekickFile
	f.announces = announced && !c.wished(sidekick)
	f.withdrawn = beside.Spec.DesiredState != v1.Launched
	f.rollout = v1.RolloutOf(&own, &beside)
	if leader := c.frozen.leads; leader != nil && !c.frozen.stepped[leader.host].IsZero() {
		f.early = leader.host.now().Sub(f.rollout.Since) < latest.Spec.Update.HealthyDeadline.Std()
	}
	for _, name := range []string{unit, sidekick} {
		kv, ok := c.kv[c.keys.Unplaced().Key(name)]
		if said, err := c.keys.Unplaced().Decode(kv.Value); ok && err == nil && f.unplaced == nil {
			f.unplaced = &said
		}
	}
	i := slices.IndexFunc(c.w.hosts, func(h *host) bool { return h.id == id })
	if i < 0 {
		return f
	}
	h := c.w.hosts[i]
	_, f.placed = c.placed[id][unit]
	f.runs = c.runs[unit][h]
	text, err := os.ReadFile(h.layout().Unit(unit))
	f.updated = err == nil && unitfile.Hash(string(text)) == latest.UnitFile && (!f.runs || c.runsWith(c.argv[h][unit], latest.UnitFile))
	instance := strings.TrimSuffix(unit, ".service")
	if n == 0 {
		instance = v1.GlobalEndpointName(app, id)
	}
	key := latest.Spec.AnnouncePrefix() + "/" + app + "/" + instance
	f.announced = address(string(c.kv[key].Value)) == h.address()
	f.served = !slices.ContainsFunc(c.w.hosts[:c.w.machines], func(r *host) bool { return c.routes(r) && address(c.served[r][key]) != h.address() })
	return f
}

// startedAs records a process's command line.
func (c *checker) startedAs(h *host, unit string, argv []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.argv[h] == nil {
		c.argv[h] = map[string][]string{}
	}
	c.argv[h][unit] = argv
}

// runsWith reports whether the command line matches a unit file of this world's apps, which are words without quotes. The
// directory of fleet's programs depends on the machine.
func (c *checker) runsWith(argv []string, hash string) bool {
	file, err := unitfile.Parse(string(c.kv[c.keys.UnitFiles().Key(hash)].Value))
	if err != nil {
		return false
	}
	value, _ := file.Value("Service", "ExecStart")
	want := strings.Fields(value)
	return len(want) > 0 && len(argv) > 0 && filepath.Base(argv[0]) == filepath.Base(want[0]) && slices.Equal(argv[1:], want[1:])
}

// wished reports whether a person stopped the unit.
func (c *checker) wished(unit string) bool {
	wish := c.wish(unit)
	return wish != "" && wish != v1.Launched
}

// said is a condition without its variable parts.
type said struct{ status, reason string }

// statusProblem returns what is wrong in a status when everything is at rest; "" for nothing.
func (c *checker) statusProblem() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, app := range c.names(c.keys.Status().Prefix()) {
		if !c.has(c.keys.Apps().Key(app)) {
			return fmt.Sprintf("there is a status of %s and no app", app)
		}
	}
	for _, app := range c.names(c.keys.Apps().Prefix()) {
		kv, ok := c.kv[c.keys.Status().Key(app)]
		status, err := c.keys.Status().Decode(kv.Value)
		if !ok || err != nil {
			return fmt.Sprintf("there is no status of app %s: %v", app, err)
		}
		c.counts.Check(invStatus)
		if problem := c.appStatusProblem(app, &status); problem != "" {
			return fmt.Sprintf("of app %s: %s", app, problem)
		}
	}
	return ""
}

func (c *checker) appStatusProblem(app string, status *v1.AppStatus) string {
	manifest := c.kv[c.keys.Apps().Key(app)]
	want := map[string]said{v1.Accepted: {v1.ConditionTrue, "Accepted"}}
	if _, err := v1.ParseAppNamed(app, manifest.Value); err != nil {
		want[v1.Accepted] = said{v1.ConditionFalse, "InvalidManifest"}
	}
	var counts v1.ReplicaCounts
	accepted := int64(0)
	if latest := c.latest(app); latest != nil && latest.Rejected != nil && want[v1.Accepted].reason == "Accepted" {
		want[v1.Accepted] = said{v1.ConditionFalse, v1.ReasonRejected}
	}
	if latest := c.runsOf(app); latest == nil {
		for _, condition := range []string{v1.Scheduled, v1.Available, v1.Progressing, v1.Ready} {
			want[condition] = said{v1.ConditionUnknown, "NotAccepted"}
		}
	} else {
		accepted = latest.Number
		facts := c.facts(app, latest)
		counts = countFacts(facts)
		want[v1.Scheduled], want[v1.Available] = scheduledOf(facts), availableOf(facts)
		want[v1.Progressing], want[v1.Ready] = progressingOf(facts), readyOf(facts)
		if want[v1.Ready].reason != "Stopped" && c.hostTaken(app) {
			want[v1.Ready] = said{v1.ConditionFalse, "HostTaken"}
		}
	}
	switch {
	case status.ObservedRevision != manifest.ModRevision:
		return fmt.Sprintf("it speaks of the manifest of revision %d instead of %d", status.ObservedRevision, manifest.ModRevision)
	case status.AcceptedRevision != accepted:
		return fmt.Sprintf("accepted is revision %d instead of %d", status.AcceptedRevision, accepted)
	case status.Replicas != counts:
		return fmt.Sprintf("it counts %+v instead of %+v", status.Replicas, counts)
	}
	return c.conditionsProblem(app, status.Conditions, want)
}

func (c *checker) conditionsProblem(app string, conditions []v1.Condition, want map[string]said) string {
	for _, condition := range conditions {
		is := said{condition.Status, condition.Reason}
		switch expected, known := want[condition.Type]; {
		case condition.Type == v1.Routed:
			if !c.leftOut(app) {
				return fmt.Sprintf("Routed is %v, and no router leaves it out: %s", is, condition.Message)
			}
		case !known:
			return fmt.Sprintf("it has a condition %s", condition.Type)
		case is != expected:
			return fmt.Sprintf("%s is %v instead of %v: %s", condition.Type, is, expected, condition.Message)
		}
		delete(want, condition.Type)
	}
	if len(want) > 0 {
		return fmt.Sprintf("it lacks %v", sortedKeys(want))
	}
	return ""
}

// leftOut reports whether a router leaves out the app, or an endpoint below its name.
func (c *checker) leftOut(app string) bool {
	for _, id := range c.names(c.keys.Routers().Prefix()) {
		router, err := c.keys.Routers().Decode(c.kv[c.keys.Routers().Key(id)].Value)
		if err != nil || router.Failing != nil {
			return true
		}
		if slices.ContainsFunc(router.LeftOut(), func(r v1.RouteRefusal) bool { return r.App == app }) {
			return true
		}
	}
	return false
}

func countFacts(facts []fact) (counts v1.ReplicaCounts) {
	for i := range facts {
		f := &facts[i]
		counts.Desired++
		for _, n := range []struct {
			is    bool
			count *int32
		}{{f.placed, &counts.Scheduled}, {f.runs, &counts.Active}, {f.works() && !f.stopped, &counts.Ready}, {f.filed && f.updated, &counts.Updated}} {
			if n.is {
				*n.count++
			}
		}
	}
	return counts
}

// scheduledOf is True if every instance that was not stopped has a machine, with its file. Otherwise its reason is the
// constraint that rules out most machines for the first one that has none.
func scheduledOf(facts []fact) said {
	for i := range facts {
		f := &facts[i]
		switch state := f.state(); {
		case state == "Unplaced", f.stuck():
			reason := "Unplaced"
			if len(f.unplaced.Reasons) > 0 {
				reason = cmp.Or(f.unplaced.Reasons[0].Reason, reason)
			}
			return said{v1.ConditionFalse, reason}
		case state == "Pending":
			return said{v1.ConditionFalse, "Pending"}
		}
	}
	return said{v1.ConditionTrue, "Scheduled"}
}

// stuck reports whether it runs on, and its next file fits nowhere.
func (f *fact) stuck() bool { return f.unplaced != nil && f.unplaced.Next && !f.stopped }

// availableOf is True if at least one instance does its work, even if not every router knows it.
func availableOf(facts []fact) said {
	if len(facts) == 0 {
		return said{v1.ConditionTrue, "NothingWanted"}
	}
	for i := range facts {
		if f := &facts[i]; f.runs && !f.stopped && (!f.announces || !f.withdrawn && f.announced) {
			return said{v1.ConditionTrue, "Available"}
		}
	}
	return said{v1.ConditionFalse, "Unavailable"}
}

// progressingOf is False for what has exceeded its deadline; everything else that differs from its goal is under way.
func progressingOf(facts []fact) said {
	var outdated, moving, starting bool
	for i := range facts {
		f := &facts[i]
		state := f.state()
		switch {
		case f.stopped || state == "Ready" || f.early:
		case f.rollout.UnderWay() && f.filed && f.rollout.From != "":
			return said{v1.ConditionFalse, "MoveStalled"}
		case f.rollout.UnderWay(), f.stuck():
			return said{v1.ConditionFalse, "RolloutStalled"}
		}
		switch {
		case f.stopped && f.filed || state == "Ready":
		case state == "Moving":
			moving = true
		case f.announces && f.withdrawn && f.runs || !f.filed:
			outdated = true
		default:
			starting = true
		}
	}
	switch {
	case outdated:
		return said{v1.ConditionTrue, "RollingOut"}
	case moving:
		return said{v1.ConditionTrue, "Moving"}
	case starting:
		return said{v1.ConditionTrue, "Starting"}
	}
	return said{v1.ConditionFalse, "Updated"}
}

// readyOf is True if all are ready, or why the first one is not; stopped ones come first, because waiting does not change
// them.
func readyOf(facts []fact) said {
	first := "Ready"
	for i := range facts {
		switch state := facts[i].state(); {
		case state == "Stopped":
			return said{v1.ConditionFalse, state}
		case first == "Ready":
			first = state
		}
	}
	if first == "Ready" {
		return said{v1.ConditionTrue, first}
	}
	return said{v1.ConditionFalse, first}
}

// statusWritten checks what can be checked of a status at any time: what it says of its manifest revision, and that all
// instances of an app that it reports as ready are running.
func (c *checker) statusWritten(app string, e store.Event, writer *process) {
	if e.Deleted || writer == nil || writer.kind == kindPerson {
		return
	}
	status, err := c.keys.Status().Decode(e.Value)
	if err != nil {
		c.w.fail(invStatus, "status of app %s: %v", app, err)
		return
	}
	c.counts.Check(invStatus)
	text, known := c.manifests[app][status.ObservedRevision]
	_, err = v1.ParseAppNamed(app, text)
	accepted := v1.FindCondition(status.Conditions, v1.Accepted)
	if accepted != nil && err == nil && accepted.Reason == v1.ReasonRejected {
		if latest := c.latest(app); latest == nil || latest.Rejected == nil {
			excuse := ""
			if c.catchesUp(writer.host) {
				excuse = "the leader could not be reached a moment ago"
			}
			if c.judge(invStatus, excuse) {
				c.w.fail(invStatus, "of app %s: it says that its revision was taken back: %s", app, accepted.Message)
			}
		}
		return
	}
	if !known || accepted == nil || (err == nil) != (accepted.Status == v1.ConditionTrue) {
		c.w.fail(invStatus, "of app %s: of the manifest of revision %d it says %+v", app, status.ObservedRevision, accepted)
	}
	if !v1.IsTrue(status.Conditions, v1.Ready) {
		return
	}
	running, away := c.runningOf(app)
	excuse := ""
	if running < int(status.Replicas.Desired) {
		excuse = away
	}
	if c.judge(invStatus, excuse) && running < int(status.Replicas.Desired) {
		c.w.fail(invStatus, "of app %s: it says that all %d instances are ready, and %d run", app, status.Replicas.Desired, running)
	}
}

// runningOf counts an app's instances that run, or ran a moment ago, and returns why a leader may not know that one ended.
func (c *checker) runningOf(app string) (n int, away string) {
	for _, unit := range sortedKeys(c.ranUntil) {
		if _, sidekick, ok := v1.ParseAppUnit(app, unit); !ok || sidekick {
			continue
		}
		for _, h := range c.w.hosts {
			at, ran := c.ranUntil[unit][h]
			switch {
			case c.runs[unit][h] || ran && time.Since(at) < settled:
				n++
			case ran && c.catchesUp(h):
				away = "the machine of an instance could not be reached"
			}
		}
	}
	return n, away
}
