package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// sources is what a checker remembers of the source's apps: those that something else than the source changed last.
type sources struct{ pastGit map[string]bool }

func newSources() sources { return sources{pastGit: map[string]bool{}} }

// sourceApplies checks what the source writes in one revision; before is its status until then.
func (c *checker) sourceApplies(events []store.Event, by writer, before v1.SourceStatus) {
	for _, e := range events {
		app, ok := c.keys.Apps().Name(e.Key)
		if !ok || !slices.Contains(gitApps, app) && by.part != "source" {
			continue
		}
		c.pastGit[app] = by.part != "source"
		if by.part == "source" && e.Deleted {
			if c.counts.Check(invPruned); !inInventory(before.Inventory, app) {
				c.w.fail(invPruned, "the source deleted app %s at revision %d, and had not applied it", app, e.ModRevision)
			}
		}
	}
	for _, e := range events {
		if name, ok := c.keys.SourceStatus().Name(e.Key); ok && !e.Deleted && by.part == "source" {
			c.sourceSays(name, e)
		}
	}
}

func (c *checker) sourceStatus() v1.SourceStatus {
	status, _ := c.keys.SourceStatus().Decode(c.kv[c.keys.SourceStatus().Key(gitSource)].Value) // none has no inventory
	return status
}

func inInventory(inventory []v1.SourceObject, app string) bool {
	return slices.ContainsFunc(inventory, func(o v1.SourceObject) bool { return o.Kind == v1.KindApp && o.Name == app })
}

// sourceSays checks that what the source has applied is some whole commit.
func (c *checker) sourceSays(name string, e store.Event) {
	status, err := c.keys.SourceStatus().Decode(e.Value)
	switch {
	case err != nil:
		c.w.fail(invWhole, "the status of source %s cannot be read: %v", name, err)
		return
	case status.Staged != nil:
		return
	case status.Applied == nil:
		if c.counts.Check(invWhole); len(status.Inventory) > 0 {
			c.w.fail(invWhole, "source %s has applied no commit, and has %d objects", name, len(status.Inventory))
		}
		return
	}
	commit := c.w.git.commit(status.Applied.Hash)
	if c.counts.Check(invWhole); commit == nil || commit.broken {
		c.w.fail(invWhole, "source %s has applied commit %s, which is broken or unknown", name, status.Applied.Hash)
		return
	}
	if problem := inventoryProblem(status.Inventory, commit); problem != "" {
		c.w.fail(invWhole, "source %s has applied commit %s, but %s", name, commit.Hash, problem)
	}
	synced := v1.FindCondition(status.Conditions, v1.Synced)
	for _, app := range gitApps {
		problem := c.appOfCommit(app, status.Inventory, commit)
		switch {
		case c.pastGit[app] && (synced == nil || synced.Status != v1.ConditionTrue):
		case !c.judge(invWhole, c.pastGitExcuse(app, problem)):
		case problem != "":
			c.w.fail(invWhole, "source %s has applied commit %s, but %s", name, commit.Hash, problem)
		}
	}
}

// inventoryProblem says how an inventory differs from a commit.
func inventoryProblem(inventory []v1.SourceObject, commit *gitCommit) string {
	for _, o := range inventory {
		text, wanted := commit.files[o.Name]
		sum := sha256.Sum256([]byte(text))
		if o.Kind != v1.KindApp || !wanted || o.Hash != hex.EncodeToString(sum[:]) {
			return fmt.Sprintf("the inventory has %s %s with another text", o.Kind, o.Name)
		}
	}
	for _, app := range sortedKeys(commit.files) {
		if !inInventory(inventory, app) {
			return "the inventory lacks app " + app
		}
	}
	return ""
}

// appOfCommit says how an app differs from a commit; one that is held may.
func (c *checker) appOfCommit(app string, inventory []v1.SourceObject, commit *gitCommit) string {
	if slices.ContainsFunc(inventory, func(o v1.SourceObject) bool { return o.Name == app && o.Held != "" }) {
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
func (c *checker) pastGitExcuse(app, problem string) string {
	if problem != "" && c.pastGit[app] {
		return "people changed an app past Git, and the source had not seen that"
	}
	return ""
}

// sourceProblem checks that the newest commit is applied, if it is valid.
func (c *checker) sourceProblem() string {
	head := c.w.git.newest()
	if head == nil || !c.has(c.keys.Sources().Key(gitSource)) {
		return ""
	}
	status := c.sourceStatus()
	synced := v1.FindCondition(status.Conditions, v1.Synced)
	switch {
	case synced == nil:
		return "the source says nothing"
	case status.Staged != nil:
		return "commit " + status.Staged.Hash + " is applied in part"
	case head.broken:
		if status.Failed == nil || status.Failed.Hash != head.Hash || synced.Reason != "InvalidCommit" {
			return fmt.Sprintf("the source does not say that its newest commit %s is broken: %s: %s", head.Hash, synced.Reason, synced.Message)
		}
		return ""
	case status.Applied == nil || status.Applied.Hash != head.Hash || synced.Status != v1.ConditionTrue:
		return fmt.Sprintf("the newest commit %s is not applied: %s: %s", head.Hash, synced.Reason, synced.Message)
	}
	for _, app := range gitApps {
		if _, wanted := head.files[app]; !wanted && c.pastGit[app] {
			continue // it is people's now
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
	switch e.Reason {
	case "Created", "Configured", "DriftReverted", "Pruned":
		return c.needs("source " + object)
	case "Fetching", "Applied", "InvalidCommit", "PruneRefused", "NotOwned", "ReferenceGone", "Unreachable":
		return ""
	}
	return "there is no such reason"
}
