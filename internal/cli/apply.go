package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// applyOptions are the flags of apply.
type applyOptions struct {
	files     []string
	recursive bool
	dryRun    bool
	inParts   bool
	note      string
	wait      bool
	timeout   time.Duration
	git       fromGit
}

func (a *app) applyCommand() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use: "apply -f FILE|DIRECTORY|- | apply --from-git DIRECTORY | apply PLAN", Short: "Store apps and units from files, or do what a saved plan says",
		Long: `Reads YAML or JSON documents (kind App, Unit or Source) and stores each as it is written, all in one transaction: either all are
stored or none is. Every fault is reported as file:line: field: message. From a directory, the .yaml, .yml and .json files
are read, except hidden ones.

What one apply changed has an ID (apply in -o json), and fleetctl undo --apply ID takes all of it back. fleetctl diff -f FILE
shows before what would change. A transaction of etcd has at most 128 operations (an app is one, a unit two) and 1.45 MB: more
is refused, unless --in-parts allows several transactions.

With --from-git, the manifests of a commit are stored: those of the HEAD of the repository in DIRECTORY, or of --ref, below --path or
what DIRECTORY is in the work tree. They are read from git's objects, whatever the work tree has, and by the rules of a Source:
the whole commit or nothing, and no host, unit or app of another owner. The history names the commit, the author and the file. What
is no longer in the repository is not deleted: only a Source knows what it has applied.

With PLAN, a file that fleetctl plan --out has written, exactly what the plan says is done, or nothing: if something else would
happen by now, the exit code is 6 and what differs is said.

--wait reports progress on standard error and returns when all are ready, or as soon as one cannot become ready: its
manifest is not accepted, an instance fits no machine, or its roll-out has stalled.`,
		Example: `  fleetctl apply -f example-app.yaml
  fleetctl apply -f manifests/ -R --wait --timeout 5m
  fleetctl apply -f manifests/ --dry-run
  fleetctl apply -f shop.yaml --note "ticket 123"
  fleetctl apply --from-git . --path clusters/prod --wait
  fleetctl apply plan.json --wait
  sed s/replicas:.*/replicas:\ 4/ example-app.yaml | fleetctl apply -f -`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usage("one saved plan is applied at a time, got %q", args)
			case len(args) == 1 && (len(o.files) > 0 || o.recursive || o.dryRun || o.inParts || o.git.dir != ""):
				return usage("a saved plan is applied as it is: -f, -R, --from-git, --dry-run and --in-parts are for manifests")
			case o.git.dir != "" && o.inParts:
				return usage("a commit is stored whole: --in-parts is for -f")
			case len(args)+len(o.files) == 0 && o.git.dir == "":
				return usage("-f FILE is missing: a file, a directory, or - for standard input")
			}
			return o.git.check(len(o.files) > 0 || o.recursive)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return a.applyPlan(cmd.Context(), args[0], o)
			}
			return a.apply(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "filename", "f", nil, "a file, a directory, or - for standard input; may be repeated")
	f.BoolVarP(&o.recursive, "recursive", "R", false, "include subdirectories")
	f.BoolVar(&o.dryRun, "dry-run", false, "check and report what would change, without storing it")
	f.BoolVar(&o.inParts, "in-parts", false, "store many objects in several transactions; each is all or nothing, and has its own ID")
	f.StringVar(&o.note, "note", "", "a note for fleetctl history")
	f.BoolVar(&o.wait, "wait", false, "wait until all are ready")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long --wait may take")
	o.git.flags(cmd)
	return cmd
}

// partSize is how many objects one part of --in-parts has: two operations each, and the record, are within etcd's 128.
const partSize = 60

func (a *app) apply(ctx context.Context, o applyOptions) error {
	manifests, faults, err := a.read(ctx, o.files, o.recursive, o.git)
	if err != nil {
		return err
	}
	if faults > 0 { // fleetd checks the readable ones, so that all faults are reported at once
		_, _ = a.store(ctx, manifests, applyOptions{dryRun: true}, false)
		return errReported{exitError}
	}
	parts := [][]manifest{manifests}
	if o.inParts {
		parts = slices.Collect(slices.Chunk(manifests, partSize))
		for _, part := range parts { // all are checked before any is stored
			if _, err := a.store(ctx, part, applyOptions{dryRun: true}, o.dryRun); err != nil {
				return err
			}
		}
		if o.dryRun {
			return nil
		}
	}
	var revisions []int64
	for _, part := range parts {
		stored, err := a.store(ctx, part, o, true)
		if err != nil {
			return err
		}
		revisions = append(revisions, stored...)
	}
	if o.dryRun || !o.wait {
		return nil
	}
	return a.waitFor(ctx, manifests, revisions, o.timeout)
}

// store sends the manifests together and returns the revision of each.
func (a *app) store(ctx context.Context, manifests []manifest, o applyOptions, say bool) ([]int64, error) {
	if len(manifests) == 0 {
		return nil, nil
	}
	query, suffix := dryRun(o.dryRun)
	answer, err := a.sendApply(ctx, manifests, o.note, query)
	if older(err) {
		return a.storeEach(ctx, manifests, o, say)
	}
	if err != nil {
		return nil, a.refused(manifests, err)
	}
	if say && a.output == "json" {
		if err := a.printJSON(answer); err != nil {
			return nil, err
		}
		say = false
	}
	revisions, changed := make([]int64, len(manifests)), 0
	for i, item := range answer.Items {
		if say {
			a.tellStored(manifests[i], item, suffix)
		}
		revisions[i], _ = strconv.ParseInt(item.ResourceVersion, 10, 64)
		if item.Reason != wire.ReasonUnchanged {
			changed++
		}
	}
	if say && changed > 1 && answer.Apply != "" && a.Terminal {
		a.note("fleetctl: to take all of this back: fleetctl undo --apply %s", answer.Apply)
	}
	return revisions, nil
}

// dryRun returns the query of a write that is perhaps only tried, and what is said after its result.
func dryRun(only bool) (query url.Values, suffix string) {
	if !only {
		return nil, ""
	}
	return url.Values{"dryRun": {"true"}}, " (dry run)"
}

// sendApply sends the manifests in one request.
func (a *app) sendApply(ctx context.Context, manifests []manifest, note string, query url.Values) (*wire.Status, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	request := wire.ApplyRequest{Note: note, Git: commitOf(manifests)}
	for _, m := range manifests {
		request.Manifests = append(request.Manifests, string(m.Raw))
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	answer, err := c.Write(ctx, client.Request{Method: http.MethodPost, Path: client.Path("applies"), Query: query, Body: body, ContentType: wire.JSON})
	if err == nil && len(answer.Items) != len(manifests) {
		return nil, fmt.Errorf("fleetd answered for %d of %d manifests", len(answer.Items), len(manifests))
	}
	return answer, err
}

// older reports whether the fleetd that refused an apply is one that does not know it.
func older(err error) bool {
	status := statusOf(err)
	return status != nil && status.Code == http.StatusNotFound && strings.HasPrefix(status.Message, "unknown path")
}

// refused reports why manifests are not accepted, with file and line.
func (a *app) refused(manifests []manifest, err error) error {
	status := statusOf(err)
	if status == nil { // fleetd is unreachable
		return err
	}
	items := status.Items
	if len(items) == 0 && len(manifests) == 1 {
		items = []*wire.Status{status}
	}
	if len(items) != len(manifests) {
		return err
	}
	for i, item := range items {
		if m := manifests[i]; item.Status == wire.Failure {
			a.tellRefused(m, item)
		}
	}
	return errReported{exitCode(err)}
}

// tellRefused reports what is wrong with a manifest.
func (a *app) tellRefused(m manifest, status *wire.Status) {
	if m.Unit != nil {
		status.Causes = inManifest(status.Causes, "")
	}
	a.tellFaults(m.file, m.Line-1, status)
}

// tellStored reports what became of a manifest.
func (a *app) tellStored(m manifest, answer *wire.Status, suffix string) {
	for _, c := range inManifest(answer.Warnings, "warning: ") {
		a.tellCause(m.file, m.Line-1, c)
	}
	a.say("%s%s", answer.Message, suffix)
}

// storeEach is store for a fleetd that stores one manifest at a time: all are checked first.
func (a *app) storeEach(ctx context.Context, manifests []manifest, o applyOptions, say bool) ([]int64, error) {
	if !o.dryRun {
		if _, err := a.storeEach(ctx, manifests, applyOptions{dryRun: true}, false); err != nil {
			return nil, err
		}
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	var revisions []int64
	code := exitOK
	for _, m := range manifests {
		r := client.Request{Method: http.MethodPut, Path: client.Path("apps", m.Name()), Body: m.Raw, ContentType: wire.YAML}
		if m.Unit != nil {
			r.Path = client.Path("units", m.Name())
		}
		var suffix string
		r.Query, suffix = dryRun(o.dryRun)
		answer, err := c.Write(ctx, r)
		if err != nil {
			if statusOf(err) == nil {
				return nil, err // fleetd is unreachable: the others would fail in the same way
			}
			a.tellRefused(m, statusOf(err))
			code = exitCode(err)
			continue
		}
		if say {
			a.tellStored(m, answer, suffix)
		}
		revision, _ := strconv.ParseInt(answer.ResourceVersion, 10, 64)
		revisions = append(revisions, revision)
	}
	if code != exitOK {
		return nil, errReported{code}
	}
	return revisions, nil
}

// inManifest prefixes faults or warnings for output: those of a unit's file get the manifest's line, followed by their
// own line within the file.
func inManifest(causes []wire.Cause, prefix string) []wire.Cause {
	out := make([]wire.Cause, len(causes))
	for i, c := range causes {
		out[i] = c
		out[i].Message = prefix + c.Message
		if c.InContents != nil {
			inner := *c.InContents
			inner.Message = prefix + inner.Message
			out[i].Line, out[i].Message = 1, inner.String()
		}
	}
	return out
}
