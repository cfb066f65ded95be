package cli

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
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
	wait      bool
	timeout   time.Duration
}

func (a *app) applyCommand() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use: "apply -f FILE|DIRECTORY|-", Short: "Store apps and units from files",
		Long: `Reads YAML or JSON documents (kind App or Unit) and stores each as it is written. All are checked before
anything is stored; every fault is reported as file:line: field: message. From a directory, the .yaml, .yml and .json
files are read, except hidden ones.

--wait reports progress on standard error and returns when all are ready, or as soon as one cannot become ready: its
manifest is not accepted, an instance fits no machine, or its roll-out has stalled.`,
		Example: `  fleetctl apply -f example-app.yaml
  fleetctl apply -f manifests/ -R --wait --timeout 5m
  fleetctl apply -f manifests/ --dry-run
  sed s/replicas:.*/replicas:\ 4/ example-app.yaml | fleetctl apply -f -`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.files) == 0 {
				return usage("-f FILE is missing: a file, a directory, or - for standard input")
			}
			return a.apply(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "filename", "f", nil, "a file, a directory, or - for standard input; may be repeated")
	f.BoolVarP(&o.recursive, "recursive", "R", false, "include subdirectories")
	f.BoolVar(&o.dryRun, "dry-run", false, "check and report what would change, without storing it")
	f.BoolVar(&o.wait, "wait", false, "wait until all are ready")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long --wait may take")
	return cmd
}

func (a *app) apply(ctx context.Context, o applyOptions) error {
	manifests, faults, err := a.readManifests(o.files, o.recursive)
	if err != nil {
		return err
	}
	// Dry-run everything first: the server has to accept all manifests before any is stored. The readable ones are
	// tried even if others have faults, so that all faults are reported at once.
	_, err = a.store(ctx, manifests, true, o.dryRun && faults == 0)
	switch {
	case faults > 0:
		return errReported{exitError}
	case err != nil || o.dryRun:
		return err
	}
	revisions, err := a.store(ctx, manifests, false, true)
	if err != nil || !o.wait {
		return err
	}
	return a.waitFor(ctx, manifests, revisions, o.timeout)
}

// store sends the manifests and returns the revision of each.
func (a *app) store(ctx context.Context, manifests []manifest, dryRun, say bool) ([]int64, error) {
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
		if dryRun {
			r.Query = url.Values{"dryRun": {"true"}}
		}
		answer, err := c.Write(ctx, r)
		if err != nil {
			if statusOf(err) == nil {
				return nil, err // fleetd is unreachable: the others would fail in the same way
			}
			if status := statusOf(err); m.Unit != nil {
				status.Causes = inManifest(status.Causes, "")
			}
			a.tellFaults(m.file, m.Line-1, err)
			code = exitCode(err)
			continue
		}
		if say {
			for _, c := range inManifest(answer.Warnings, "warning: ") {
				a.tellCause(m.file, m.Line-1, c)
			}
			suffix := ""
			if dryRun {
				suffix = " (dry run)"
			}
			a.say("%s%s", answer.Message, suffix)
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
