package v1

import (
	"time"
)

// Source is a Git repository whose manifests are applied whenever a branch or tag of it changes. Stored at sources/<name>.
type Source struct {
	TypeMeta `json:",inline"`
	Metadata ObjectMeta `json:"metadata"`
	Spec     SourceSpec `json:"spec"`
	// Status is what was observed; stored apart, at sourcestatus/<name>.
	Status *SourceStatus `json:"status,omitempty"`
}

// SourceSpec is where manifests come from and what happens to them.
type SourceSpec struct {
	Git GitSource `json:"git"`
	// Interval is how often the server is asked whether the branch or tag has changed, at least 5s. Default 30s.
	Interval Duration `json:"interval,omitempty"`
	// Auth are files with credentials, on each machine that can lead.
	Auth *GitAuth `json:"auth,omitempty"`
	// Prune deletes what is no longer in the repository. Without it such an app goes on, and belongs to the source no more.
	Prune bool `json:"prune,omitempty"`
	// Suspend applies nothing until it is false again.
	Suspend bool `json:"suspend,omitempty"`
	// Verify applies signed commits only.
	Verify *GitVerify `json:"verify,omitempty"`
	// Webhook takes webhooks of the Git server at /hooks/<name> of every fleetd that listens on TCP.
	Webhook *SourceWebhook `json:"webhook,omitempty"`
	// Report tells the Git server what became of each commit: pending, success, or failure with the reason.
	Report *SourceReport `json:"report,omitempty"`
	// Previews have copies of the apps run for each branch that matches, until the branch is gone.
	Previews *SourcePreviews `json:"previews,omitempty"`
	// Preview is set in a source that is a preview of another one, by that one.
	Preview *PreviewOf `json:"preview,omitempty"`
	// DependsOn are sources whose newest commits have to be applied, and their apps ready, before one of this source is.
	DependsOn []string `json:"dependsOn,omitempty"`
}

// SourceWebhook is how webhooks are checked.
type SourceWebhook struct {
	// SecretFile is a file on each machine that takes webhooks, with the secret that the Git server signs them with.
	SecretFile string `json:"secretFile"`
}

// GitSource is a directory of a branch, a tag, a range of versions or a commit of a repository.
type GitSource struct {
	// URL is https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH.
	URL string `json:"url"`
	// Branch, Tag, Semver and Commit say what to follow, one of them. Default: the branch main.
	Branch string `json:"branch,omitempty"`
	Tag    string `json:"tag,omitempty"`
	// Semver is a range of semantic versions, such as ">=1.2 <2": the highest tag in it is followed, written 1.2.3 or v1.2.3. A
	// prerelease counts only if the range names one, such as ">=1.2.0-0".
	Semver string `json:"semver,omitempty"`
	Commit string `json:"commit,omitempty"`
	// Path is the directory of the manifests: files that end in .yaml, .yml or .json, also in directories below. Default: the
	// whole repository.
	Path string `json:"path,omitempty"`
}

// GitAuth names files with credentials. Their contents are never stored, logged or shown.
type GitAuth struct {
	// SSHKeyFile is a private key without passphrase, KnownHostsFile the server's host keys as ssh-keyscan writes them.
	SSHKeyFile     string `json:"sshKeyFile,omitempty"`
	KnownHostsFile string `json:"knownHostsFile,omitempty"`
	// TokenFile has an access token, or user:password, in one line.
	TokenFile string `json:"tokenFile,omitempty"`
	// CAFile has the certificates of the server's authority, if that is not a public one.
	CAFile string `json:"caFile,omitempty"`
}

// GitVerify is who may sign commits.
type GitVerify struct {
	// SSHSigners are lines of an allowed signers file (ssh-keygen(1)): ada@example.com ssh-ed25519 AAAA...
	SSHSigners []string `json:"sshSigners,omitempty"`
}

// AtCommit is the same directory at that very commit.
func (g GitSource) AtCommit(hash string) GitSource {
	return GitSource{URL: g.URL, Commit: hash, Path: g.Path}
}

// Reference is the full name of the branch or tag that is followed; empty for a commit, and for a range of versions.
func (g *GitSource) Reference() string {
	switch {
	case g.Commit != "", g.Semver != "":
		return ""
	case g.Tag != "":
		return "refs/tags/" + g.Tag
	}
	return "refs/heads/" + g.Branch
}

// SourceStatus is what a source has applied. Stored at sourcestatus/<name>.
type SourceStatus struct {
	// UID is that of its source: another one of the same name begins anew.
	UID int64 `json:"uid"`
	// ObservedRevision is the resourceVersion of the source's manifest that the status is about.
	ObservedRevision int64 `json:"observedRevision,omitempty"`
	// Applied is the commit that the inventory is of; nil before the first one.
	Applied *SourceCommit `json:"applied,omitempty"`
	// Staged is the commit that is being applied, if it takes more than one transaction.
	Staged *SourceCommit `json:"staged,omitempty"`
	// Failed is the commit that is not applied, because of what Ready says.
	Failed *SourceCommit `json:"failed,omitempty"`
	// Reported is what the Git server was told last, if spec.report is set.
	Reported *CommitReport `json:"reported,omitempty"`
	// Previews are those of spec.previews, sorted by branch. Preview is the source that this one is a preview of.
	Previews []SourcePreview `json:"previews,omitempty"`
	Preview  string          `json:"preview,omitempty"`
	// Inventory is what belongs to the source, sorted by kind and name.
	Inventory []SourceObject `json:"inventory,omitempty"`
	// Handled is the last request of fleetctl sync that was answered.
	Handled    string      `json:"handled,omitempty"`
	Conditions []Condition `json:"conditions,omitempty"`
}

// SourceCommit is a commit of a repository.
type SourceCommit struct {
	Hash    string    `json:"hash"`
	Author  string    `json:"author,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Time    time.Time `json:"time,omitzero"`
	// Tag is the one that a range of versions chose.
	Tag string `json:"tag,omitempty"`
	// Signer is who signed it, if that was asked for.
	Signer string `json:"signer,omitempty"`
	// Source is the source that applied it; only set in the record of an apply, and empty there if fleetctl did.
	Source string `json:"source,omitempty"`
}

// Short is the beginning of the hash, as people write it.
func (c SourceCommit) Short() string { return ShortHash(c.Hash) }

// ShortHash is the beginning of a commit's hash.
func ShortHash(hash string) string { return hash[:min(len(hash), 10)] }

// SourceObject is an object that a source manages.
type SourceObject struct {
	// Kind is App or Source.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Path is the file in the repository, Line the document's first line in it, Blob the hash of the file.
	Path string `json:"path"`
	Line int    `json:"line,omitempty"`
	Blob string `json:"blob"`
	// Hash is the SHA-256 of the document's text: what the object is to be.
	Hash string `json:"hash"`
	// Held is why the text is not applied again: it was undone, or the app has fleet/sync: paused. Empty: it is.
	Held string `json:"held,omitempty"`
}

// SourceWish is what people ask of a source. Stored at sourcewishes/<name>.
type SourceWish struct {
	// RequestedAt asks for a pass now.
	RequestedAt string `json:"requestedAt,omitempty"`
	// AllowPrune is the commit that may delete more than half of the source's objects.
	AllowPrune string `json:"allowPrune,omitempty"`
	// Adopt are objects, such as app/web, that the source may take over from people.
	Adopt []string `json:"adopt,omitempty"`
	// Disown are objects that the source gives up and does not touch, though they are in the repository.
	Disown []string `json:"disown,omitempty"`
	// Suspended applies nothing until it is false again.
	Suspended bool `json:"suspended,omitempty"`
}

// The conditions of a Source, beside Ready: all is applied, and all its apps are ready.
const (
	// Synced: what the branch, tag or commit has is applied. False: what ran before goes on.
	Synced = "Synced"
)

// Reasons of Synced that end by themselves.
const (
	ReasonFetching = "Fetching" // of Synced: the repository has not been read yet
	ReasonWaiting  = "Waiting"  // of Synced: a source of dependsOn is not ready
)

// AnnotationSync of an app, if paused, keeps its source from changing or deleting it.
const (
	AnnotationSync = "fleet/sync"
	SyncPaused     = "paused"
)

// Default sets the fields that are unset. It is idempotent.
func (s *Source) Default() {
	setDefault(&s.Spec.Interval, Duration(30*time.Second))
	if p := s.Spec.Previews; p != nil {
		setDefault(&p.Limit, defaultPreviews)
	}
	if g := &s.Spec.Git; g.Branch == "" && g.Tag == "" && g.Semver == "" && g.Commit == "" {
		g.Branch = "main"
	}
}
