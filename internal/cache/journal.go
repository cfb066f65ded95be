package cache

import "github.com/fleet-starter/fleet/internal/store"

// journal records the changes of a row while it is checked.
type journal struct {
	row     row
	changes []change
}

// change is one change, with the revision of the key's previous change; 0 means that the key did not exist.
type change struct {
	key              string
	revision, before int64
}

func (j *journal) note(row row, e store.Event, before int64) {
	if j != nil && j.row == row {
		j.changes = append(j.changes, change{e.Key, e.ModRevision, before})
	}
}

// after returns, for each key that changed after a revision, the last change up to that revision.
func (j *journal) after(revision int64) map[string]int64 {
	was := map[string]int64{}
	for _, c := range j.changes {
		if _, ok := was[c.key]; !ok && c.revision > revision {
			was[c.key] = c.before
		}
	}
	return was
}
