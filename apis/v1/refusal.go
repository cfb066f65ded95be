package v1

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// RouteRefusal is an app, or one endpoint of it, that a router leaves out.
type RouteRefusal struct {
	// App is whose it is; empty where the key is of none.
	App string `json:"app,omitempty"`
	// Key is that of the endpoint in etcd, or the directory of such; empty where it is the app as a whole, or a host of it.
	Key string `json:"key,omitempty"`
	// Reason is one word, as in docs/reasons.md, Message what is wrong.
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Subject is what is left out: the key, or the app.
func (r RouteRefusal) Subject() string { return cmp.Or(r.Key, r.App) }

// String is the refusal in one line.
func (r RouteRefusal) String() string { return r.Reason + ": " + r.Message }

// CompareRefusals orders them by what is left out.
func CompareRefusals(a, b RouteRefusal) int { return strings.Compare(a.Subject(), b.Subject()) }

// RefusalTexts is what a router of the version before says of the same: it is written for this one release, for a leader of that
// version.
func RefusalTexts(refusals []RouteRefusal, more int) map[string]string {
	if len(refusals) == 0 {
		return nil
	}
	texts := make(map[string]string, len(refusals)+1)
	for _, r := range refusals {
		texts[r.Subject()] = r.String()
	}
	if more > 0 {
		texts["..."] = fmt.Sprintf("and %d more", more)
	}
	return texts
}

// LeftOut are the apps and endpoints that the router leaves out, sorted by CompareRefusals; of a router of the version before,
// from its texts. A router is a program of another machine, whatever it says: what has no reason that is a word is not among them.
func (r Router) LeftOut() []RouteRefusal {
	list := slices.Clone(r.Refusals)
	if r.Refusals == nil {
		for _, subject := range slices.Sorted(maps.Keys(r.Refused)) {
			reason, message, ok := strings.Cut(r.Refused[subject], ": ")
			if !ok {
				continue
			}
			said := RouteRefusal{App: subject, Reason: reason, Message: message}
			if directory := path.Dir(subject); directory != "." { // <prefix>/<app>/<instance>
				said.App, said.Key = path.Base(directory), subject
			}
			list = append(list, said)
		}
	}
	return slices.DeleteFunc(list, func(said RouteRefusal) bool { return !reasonWord.MatchString(said.Reason) })
}

var reasonWord = regexp.MustCompile(`^[A-Z][A-Za-z]{1,40}$`)
