package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// sources is what a checker remembers of the sources and their apps.
type sources struct {
	pastGit  map[string]string          // the source that changed an app last; "": something else did
	gaveUp   map[string]map[string]bool // apps that people ever took from a source
	undone   map[string]undone          // apps
	held     map[string]time.Time       // since when people have suspended a source
	notReady map[string]time.Time       // since when a source is not ready
}

// undone is what may not be applied again: the text of a source.
type undone struct{ source, hash string }

func newSources() sources {
	return sources{pastGit: map[string]string{}, gaveUp: map[string]map[string]bool{}, undone: map[string]undone{}, held: map[string]time.Time{}, notReady: map[string]time.Time{}}
}

// gitBefore is what was stored before a revision: the statuses of the sources that exist, and their apps.
type gitBefore struct {
	statuses map[string]v1.SourceStatus
	apps     map[string]string
}

func (c *checker) gitBefore() gitBefore {
	before := gitBefore{statuses: map[string]v1.SourceStatus{}, apps: map[string]string{}}
	for _, source := range gitSources {
		if !c.has(c.keys.Sources().Key(source)) {
			continue
		}
		before.statuses[source] = c.sourceStatus(source)
		for _, app := range allGitApps {
			if kv, ok := c.kv[c.keys.Apps().Key(app)]; ok {
				before.apps[app] = string(kv.Value)
			}
		}
	}
	return before
}

// sourceApplies checks one revision.
func (c *checker) sourceApplies(events []store.Event, by writer, before gitBefore) {
	source, undo := "", false
	for _, e := range events {
		if name, ok := c.keys.SourceStatus().Name(e.Key); ok && by.part == "source" {
			source = name
		}
		if _, ok := c.keys.Applies().Name(e.Key); ok {
			record, err := c.keys.Applies().Decode(e.Value)
			undo = err == nil && record.Undo
		}
	}
	for _, e := range events {
		app, ok := c.keys.Apps().Name(e.Key)
		switch {
		case !ok || !slices.Contains(allGitApps, app) && source == "":
			continue
		case source != "":
			c.sourceWrites(source, app, e, by, before)
		default:
			c.personWrites(app, e, undo, before)
		}
		c.pastGit[app] = source
	}
	for _, e := range events {
		if name, ok := c.keys.SourceStatus().Name(e.Key); ok && !e.Deleted && source != "" {
			c.sourceSays(name, e)
			c.goesAhead(name, e, before)
		}
		c.wishes(e)
	}
}

func (c *checker) sourceStatus(source string) v1.SourceStatus {
	status, _ := c.keys.SourceStatus().Decode(c.kv[c.keys.SourceStatus().Key(source)].Value) // none has no inventory
	return status
}

func inInventory(inventory []v1.SourceObject, app string) bool {
	_, is := entryOf(inventory, app)
	return is
}

func entryOf(inventory []v1.SourceObject, app string) (v1.SourceObject, bool) {
	i := slices.IndexFunc(inventory, func(o v1.SourceObject) bool { return o.Kind == v1.KindApp && o.Name == app })
	if i < 0 {
		return v1.SourceObject{}, false
	}
	return inventory[i], true
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// sourceSays checks that what the source has applied is some whole commit, and that no other source has it.
func (c *checker) sourceSays(name string, e store.Event) {
	status, err := c.keys.SourceStatus().Decode(e.Value)
	if err != nil {
		c.w.fail(invWhole, "the status of source %s cannot be read: %v", name, err)
		return
	}
	c.onlyOwner(name, status)
	switch {
	case status.Staged != nil:
		return
	case status.Applied == nil:
		if c.counts.Check(invWhole); len(status.Inventory) > 0 {
			c.w.fail(invWhole, "source %s has applied no commit, and has %d objects", name, len(status.Inventory))
		}
		return
	}
	commit := c.w.git[name].commit(status.Applied.Hash)
	if c.counts.Check(invWhole); commit == nil || commit.broken {
		c.w.fail(invWhole, "source %s has applied commit %s, which is broken or unknown", name, status.Applied.Hash)
		return
	}
	if problem := c.inventoryProblem(name, status.Inventory, commit); problem != "" {
		c.w.fail(invWhole, "source %s has applied commit %s, but %s", name, commit.Hash, problem)
	}
	synced := v1.FindCondition(status.Conditions, v1.Synced)
	for _, app := range allGitApps {
		if !inInventory(status.Inventory, app) {
			continue // it is people's now, or another source's: what is deleted is checked when it is
		}
		problem := c.appOfCommit(app, status.Inventory, commit)
		past := c.pastGit[app] != name
		switch {
		case past && (synced == nil || synced.Status != v1.ConditionTrue):
		case !c.judge(invWhole, pastGitExcuse(past, problem)):
		case problem != "":
			c.w.fail(invWhole, "source %s has applied commit %s, but %s", name, commit.Hash, problem)
		}
	}
}

// inventoryProblem says how the inventory of a source differs from a commit.
func (c *checker) inventoryProblem(source string, inventory []v1.SourceObject, commit *gitCommit) string {
	for _, o := range inventory {
		text, wanted := commit.files[o.Name]
		if !wanted && o.Held != "" {
			continue // people keep it from being deleted
		}
		if o.Kind != v1.KindApp || !wanted || o.Hash != hashOf(text) {
			return fmt.Sprintf("the inventory has %s %s with another text", o.Kind, o.Name)
		}
	}
	for _, app := range sortedKeys(commit.files) {
		if !inInventory(inventory, app) && !c.gaveUp[source][app] {
			return "the inventory lacks app " + app
		}
	}
	return ""
}

// appOfCommit says how an app differs from a commit; one that is held may.
func (c *checker) appOfCommit(app string, inventory []v1.SourceObject, commit *gitCommit) string {
	if entry, _ := entryOf(inventory, app); entry.Held != "" {
		return ""
	}
	kv, there := c.kv[c.keys.Apps().Key(app)]
	text, wanted := commit.files[app]
	switch {
	case there != wanted:
		return fmt.Sprintf("app %s is stored: %t", app, there)
	case string(kv.Value) != text:
		return fmt.Sprintf("app %s has another text", app)
	}
	return ""
}

// pastGitExcuse is the excuse of a source that has not seen what people did to an app.
func pastGitExcuse(past bool, problem string) string {
	if problem != "" && past {
		return "people changed an app past Git, and the source had not seen that"
	}
	return ""
}

// sourceProblem checks that the newest commit of each source is applied, if it is valid.
func (c *checker) sourceProblem() string {
	for _, source := range gitSources {
		head := c.w.git[source].newest()
		if head == nil || !c.has(c.keys.Sources().Key(source)) {
			continue
		}
		if problem := c.notSynced(source, head); problem != "" {
			return "source " + source + ": " + problem
		}
	}
	return ""
}

func (c *checker) notSynced(source string, head *gitCommit) string {
	status := c.sourceStatus(source)
	synced := v1.FindCondition(status.Conditions, v1.Synced)
	if synced == nil {
		return "it says nothing"
	}
	says := synced.Reason + ": " + synced.Message
	switch {
	case c.sourceWish(source).Suspended:
		if synced.Reason != "Suspended" {
			return "it does not say that it is suspended: " + says
		}
		return ""
	case synced.Reason == v1.ReasonWaiting && source == moreSource && !c.isReady(gitSource):
		return ""
	case synced.Reason == "NotOwned" && (c.w.seed%4 == 0 || c.heldElsewhere(source, head)):
		return c.notDisputed(source, head, says)
	case status.Staged != nil:
		return "commit " + status.Staged.Hash + " is applied in part"
	case head.broken:
		if status.Failed == nil || status.Failed.Hash != head.Hash || synced.Reason != "InvalidCommit" {
			return fmt.Sprintf("it does not say that its newest commit %s is broken: %s", head.Hash, says)
		}
		return ""
	case status.Applied == nil || status.Applied.Hash != head.Hash || synced.Status != v1.ConditionTrue:
		return fmt.Sprintf("the newest commit %s is not applied: %s", head.Hash, says)
	}
	for _, app := range sortedKeys(head.files) {
		if c.sourceDisowned(source, app) {
			continue
		}
		if problem := c.appOfCommit(app, status.Inventory, head); problem != "" {
			return fmt.Sprintf("the newest commit is %s, but %s", head.Hash, problem)
		}
	}
	return ""
}

// sourceEventProblem checks an event of the source.
func (c *checker) sourceEventProblem(e *v1.Event) string {
	object, _, _ := strings.Cut(e.Message, ":")
	if e.Kind == v1.KindApp { // the same, told of the app
		object = "app/" + e.Name
	}
	switch e.Reason {
	case "Created", "Configured", "DriftReverted", "Pruned":
		return c.needs("source " + object)
	case "Fetching", "Applied", "InvalidCommit", "PruneRefused", "NotOwned", "ReferenceGone", "Unreachable", "Suspended", "Waiting":
		return ""
	}
	return "there is no such reason"
}
