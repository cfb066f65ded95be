package sim

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// The invariants.
const (
	invConflicts   = "Conflicts, ports and resources are never violated by placements"
	invPlacedTwice = "a unit that is not global never has two placements"
	invRunsTwice   = "a unit that is not global never runs twice outside a partition"
	invDeposed     = "no write by a deposed leader takes effect"
	invWriter      = "every row has one writer"
	invPersons     = "what a person wrote is never overwritten"
	invEndpoint    = "no endpoint without a healthy instance beyond the health interval and its lease"
	invRestart     = "nothing restarts without a reason that names a change"
	invWithdrawn   = "a withdrawn instance gets no more requests before it stops"
	invArrives     = "no request comes to an instance that was stopped"
	invAnswered    = "a router answers requests for what it says that it serves"
	invFrozen      = "nothing is moved while most machines are missed"
	invConverges   = "it converges when the faults have ended"
	invCaches      = "a cache is never found to differ from an etcd that is right"
	invImages      = "a unit leaves a drained machine for one that has its image"
	invRest        = "at rest nothing is written"
	invStatus      = "status says what is the case"
	invUnplaced    = "what is said of a unit that fits nowhere is so"
	invDrained     = "no instance is stopped while a request that is waited for is under way to it"
	invSurge       = "no instance is taken away before every router serves the one beside it"
	invCanary      = "while its canary is not decided, no other instance is of a new revision"
	invVerdict     = "a canary is followed when it is good, and taken back when it is worse"
	invRejected    = "a revision that was taken back is not tried again"
	invRelease     = "a release command runs alone, and has ended with success before an instance of its revision starts"
	invWhole       = "what a source has applied is some whole commit"
	invPruned      = "a source deletes only what it has applied"
	invOwner       = "no app belongs to two sources"
	invSuspended   = "a suspended source writes nothing"
	invUndone      = "what was undone is not applied again until its file changes"
	invDepends     = "a source does not go ahead of what it depends on"
	invDrift       = "what is changed past Git goes back in time"
	invPaused      = "a paused app is not touched"
	invPorts       = "an instance's process has the ports of its placement"
	invEvents      = "events tell what happened, and nothing else"
)

// Invariants are all invariants, in the order in which they are counted.
var Invariants = []string{
	invConflicts, invPlacedTwice, invRunsTwice, invDeposed, invWriter, invPersons, invEndpoint, invRestart, invWithdrawn, invArrives, invAnswered,
	invFrozen, invImages, invConverges, invCaches, invRest, invStatus, invUnplaced, invEvents,
	invPorts, invDrained, invSurge, invCanary, invVerdict, invRejected, invRelease, invWhole, invPruned,
	invOwner, invSuspended, invUndone, invDepends, invDrift, invPaused,
}

// checker checks every revision of the store, in order, and every start and end of a process.
type checker struct {
	w    *world
	keys keyspace.Keys

	mu      sync.Mutex
	counts  Counts
	kv      map[string]store.KV                // the store at the last checked revision
	placed  map[string]map[string]v1.Placement // by machine ID, by unit
	told    map[string]map[string]time.Time    // by machine ID, by unit: when its placement last changed
	deleted map[string]time.Time               // when units were deleted
	// withdrawnAt is the revision at which an endpoint was last deleted.
	withdrawnAt map[string]int64
	announcers  map[string]*host                   // by endpoint: the host whose announcer put it last, because addresses move between hosts
	leaders     map[string]*process                // by leader key
	templates   map[string]*unitfile.FleetTemplate // by hash
	runs        map[string]map[*host]bool          // running units, and where they run
	twice       map[string]time.Time               // units that run twice, since when
	begun       map[*host]map[string]bool          // units started since boot
	reasons     map[*host]map[string]reason        // why units may be started once more
	trouble     map[*host]time.Time                // when a host was last cut off, powered off, or without fleetd
	absently    map[string]bool                    // placements last changed while their machine was gone
	endings     map[string]map[*host]ending        // of units
	lastEnd     map[string]time.Time               // of apps' instances that had to be withdrawn first
	served      map[*host]map[string]string        // by nginx
	healthyAt   map[*host]map[string]time.Time     // when a unit was last healthy
	unhealthy   map[string]time.Time               // endpoints without a healthy instance, since when
	takenBack   map[string]bool                    // units and placements with an earlier value, because etcd was restored, and unchanged since
	restoredAt  time.Time                          // when etcd was last restored
	restoredTo  int64                              // the revision that etcd was restored to
	frozen      frozen
	seen        int64                          // the last checked revision
	restart     chan int64                     // check what follows that revision: etcd was restored
	blind       map[*host]time.Time            // until when its watches may be silent after a restore
	strange     map[string]bool                // caches that differed from a restored etcd
	revived     map[string]time.Time           // when an endpoint was restored, with its lease
	hashes      map[string]map[string]bool     // all hashes that a unit ever had
	byHand      map[string]time.Time           // units whose placement was edited by hand
	drainedOf   map[string]bool                // machine/unit that was taken away because its machine is drained, or does not match it any more
	stopsSince  map[string]map[*host]time.Time // when a unit was last told to stop
	files       map[string]map[*host]string    // the file that a unit was last started with
	takenAway   map[string]time.Time           // machine/unit: when it had been taken from the machine to which it is assigned again
	tooLate     map[string]map[*host]bool      // sockets last started while their service ran, which systemd refuses
	broughtAt   map[string]map[*host]time.Time // when another unit started it, if one did
	askedAt     map[string]time.Time           // machine/unit: when it was first asked to prepare a move
	refusals    map[string]map[*host]bool      // units whose last requested start systemd refused
	assigned    map[string]former              // machine/unit: the ports that it had before
	contents
	rollouts
	surges
	sources
}

func newChecker(w *world) *checker {
	c := &checker{
		w: w, keys: w.keys, counts: Counts{}, told: map[string]map[string]time.Time{}, deleted: map[string]time.Time{}, withdrawnAt: map[string]int64{}, kv: map[string]store.KV{}, placed: map[string]map[string]v1.Placement{}, leaders: map[string]*process{},
		templates: map[string]*unitfile.FleetTemplate{}, runs: map[string]map[*host]bool{}, twice: map[string]time.Time{},
		begun: map[*host]map[string]bool{}, reasons: map[*host]map[string]reason{}, trouble: map[*host]time.Time{},
		absently: map[string]bool{}, endings: map[string]map[*host]ending{}, lastEnd: map[string]time.Time{}, served: map[*host]map[string]string{}, healthyAt: map[*host]map[string]time.Time{}, unhealthy: map[string]time.Time{},
		hashes: map[string]map[string]bool{}, byHand: map[string]time.Time{}, drainedOf: map[string]bool{}, refusals: map[string]map[*host]bool{}, files: map[string]map[*host]string{}, tooLate: map[string]map[*host]bool{}, takenAway: map[string]time.Time{}, stopsSince: map[string]map[*host]time.Time{}, broughtAt: map[string]map[*host]time.Time{},
		announcers: map[string]*host{}, restart: make(chan int64, 1), seen: 1, frozen: frozen{deposed: map[*process]time.Time{}, stepped: map[*host]time.Time{}, stuck: map[string]time.Time{}},
		contents: newContents(), rollouts: newRollouts(), surges: newSurges(), sources: newSources(), blind: map[*host]time.Time{}, takenBack: map[string]bool{}, strange: map[string]bool{}, askedAt: map[string]time.Time{}, assigned: map[string]former{}, revived: map[string]time.Time{},
	}
	w.running.Go(c.run)
	return c
}

// run checks every revision.
func (c *checker) run() {
	for after := int64(1); c.w.ctx.Err() == nil; {
		after = c.look(after)
	}
}

// look checks every revision after that one, until etcd is restored.
func (c *checker) look(after int64) int64 {
	ctx, cancel := context.WithCancel(c.w.ctx)
	batches := c.w.etcd.Watch(ctx, "", after)
	defer func() {
		cancel()
		for range batches { // until its goroutine has ended
		}
	}()
	for {
		select {
		case after := <-c.restart:
			return after
		case batch, ok := <-batches:
			if !ok {
				return after
			}
			if batch.Err == nil {
				c.batch(batch)
			}
		}
	}
}

func (c *checker) batch(batch store.Batch) {
	c.w.commit.Lock() // the writer is recorded
	writers := make(map[int64]writer, 1)
	for _, e := range batch.Events {
		writers[e.ModRevision] = c.w.writers[e.ModRevision]
	}
	c.w.commit.Unlock()
	for events := batch.Events; len(events) > 0; {
		n := 1
		for n < len(events) && events[n].ModRevision == events[0].ModRevision {
			n++
		}
		c.revision(events[:n], writers[events[0].ModRevision])
		events = events[n:]
	}
}

// revision checks all changes of one revision.
func (c *checker) revision(events []store.Event, by writer) {
	c.observeHealth()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = events[0].ModRevision
	c.tell(events, by)
	if by.process != nil {
		c.rows(events, by)
	}
	c.moves(events, by)
	c.moved(events, by)
	c.happen(events, by)
	touched, before := map[string]bool{}, c.gitBefore()
	for _, e := range events {
		if machine := c.apply(e, by.process); machine != "" {
			touched[machine] = true
		}
	}
	c.sourceApplies(events, by, before)
	for _, machine := range sortedKeys(touched) {
		c.placements(machine)
	}
	c.freeze()
}

// showEvents includes events in the transcript; their names are random.
var showEvents = os.Getenv("SIM_EVENTS") != ""

func (c *checker) tell(events []store.Event, by writer) {
	who := "etcd"
	if by.process != nil {
		who = by.process.name
	}
	for _, e := range events {
		key := c.w.short(e.Key)
		switch {
		case strings.HasPrefix(key, "events/") && !showEvents:
		case e.Deleted:
			c.w.tell(who, "r%d deletes %s", e.ModRevision, key)
		default:
			c.w.tell(who, "r%d puts %s %s", e.ModRevision, key, c.value(key, string(e.Value)))
		}
	}
}

// value is a stored value for people, without what they know anyway.
func (c *checker) value(key, value string) string {
	if strings.HasPrefix(key, "unitfiles/") {
		return ""
	}
	value = strings.Join(strings.Fields(c.w.plain(value)), " ")
	if len(value) > 400 {
		value = value[:400] + "..."
	}
	return value
}

// apply applies one change and returns the machine whose placements it concerns.
func (c *checker) apply(e store.Event, writer *process) (machine string) {
	was, had := c.kv[e.Key]
	if c.created(e, had); e.Deleted {
		delete(c.kv, e.Key)
	} else {
		c.kv[e.Key] = e.KV
	}
	c.asks(e)
	if name, ok := c.keys.Placements().Name(e.Key); ok {
		delete(c.takenBack, name)
		return c.applyPlacement(name, e, writer)
	}
	if name, ok := c.keys.Units().Name(e.Key); ok {
		delete(c.takenBack, name)
	}
	if name, ok := c.keys.Units().Name(e.Key); ok && e.Deleted {
		c.deleted[name] = time.Now()
	} else if ok {
		delete(c.deleted, name)
		if unit, err := c.keys.Units().Decode(e.Value); err == nil {
			if c.hashes[name] == nil {
				c.hashes[name] = map[string]bool{}
			}
			c.hashes[name][unit.Spec.Hash] = true
		}
	}
	if name, ok := c.keys.Units().Name(e.Key); ok {
		c.unitWritten(name, was, e, writer)
	}
	if name, ok := c.keys.Revisions().Name(e.Key); ok {
		c.revisionWritten(name, was, e, writer)
	}
	if name, ok := c.keys.Apps().Name(e.Key); ok {
		c.manifestWritten(name, e)
	}
	if name, ok := c.keys.Status().Name(e.Key); ok {
		c.statusWritten(name, e, writer)
	}
	if strings.HasPrefix(e.Key, c.keys.Leader(keyspace.Election)+"/") && !e.Deleted && !had {
		c.leaders[e.Key] = writer
	}
	if strings.HasPrefix(e.Key, v1.DefaultAnnouncePrefix+"/") {
		if e.Deleted {
			c.withdrawnAt[e.Key] = e.ModRevision
		}
		c.applyEndpoint(e, writer)
	}
	return ""
}

func (c *checker) applyPlacement(name string, e store.Event, writer *process) string {
	machine, unit, ok := keyspace.Split(name)
	if !ok {
		return ""
	}
	if c.placed[machine] == nil {
		c.placed[machine] = map[string]v1.Placement{}
	}
	if writer != nil && writer.kind == kindPerson {
		c.byHand[unit] = time.Now()
	}
	placement, err := c.keys.Placements().Decode(e.Value)
	before, was := c.placed[machine][unit]
	if again := before; was {
		again.Leaving = placement.Leaving // that it has to leave does not count
		was = again == placement && !e.Deleted
	}
	for _, h := range c.w.hosts {
		if h.id == machine && !was {
			c.reason(h, unit)
		}
	}
	launched := c.placed[machine][unit].DesiredState == v1.Launched
	c.drainedOf[name] = e.Deleted && launched && writer != nil && writer.kind == kindFleetd && c.has(c.keys.Machines().Key(machine)) && (c.drained(machine) || c.mismatches(unit, machine))
	if c.told[machine] == nil {
		c.told[machine] = map[string]time.Time{}
	}
	if _, there := c.placed[machine][unit]; !there {
		c.takenAway[name] = c.told[machine][unit]
	} else if !e.Deleted && before.Hash != placement.Hash {
		delete(c.takenAway, name)
	}
	if !was || before != placement {
		c.told[machine][unit], c.absently[name] = time.Now(), !c.has(c.keys.Machines().Key(machine))
	}
	if was := c.placed[machine][unit].Assigned; was != "" && (e.Deleted || was != placement.Assigned) {
		c.assigned[name] = former{was, time.Now()}
	}
	if e.Deleted || err != nil {
		delete(c.placed[machine], unit)
		return machine
	}
	c.placed[machine][unit] = placement
	if writer != nil && writer.kind == kindFleetd && !c.hashes[unit][placement.Hash] {
		c.w.fail(invRestart, "placement %s has a file that the unit never had", name)
	}
	return machine
}

// fleet is the [X-Fleet] section of a unit with that file.
func (c *checker) fleet(unit, hash string) (unitfile.Fleet, bool) {
	t, ok := c.templates[hash]
	if !ok {
		kv, stored := c.kv[c.keys.UnitFiles().Key(hash)]
		file, err := unitfile.Parse(string(kv.Value))
		if !stored || err != nil {
			return unitfile.Fleet{}, false
		}
		t = unitfile.ParseFleetTemplate(file)
		c.templates[hash] = t
	}
	name, err := unitfile.ParseName(unit)
	if err != nil {
		return unitfile.Fleet{}, false
	}
	fleet, _ := t.Resolve(name)
	return fleet, true
}

// judge counts an occasion to check an invariant, and reports whether to check it: not if there is an excuse.
func (c *checker) judge(invariant, excuse string) bool {
	if excuse != "" {
		c.counts.Excuse(invariant, excuse)
		return false
	}
	c.counts.Check(invariant)
	return true
}

func (c *checker) has(key string) bool {
	_, ok := c.kv[key]
	return ok
}
