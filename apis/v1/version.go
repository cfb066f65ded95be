package v1

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// maxVersionRange is how long a range of versions may be, maxTag how long a tag that is a version.
const (
	maxVersionRange = 200
	maxTag          = 200
)

// VersionRange is a range of semantic versions.
type VersionRange struct{ constraints *semver.Constraints }

// ParseVersionRange parses a range such as ">=1.2 <2", "1.x", "~1.2.3" or "^1 || ^3".
func ParseVersionRange(text string) (VersionRange, error) {
	if len(text) <= maxVersionRange && strings.TrimSpace(text) != "" {
		if constraints, err := semver.NewConstraint(text); err == nil {
			return VersionRange{constraints}, nil
		}
	}
	return VersionRange{}, fmt.Errorf(`%s is not a range of versions: write one such as ">=1.2 <2", "1.x" or "^1 || ^3"`, quoteShort(text))
}

// Highest returns the tag with the highest version in the range; empty: none is in it. A tag is a version if it is MAJOR.MINOR.PATCH, with
// a v before it or not: dates and the like are not. Of several tags of one version it is the last by name.
func (r VersionRange) Highest(tags []string) string {
	var highest *semver.Version
	best := ""
	for _, tag := range tags {
		if len(tag) > maxTag {
			continue
		}
		version, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
		if err != nil || !r.constraints.Check(version) {
			continue
		}
		if highest == nil || cmp.Or(version.Compare(highest), cmp.Compare(tag, best)) > 0 {
			highest, best = version, tag
		}
	}
	return best
}
