package rule

import (
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// refusal is one rule that keeps units off machines: "has port 3000 in use" + " for x.service beside it" + " (by ...)".
type refusal struct {
	v1.Refusal
	words, detail string
	beside        int // which of those that go together it is about; 0: the first, which needs no mention
}

// Explanation is why machines are refused, for all units of one shape: instances of a template differ by their names alone.
type Explanation struct {
	head     string
	refusals []refusal
	single   bool // it is about one machine: nothing to count
	together bool // the head names those that go together
	// tail and reasons are what all units of the shape share. reasons is nil where refusals name a unit.
	tail    string
	reasons []v1.Refusal
}

// For puts the explanation in words for units that go together; prefix says what is the case with the first of them.
func (e *Explanation) For(prefix string, members []*index.Unit) *v1.Unplaced {
	head := prefix + e.head
	if e.together {
		others := make([]string, 0, len(members)-1)
		for _, u := range members[1:] {
			others = append(others, u.Name)
		}
		slices.SortFunc(others, index.Natural)
		head += " " + members[0].Name + " together with " + firstOf(others, len(others))
	}
	head = Valid(head)
	if len(e.refusals) == 0 {
		return &v1.Unplaced{Message: head, Reasons: e.reasons}
	}
	tail, reasons := e.tail, e.reasons
	if reasons == nil {
		tail, reasons = e.words(members)
		if !slices.ContainsFunc(e.refusals, func(r refusal) bool { return r.beside > 0 }) {
			e.tail, e.reasons = tail, reasons
		}
	}
	return &v1.Unplaced{Message: head + tail, Reasons: reasons}
}

func (e *Explanation) words(members []*index.Unit) (tail string, reasons []v1.Refusal) {
	parts := make([]string, 0, len(e.refusals))
	for _, r := range e.refusals {
		r.Message = r.words
		if r.beside > 0 {
			r.Message += " for " + members[r.beside].Name + " beside it"
		}
		r.Message = Valid(r.Message + r.detail)
		var ids []string
		for _, id := range r.Machines[:min(len(r.Machines), MaxNamed)] {
			ids = append(ids, Valid(id))
		}
		r.Machines = ids
		part := r.Message
		if !e.single {
			part = strconv.Itoa(r.Count) + " " + part
		}
		parts = append(parts, part)
		reasons = append(reasons, r.Refusal)
	}
	tail = strings.Join(parts, ", ")
	if !e.single {
		tail = ": " + tail
	}
	return tail, reasons
}

// Valid is a text as it will be read back: JSON knows no other. Else what is stored would differ from what is found, and
// be written for ever.
func Valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// Plural is the words for one or for many.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// firstOf lists the first of n names.
func firstOf(list []string, n int) string {
	list = list[:min(len(list), MaxNamed)]
	text := strings.Join(list, ", ")
	if n > len(list) {
		text += " and " + strconv.Itoa(n-len(list)) + " more"
	}
	return text
}
