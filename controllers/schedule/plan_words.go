package schedule

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// maxNamed is how many machines, or units in the way, are named.
const maxNamed = 3

// refusal is one constraint that keeps units off machines: "has port 3000 in use" + " for x.service beside it" + " (by ...)".
type refusal struct {
	v1.Refusal
	words, detail string
	beside        int // which of those that go together has the constraint; 0: the first, which needs no mention
}

// findings are why machines are refused, for all units of one shape: instances of a template differ by their names alone.
type findings struct {
	head     string
	refusals []refusal
	single   bool // it is about one machine: nothing to count
	together bool // the head names those that go together
	// tail and reasons are what all units of the shape share. reasons is nil where refusals name a unit.
	tail    string
	reasons []v1.Refusal
}

func plainly(reason, message string) *findings {
	message = valid(message)
	return &findings{head: message, reasons: []v1.Refusal{{Reason: reason, Message: message}}}
}

// findings sorts the refusals by how many machines they keep off.
func (s *survey) findings(head string) *findings {
	slices.SortStableFunc(s.refusals, func(a, b refusal) int { return b.Count - a.Count })
	return &findings{head: head, refusals: s.refusals}
}

// of puts the findings in words for one unit.
func (f *findings) of(r refused) *v1.Unplaced {
	head := r.unit.plan.prefix() + f.head
	if f.together {
		others := make([]string, 0, len(r.members)-1)
		for _, u := range r.members[1:] {
			others = append(others, u.name)
		}
		slices.SortFunc(others, natural)
		head += " " + r.members[0].name + " together with " + named(others, len(others))
	}
	head = valid(head)
	if len(f.refusals) == 0 {
		return &v1.Unplaced{Message: head, Reasons: f.reasons}
	}
	tail, reasons := f.tail, f.reasons
	if reasons == nil {
		tail, reasons = f.words(r.members)
		if !slices.ContainsFunc(f.refusals, func(x refusal) bool { return x.beside > 0 }) {
			f.tail, f.reasons = tail, reasons
		}
	}
	return &v1.Unplaced{Message: head + tail, Reasons: reasons}
}

func (f *findings) words(members []*unit) (tail string, reasons []v1.Refusal) {
	parts := make([]string, 0, len(f.refusals))
	for _, r := range f.refusals {
		r.Message = r.words
		if r.beside > 0 {
			r.Message += " for " + members[r.beside].name + " beside it"
		}
		r.Message = valid(r.Message + r.detail)
		var ids []string
		for _, id := range r.Machines[:min(len(r.Machines), maxNamed)] {
			ids = append(ids, valid(id))
		}
		r.Machines = ids
		part := r.Message
		if !f.single {
			part = strconv.Itoa(r.Count) + " " + part
		}
		parts = append(parts, part)
		reasons = append(reasons, r.Refusal)
	}
	tail = strings.Join(parts, ", ")
	if !f.single {
		tail = ": " + tail
	}
	return tail, reasons
}

// valid is a text as it will be read back: JSON knows no other. Else what is stored would differ from what is found, and
// be written for ever.
func valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// named lists the first of n names.
func named(list []string, n int) string {
	list = list[:min(len(list), maxNamed)]
	text := strings.Join(list, ", ")
	if n > len(list) {
		text += " and " + strconv.Itoa(n-len(list)) + " more"
	}
	return text
}

// natural orders names as people do: app@2 before app@10.
func natural(a, b string) int {
	same := 0 // what both begin with, up to a number that differs
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	for same > 0 && digits(a[same-1:same]) > 0 {
		same--
	}
	x, y := a[same:], b[same:]
	for x != "" && y != "" {
		i, j := digits(x), digits(y)
		if i == 0 || j == 0 {
			if x[0] != y[0] {
				return cmp.Compare(x[0], y[0])
			}
			x, y = x[1:], y[1:]
			continue
		}
		m, n := strings.TrimLeft(x[:i], "0"), strings.TrimLeft(y[:j], "0")
		if c := cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n)); c != 0 {
			return c
		}
		x, y = x[i:], y[j:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// amount writes an amount of a resource as [X-Fleet] has it.
func amount(resource string, n int64) string {
	if resource == reasonCPU {
		return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64)
	}
	for _, unit := range []struct {
		suffix string
		size   int64
	}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} {
		if n >= unit.size {
			return strconv.FormatFloat(float64(n*10/unit.size)/10, 'f', -1, 64) + unit.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
