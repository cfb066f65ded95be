package schedule

import (
	"maps"
	"slices"
	"time"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// Limits say how careful a plan is.
type Limits struct {
	// FreezeMin is how many machines, and more than half of those known, have to be missed before nothing is moved any more:
	// then it is more likely that the network failed than that the machines did. Default 3.
	FreezeMin int
	// FreezeTimeout ends a freeze after a while. 0: it lasts until machines return, or a person drains those that will not.
	FreezeTimeout time.Duration
	// ForgetAfter is how long the placements of global units stay on a missed machine. Default 1 h.
	ForgetAfter time.Duration
	// Grace is how long a machine that this cluster has never seen present may take to report before its units are moved:
	// after a cold start machines arrive one by one. Default 30 s, like agent_ttl; negative: none.
	Grace time.Duration
	// Settle is how long units wait when FreezeMin or more machines have vanished together, in case others follow: leases
	// granted at the same time do not expire at the same time. Default a third of Grace, the interval of lease renewals, and a
	// second: etcd looks for expired leases twice a second, and a busy one is late.
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
	if l.Settle == 0 && l.Grace > 0 {
		l.Settle = l.Grace/3 + time.Second
	}
	return l
}

// Input is everything that a plan depends on.
type Input struct {
	Now    time.Time
	Index  *index.Index
	Limits Limits
	// FrozenSince is the time of the first of the latest consecutive plans that were Missed; zero: the last one was not.
	FrozenSince time.Time
}

// Decision is a plan: what to write, in this order, and when to plan again if only time has to pass.
type Decision struct {
	Actions []Action
	// Frozen: too many machines are missed to move their units. Missed: they are missed, frozen or after FreezeTimeout. After
	// these are back, other machines can cause a new freeze.
	Frozen, Missed bool
	After          time.Duration

	pending []index.Pending
	now     time.Time
	settle  time.Duration
}

// NewIndex returns an empty index with the rules of this package.
func NewIndex() *index.Index { return index.New(rule.New) }

// Plan returns what to write for the units affected by changes, and leaves the index as it was: while it runs it enters its
// decisions in a transaction of the index, and then undoes it. Equal indexes give equal plans, whatever their history. What a
// plan frees stays occupied until the write has been seen. Commit follows.
func Plan(in Input) Decision {
	in.Limits = in.Limits.withDefaults()
	p := &planner{x: in.Index, rules: rule.Of(in.Index), in: in, txn: in.Index.Begin(), explained: map[string]*rule.Explanation{}}
	p.rules.Begin()
	p.out.now, p.out.settle = in.Now, in.Limits.Settle
	p.freeze()
	p.collect()
	p.inspect()
	p.out.Actions = slices.Grow(p.out.Actions, len(p.work))
	p.txn.Grow(len(p.work))
	p.placeGlobals()
	for _, g := range p.order() {
		p.resolve(p.members[g.from:g.to])
	}
	p.explainAll()
	p.dropPreparations()
	p.strays()
	p.storeFiles()
	p.txn.Undo()
	return p.out
}

// Commit records in the index that a decision is being carried out: what it covered needs no plan until something changes. If
// an action cannot be written, call the index's Retry afterwards.
func Commit(x *index.Index, d Decision) {
	x.Commit(d.pending, d.Frozen, func(u *index.Unit) bool { return of(u).epoch == x.Epoch })
	noteAbsent(x, d)
}

// planner makes one plan.
type planner struct {
	x     *index.Index
	rules *rule.List
	in    Input
	txn   *index.Txn
	out   Decision

	work    []*index.Unit // all units to plan
	members []*index.Unit // their groups, one after the other
	groups  []group
	last    int // the number of the plan's last transaction
	// released: the plan frees room on a present machine, which the next plan may use.
	released bool

	frozen    bool
	settling  bool  // so many machines vanished a moment ago that others may follow
	oldest    int64 // since when the machine is present that has been present longest
	contested []*index.Machine
	renewed   map[*index.Place]bool         // placements of global units that get the new file with this plan
	evicted   map[*index.Place]rule.Refusal // units that have to make room for others on their machine
	held      map[*index.Place]held
	refused   []refused // to explain at the end
	explained map[string]*rule.Explanation
}

func (p *planner) after(d time.Duration) {
	if p.out.After == 0 || d < p.out.After {
		p.out.After = d
	}
}

func (p *planner) act(a Action) {
	p.last++
	p.with(a)
}

// with adds an action to the previous one's transaction.
func (p *planner) with(a Action) {
	a.Txn = p.last
	p.out.Actions = append(p.out.Actions, a)
}

// wait records that something could not be done, and what has to change first.
func (p *planner) wait(u *index.Unit, why index.Wait) {
	p.out.pending = append(p.out.pending, index.Pending{Unit: u, For: why})
}

func (p *planner) strays() {
	strays := p.x.Strays()
	for _, name := range slices.Sorted(maps.Keys(strays)) {
		p.act(Action{Kind: DeleteStray, Unit: name, Revision: strays[name], Reason: ReasonStray,
			Message: "the key is not placements/<machine>/<unit>: nothing reads it"})
	}
}
