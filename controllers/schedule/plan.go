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
	// FreezeMin is how many machines have to be missed, and more than half of those known, before nothing is moved
	// any more: then the network is more likely to be gone than the machines. Default 3.
	FreezeMin int
	// FreezeTimeout ends that after a while. 0: it lasts until machines return, or a person sets drain for those that
	// will not return.
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
	Now    time.Time
	Index  *index.Index
	Limits Limits
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

	pending []index.Pending
	now     time.Time
	settle  time.Duration
}

// NewIndex returns an empty index with the rules of this package.
func NewIndex() *index.Index { return index.New(rule.New) }

// Plan returns what to write for the units that something has changed for, and leaves the index as it was: while it runs it
// enters its own decisions in a transaction of the index, and takes them out again. Equal indexes give equal plans, however
// they came about. What a plan frees stays occupied until that is seen to be written. Commit follows.
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
	p.strays()
	p.storeFiles()
	p.txn.Undo()
	return p.out
}

// Commit notes in the index that a decision is being carried out: what it looked at needs no look until something changes.
// Where an action cannot be written, Retry of the index follows.
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

	work    []*index.Unit // all units that are looked at
	members []*index.Unit // their groups, one after the other
	groups  []group
	last    int // the number of the last transaction of the plan
	// released: the plan frees room on a machine that is present, which the next plan may use.
	released bool

	frozen    bool
	settling  bool  // so many machines vanished a moment ago that others may follow
	oldest    int64 // since when the machine is present that has been for longest
	contested []*index.Machine
	evicted   map[*index.Place]rule.Refusal // who has to leave to others on the machine
	held      map[*index.Place]held
	refused   []refused // to be explained at the end
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

// with adds an action to the transaction of the one before.
func (p *planner) with(a Action) {
	a.Txn = p.last
	p.out.Actions = append(p.out.Actions, a)
}

// wait notes that something could not be done, and what has to change first.
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
