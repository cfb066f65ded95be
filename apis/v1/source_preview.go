package v1

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// SourcePreviews have copies of a source's apps run for each branch that matches.
type SourcePreviews struct {
	// Branches is a pattern of branch names, such as pr/*: * stands for any characters but /.
	Branches string `json:"branches"`
	// Host is the host of each copy: {app} stands for the app's name, {branch} for the branch's, such as
	// {app}-{branch}.preview.example.com.
	Host string `json:"host"`
	// TTL ends a preview when its branch had no new commit for so long. Default: it ends with its branch.
	TTL Duration `json:"ttl,omitempty"`
	// Limit is how many previews there are at most. Default 10.
	Limit int32 `json:"limit,omitempty"`
}

// PreviewOf marks a source that is a preview. The source that it is a preview of sets it; previews end with it.
type PreviewOf struct {
	// Source is the source, UID its UID.
	Source string `json:"source"`
	UID    int64  `json:"uid"`
	// Suffix is added to the names of the apps: the branch's name as a part of a host name.
	Suffix string `json:"suffix"`
	// Host is previews.host of that source.
	Host string `json:"host"`
}

// SourcePreview is a preview as its source knows it.
type SourcePreview struct {
	Branch string `json:"branch"`
	// Source is the source that applies it.
	Source string `json:"source"`
	Suffix string `json:"suffix"`
	// Commit is the branch's newest commit, Since when it was first seen.
	Commit string    `json:"commit"`
	Since  time.Time `json:"since"`
	// Ended: its time was over. It begins again with the next commit.
	Ended bool `json:"ended,omitempty"`
}

// Previews: each branch that matches spec.previews has its preview. False: one has not, or the branches cannot be listed.
const Previews = "Previews"

// AnnotationPreviews of an app, if none, leaves it out of previews: the copies of the others use the app itself.
const (
	AnnotationPreviews = "fleet/previews"
	PreviewsNone       = "none"
)

const (
	defaultPreviews = int32(10)
	maxPreviews     = 50
	minPreviewTTL   = Duration(time.Minute)
	// maxSuffix is how long a suffix may be; with the app's name it has to be a label of 63 characters.
	maxSuffix = 24
)

var notInLabel = regexp.MustCompile(`[^a-z0-9]+`)

// PreviewSuffix is a branch's name as a part of a host name: pr-7 for pr/7. A long one is cut, and made unique by a hash. It is empty for a
// name without letters and digits.
func PreviewSuffix(branch string) string {
	suffix := strings.Trim(notInLabel.ReplaceAllString(strings.ToLower(branch), "-"), "-")
	if len(suffix) <= maxSuffix {
		return suffix
	}
	sum := sha256.Sum256([]byte(branch))
	const hash = 6
	return strings.TrimRight(suffix[:maxSuffix-hash-1], "-") + "-" + hex.EncodeToString(sum[:])[:hash]
}

// previewHost is the host of a copy.
func previewHost(pattern, app, suffix string) string {
	return strings.NewReplacer("{app}", app, "{branch}", suffix).Replace(pattern)
}

// IsBranch reports whether a source can follow a branch of that name.
func IsBranch(name string) bool {
	return gitName.MatchString(name) && !strings.HasSuffix(name, "/") && !strings.HasSuffix(name, ".") && !strings.HasSuffix(name, ".lock") &&
		!slices.ContainsFunc(gitDotDots, func(bad string) bool { return strings.Contains(name, bad) })
}

// previews checks spec.previews and spec.preview.
func (v *validator) previews(s *SourceSpec) {
	if p := s.Preview; p != nil {
		if !IsLabel(p.Source) || !IsLabel(p.Suffix) || len(p.Suffix) > maxSuffix || p.UID <= 0 || s.Previews != nil {
			v.add("spec.preview", "is not as the source sets it whose preview this is: remove it")
		}
		v.previewHost("spec.preview.host", p.Host)
	}
	p := s.Previews
	if p == nil {
		return
	}
	if _, err := path.Match(p.Branches, ""); err != nil || p.Branches == "" || len(p.Branches) > 200 || strings.HasPrefix(p.Branches, "refs/") {
		v.add("spec.previews.branches", "%s is not a pattern of branch names: write one such as pr/*, without refs/", quoteShort(p.Branches))
	}
	v.previewHost("spec.previews.host", p.Host)
	if p.TTL != 0 && p.TTL < minPreviewTTL {
		v.add("spec.previews.ttl", "%s is too short: write a duration of at least %s, or remove it", p.TTL, minPreviewTTL)
	}
	if p.Limit < 1 || p.Limit > maxPreviews {
		v.add("spec.previews.limit", "%d is out of range: write a number from 1 to %d", p.Limit, maxPreviews)
	}
}

func (v *validator) previewHost(field, host string) {
	switch {
	case !strings.Contains(host, "{branch}"):
		v.add(field, "%s has no {branch}: all previews would have the same host: write one such as {app}-{branch}.preview.example.com", quoteShort(host))
	case !IsHost(previewHost(host, "app", "pr-1")):
		v.add(field, "%s is not a host name: write one such as {app}-{branch}.preview.example.com, in lower case", quoteShort(host))
	}
}
