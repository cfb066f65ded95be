package schedule

import (
	"slices"
	"time"
)

// Limits say how careful a plan is.
type Limits struct {
	// FreezeMin is how many machines have to be missed, and more than half of those known, before nothing is moved
	// any more: then the network is more likely to be gone than the machines. Default 3.
	FreezeMin int
	// FreezeTimeout ends that after a while. 0: it lasts until machines return, or a person sets drain for those that
	// are gone for good.
	FreezeTimeout time.Duration
	// ForgetAfter is how long the placements of global units stay on a machine that is missed. Default 1 h.
	ForgetAfter time.Duration
	// Grace is how long a machine that this cluster has never seen present may take to report before its units are
	// moved: after a cold start the machines come one by one. Default 30 s, as agent_ttl; negative: none.
	Grace time.Duration
	// Settle is how long the units of machines that vanished together wait, FreezeMin machines or more, for others may
	// follow: leases of one moment do not end in one moment. Default a third of Grace, how often a lease is renewed.
	Settle time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.FreezeMin <= 0 {
		l.FreezeMin = 3
	}
	if l.ForgetAfter <= 0 {
		l.ForgetAfter = time.Hour
	}
	if l.Grace == 0 {
		l.Grace = 30 * time.Second
	}
	if l.Settle == 0 {
		l.Settle = max(l.Grace/3, 0)
	}
	return l
}

// Input is all that a plan depends on.
type Input struct {
	Now     time.Time
	Cluster *Cluster
	Limits  Limits
	// FrozenSince is when the first plan was of those up to the last one that were all Missed; zero: that one was not.
	FrozenSince time.Time
}

// Decision is a plan: what to write, in this order, and when to look again where time alone changes something.
type Decision struct {
	Actions []Action
	// Frozen says that too many machines are missed to move what they ran. Missed says that they are, whether that is still so
	// or FreezeTimeout has passed: a freeze that is over begins again with other machines, when these were back.
	Frozen, Missed bool
	After          time.Duration

	unmet  []unmetUnit
	now    time.Time
	settle time.Duration
}

type unmetUnit struct {
	unit *unit
	why  unmet
}

// Plan decides for the units that something has changed for. It writes nothing and leaves the cluster as it was: equal
// clusters give equal plans, however they came about. While it runs it enters its own decisions in the index, and takes
// them out again; what it frees stays occupied until that is seen to be written. Commit follows.
func Plan(in Input) Decision {
	in.Limits = in.Limits.withDefaults()
	c := in.Cluster
	c.prepare()
	c.epoch++
	p := &planner{c: c, in: in, explained: map[string]*findings{}, sites: map[*unit]bitmap{}}
	p.out.now, p.out.settle = in.Now, in.Limits.Settle
	p.freeze()
	p.collect()
	p.inspect()
	p.out.Actions = slices.Grow(p.out.Actions, len(p.work))
	p.journal = make([]*place, 0, len(p.work))
	p.placeGlobals()
	for _, g := range p.order() {
		p.resolve(p.members[g.from:g.to])
	}
	p.explainAll()
	p.strays()
	p.storeFiles()
	p.undo()
	return p.out
}

// Commit notes that the decision is being carried out: what it looked at needs no look until something changes. Where
// an action cannot be written, Retry follows.
func (c *Cluster) Commit(d Decision) {
	for _, u := range c.dirty {
		u.dirty = false
	}
	for _, m := range c.dirtyMachines {
		m.dirty = false
	}
	c.dirty, c.dirtyMachines = c.dirty[:0], c.dirtyMachines[:0]
	for u, why := range c.unmet {
		if u.plan.epoch == c.epoch || why == 0 {
			delete(c.unmet, u)
		}
	}
	for _, u := range d.unmet {
		c.unmet[u.unit] = u.why
	}
	c.noteAbsent(d)
	c.wake, c.frozen = 0, d.Frozen
}

// Idle says that a plan would find nothing to look at.
func (c *Cluster) Idle() bool {
	return len(c.dirty) == 0 && len(c.dirtyMachines) == 0 && len(c.waiting) == 0 && len(c.stray) == 0 &&
		(c.wake == 0 || len(c.unmet) == 0)
}

// planner makes one plan.
type planner struct {
	c   *Cluster
	in  Input
	out Decision

	work    []*unit // all units that are looked at
	members []*unit // their groups, one after the other
	groups  []group
	readmit []*machine
	journal []*place // decisions entered in the index
	txn     int
	// released: the plan frees room on a machine that is present, which the next plan may use.
	released bool

	frozenNow bool
	settling  bool                 // so many machines vanished a moment ago that others may follow
	oldest    int64                // since when the machine is present that has been for longest
	refused   []refused            // to be explained at the end
	explained map[string]*findings // by shape
	sites     map[*unit]bitmap
	losers    map[*place]loss
	held      map[*place]held
	ask       ask
}

// verdict is what a plan finds about one unit.
type verdict struct {
	epoch uint64
	keep  *place   // of several placements the one that counts
	at    *machine // where it stands and may stay; nil: nowhere
	// reason and message say why it cannot stay where keep is; hard: rather nowhere than there.
	reason, message string
	hard            bool
	stays           unmet    // it stands, but would have to move: why not now
	holds           bool     // it keeps its former file
	former          bool     // its placement has another file than the unit, and goes on so
	asks            bool     // its placement says that it is to leave, or to get its new file, when its app has let it go
	problem         string   // why it is left alone
	blocked         string   // what it waits for
	leaving         bool     // deleted, or to be inactive
	asked           bool     // it moves when its app has let it go
	handled         bool     // decided with another unit
	acted           bool     // something is done about its placement
	updated         int      // the transaction that updates its placement; 0: none does
	beside          *machine // where the rest of its group is
	depth           int      // in its group: 1 + the deepest of those that it follows
}

func (p *planner) after(d time.Duration) {
	if p.out.After == 0 || d < p.out.After {
		p.out.After = d
	}
}

func (p *planner) act(a Action) {
	p.txn++
	p.with(a)
}

// with adds an action to the transaction of the one before.
func (p *planner) with(a Action) {
	a.Txn = p.txn
	p.out.Actions = append(p.out.Actions, a)
}

// enter notes in the index that a unit gets a machine.
func (p *planner) enter(u *unit, m *machine) {
	x := &place{unit: u, machine: m, Placed: Placed{Machine: m.ID, Unit: u.name}}
	p.c.link(x)
	p.journal = append(p.journal, x)
}

func (p *planner) undo() {
	for _, x := range slices.Backward(p.journal) {
		p.c.unlink(x)
	}
}

// wait notes that something could not be done, and what has to change first.
func (p *planner) wait(u *unit, why unmet) { p.out.unmet = append(p.out.unmet, unmetUnit{u, why}) }

func (p *planner) strays() {
	names := make([]string, 0, len(p.c.stray))
	for name := range p.c.stray {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p.act(Action{Kind: DeleteStray, Unit: name, Revision: p.c.stray[name], Reason: ReasonStray,
			Message: "the key is not placements/<machine>/<unit>: nothing reads it"})
	}
}
