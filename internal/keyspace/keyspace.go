// Package keyspace defines every etcd key and the encoding of its value. No other package contains key paths.
//
// Below the root (etcd_key_prefix, /fleet), with exactly one writer per row:
//
//	apps/<app>                  the manifest, exactly as a person wrote it      people: API, etcdctl, git
//	units/<unit>                desired unit: file hash, desired state, owner   app controller; people for units without owner
//	unitfiles/<sha256>          unit file text, immutable                       the writer of the unit
//	revisions/<app>/<n>         an accepted spec, immutable                     app controller
//	applies/<time>-<id>         who wrote manifests together, and what was before, immutable API, source controller
//	machines/<id>               presence, under the machine's lease             fleetd on that machine
//	machineconfig/<id>          cordon, drain, metadata edits                   people: API, etcdctl
//	overrides/<unit>            a person's wish for one unit of an app          people: API, etcdctl
//	rollouts/<app>              a person's wish for an app's roll-outs          people: API, etcdctl
//	sources/<name>              a Git repository to sync, exactly as written    people: API, etcdctl, git; source controller for previews
//	sourcestatus/<name>         commit, inventory, conditions of a source       source controller
//	sourcewishes/<name>         a person's wish for a source                    people: API, etcdctl
//	placements/<machine>/<unit> hash and desired state for one machine          schedule controller
//	preparations/<machine>/<unit> the start to prepare before the unit moves there schedule controller
//	unplaced/<unit>             why no machine fits                             schedule controller
//	states/<machine>/<unit>     what systemd reports                            fleetd on that machine
//	routes/<app>                hosts, prefix, route options: for routers       app controller
//	status/<app>                conditions and counts                           status controller
//	routers/<machine>           what its nginx serves, under the router's lease route controller on that machine
//	events/<time>-<id>          what happened and why, under a long lease       all
//	leaders/<name>              who leads, under the session's lease            leader election
//
// Everything else below the root is ignored, and the leader reports it.
//
// Outside the root, in the seed's own layout, under the announcer's lease:
//
//	/services/web/<app>/<instance>   ip:port                                    announce
package keyspace

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// DefaultRoot is the root if none is configured.
const DefaultRoot = "/fleet"

// Keys are the rows below one root.
type Keys struct {
	root string
}

// New returns the rows below root, such as /fleet. An empty root means DefaultRoot.
func New(root string) Keys {
	root = strings.TrimRight(root, "/")
	if root == "" {
		root = DefaultRoot
	}
	if !strings.HasPrefix(root, "/") {
		root = "/" + root
	}
	return Keys{root: root}
}

// Root returns the prefix of all rows, with a trailing slash.
func (k Keys) Root() string { return k.root + "/" }

// Apps holds manifests, exactly as people wrote them.
func (k Keys) Apps() Collection[[]byte] { return raw(k.root + "/apps/") }

// ManifestKey is where the manifest of an App, a Unit or a Source is.
func (k Keys) ManifestKey(kind, name string) string {
	switch kind {
	case v1.KindUnit:
		return k.Units().Key(name)
	case v1.KindSource:
		return k.Sources().Key(name)
	}
	return k.Apps().Key(name)
}

// AppNames is Apps for callers that only need the names.
func (k Keys) AppNames() Collection[struct{}] { return namesOf(k.Apps()) }

// namesOf is a row without its values.
func namesOf[T any](row Collection[T]) Collection[struct{}] {
	return Collection[struct{}]{
		prefix: row.prefix, names: row.names,
		encode: func(struct{}) ([]byte, error) { return nil, nil },
		decode: func([]byte) (struct{}, error) { return struct{}{}, nil },
	}
}

// Units holds desired units.
func (k Keys) Units() Collection[v1.Unit] {
	return manifest[v1.Unit](k.root + "/units/").sharing(shareUnit)
}

// UnitFiles holds unit file texts by their hash.
func (k Keys) UnitFiles() Collection[string] { return text(k.root + "/unitfiles/") }

// Revisions holds accepted specs; names are <app>/<n>, see RevisionName. Revisions of an older fleetd get this one's
// defaults.
func (k Keys) Revisions() Collection[v1.Revision] {
	return jsonOf[v1.Revision](k.root + "/revisions/").named(isRevision).defaulted((*v1.Revision).Default)
}

// Applies holds who changed manifests through the API, and what they were before; names are <time>-<id>, so that they sort by
// time.
func (k Keys) Applies() Collection[v1.Apply] {
	return jsonOf[v1.Apply](k.root + "/applies/").named(isApply)
}

// ApplyNames is Applies for callers that only need the names.
func (k Keys) ApplyNames() Collection[struct{}] { return namesOf(k.Applies()) }

// Machines holds the machines that are present.
func (k Keys) Machines() Collection[v1.Machine] {
	return jsonOf[v1.Machine](k.root + "/machines/").named(isMachine).underLease()
}

// MachineConfigs holds machine configuration set by people.
func (k Keys) MachineConfigs() Collection[v1.MachineConfig] {
	row := manifest[v1.MachineConfig](k.root + "/machineconfig/").named(isMachine)
	decode := row.decode
	row.decode = func(data []byte) (v1.MachineConfig, error) {
		config, err := decode(data)
		if err != nil {
			err = fmt.Errorf("%w; the fields are cordoned, drain and metadata", err) // they are few, and written by hand
		}
		return config, err
	}
	return row
}

// Overrides holds people's wishes for single units.
func (k Keys) Overrides() Collection[v1.Override] {
	return manifest[v1.Override](k.root + "/overrides/")
}

// Rollouts holds people's wishes for the roll-outs of apps.
func (k Keys) Rollouts() Collection[v1.RolloutWish] {
	return manifest[v1.RolloutWish](k.root + "/rollouts/")
}

// Sources holds the manifests of Git repositories, exactly as people wrote them.
func (k Keys) Sources() Collection[[]byte] { return raw(k.root + "/sources/") }

// SourceStatus holds what sources have applied.
func (k Keys) SourceStatus() Collection[v1.SourceStatus] {
	return jsonOf[v1.SourceStatus](k.root + "/sourcestatus/")
}

// SourceWishes holds people's wishes for sources.
func (k Keys) SourceWishes() Collection[v1.SourceWish] {
	return manifest[v1.SourceWish](k.root + "/sourcewishes/")
}

// Placements holds what runs where; names are <machine>/<unit>, see Join.
func (k Keys) Placements() Collection[v1.Placement] {
	return jsonOf[v1.Placement](k.root + "/placements/").named(isPair).sharing(sharePlacement)
}

// PlacementsOf holds the placements of one machine; names are units.
func (k Keys) PlacementsOf(machine string) Collection[v1.Placement] {
	return jsonOf[v1.Placement](k.root + "/placements/" + machine + "/")
}

// Preparations holds what machines are to prepare before units are moved to them; names are <machine>/<unit>, see Join.
func (k Keys) Preparations() Collection[v1.Next] {
	return jsonOf[v1.Next](k.root + "/preparations/").named(isPair)
}

// PreparationsOf holds what one machine is to prepare; names are units.
func (k Keys) PreparationsOf(machine string) Collection[v1.Next] {
	return jsonOf[v1.Next](k.root + "/preparations/" + machine + "/")
}

// Unplaced holds why units have no machine.
func (k Keys) Unplaced() Collection[v1.Unplaced] { return jsonOf[v1.Unplaced](k.root + "/unplaced/") }

// States holds what systemd reports on every machine; names are <machine>/<unit>, see Join.
func (k Keys) States() Collection[v1.UnitState] {
	return states(k.root + "/states/").named(isPair).sharing(shareState)
}

// StatesOf holds the states of one machine; names are units.
func (k Keys) StatesOf(machine string) Collection[v1.UnitState] {
	return states(k.root + "/states/" + machine + "/")
}

func states(prefix string) Collection[v1.UnitState] {
	return Collection[v1.UnitState]{prefix: prefix, encode: encodeJSON[v1.UnitState], decode: decodeState}
}

// Status holds what was observed of apps.
func (k Keys) Status() Collection[v1.AppStatus] { return jsonOf[v1.AppStatus](k.root + "/status/") }

// Routes holds what routers need to know about apps.
func (k Keys) Routes() Collection[v1.AppRoute] { return jsonOf[v1.AppRoute](k.root + "/routes/") }

// Routers holds what each machine's nginx serves.
func (k Keys) Routers() Collection[v1.Router] {
	return jsonOf[v1.Router](k.root + "/routers/").named(isMachine).underLease()
}

// Events holds what happened; names are <time>-<id>, so that they sort by time.
func (k Keys) Events() Collection[v1.Event] { return jsonOf[v1.Event](k.root + "/events/") }

func shareUnit(u *v1.Unit) {
	shared(&u.Metadata.Owner, &u.Metadata.OwnerUID, &u.Spec.Hash, (*string)(&u.Spec.DesiredState), &u.Next.Hash)
}

func sharePlacement(p *v1.Placement) { shared(&p.Hash, (*string)(&p.DesiredState), &p.Next.Hash) }

func shareState(s *v1.UnitState) {
	shared(&s.LoadState, &s.ActiveState, &s.SubState, &s.Result, &s.Hash, (*string)(&s.DesiredState))
}

// Election is the name of the only election.
const Election = "engine"

// Leaders holds the candidates of the election, each under its session's lease. The oldest one leads.
func (k Keys) Leaders() Collection[string] {
	return text(k.root + "/leaders/").named(isCandidate).underLease()
}

// Leader is the prefix of the election of that name.
func (k Keys) Leader(name string) string { return k.root + "/leaders/" + name }

// Endpoints holds ip:port below an announce prefix; names are <app>/<instance>. It is outside the root: confd, etcdctl and
// shell scripts read it.
func Endpoints(prefix string) Collection[string] { return text(strings.TrimRight(prefix, "/") + "/") }

// Join joins the two parts of a name: <machine>/<unit>, <app>/<instance>.
func Join(first, second string) string { return first + "/" + second }

// Split is the inverse of Join. ok is false unless name has exactly two parts.
func Split(name string) (first, second string, ok bool) {
	first, second, ok = strings.Cut(name, "/")
	return first, second, ok && first != "" && second != "" && !strings.Contains(second, "/")
}

// RevisionName is the name of an app's n-th revision, padded so that names sort by number.
func RevisionName(app string, n int64) string { return fmt.Sprintf("%s/%010d", app, n) }

// ParseRevisionName is the inverse of RevisionName. ok is false for any other name.
func ParseRevisionName(name string) (app string, n int64, ok bool) {
	app, number, ok := Split(name)
	n, err := strconv.ParseInt(number, 10, 64)
	return app, n, ok && err == nil && n > 0 && RevisionName(app, n) == name
}

func isPair(name string) bool {
	_, _, ok := Split(name)
	return ok
}

func isRevision(name string) bool {
	_, _, ok := ParseRevisionName(name)
	return ok
}

func isCandidate(name string) bool {
	election, _, ok := Split(name)
	return ok && election == Election
}

// applyTime is the first part of the names of applies.
const applyTime = "20060102T150405Z"

// ApplyName is the name of an apply, such as 20261129T021105Z-4c2b37: people type it. random is 6 hexadecimal digits.
func ApplyName(at time.Time, random string) string { return at.UTC().Format(applyTime) + "-" + random }

func isApply(name string) bool {
	at, random, _ := strings.Cut(name, "-")
	parsed, err := time.Parse(applyTime, at)
	return err == nil && len(random) == 6 && strings.Trim(random, "0123456789abcdef") == "" && ApplyName(parsed, random) == name
}

// isMachine reports whether name is a valid machine ID. An ID is part of other keys, and of texts that are compared after
// they were stored as JSON.
func isMachine(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r <= ' ' || r == 0x7f })
}
