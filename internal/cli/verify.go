package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/repository"
	"github.com/fleet-starter/fleet/internal/verify"
)

func (a *app) verifyCommand() *cobra.Command {
	strict, offline := false, false
	var commit fromGit
	cmd := &cobra.Command{
		Use: "verify FILE|DIRECTORY... | verify --from-git DIRECTORY", Short: "Check unit files and manifests without a cluster",
		Long: `Checks unit files and manifests, and talks to no fleetd: names of units, the [X-Fleet] section, options that nothing
knows, the fields of manifests and the unit files that are generated from them. Where there is a systemd-analyze,
systemd says what it makes of the unit files, too; programs and units that this computer lacks are no fault.

A file that ends in .yaml, .yml or .json is a manifest, any other a unit file with the unit's name. From a directory, files
of both kinds are read. With --from-git, the manifests of a commit are checked, together, as a Source would before it applies them.

What is found is written to standard error as file:line: field: message, and a line for each file
to standard output. The exit code is 1 if a file would be refused.`,
		Example: `  fleetctl verify example-app@.service example-app-discovery@.service
  fleetctl verify --strict manifests/
  fleetctl verify --no-systemd app.yaml
  fleetctl verify --from-git . --path clusters/prod`,
		Args: func(cmd *cobra.Command, args []string) error {
			if commit.dir == "" && commit == (fromGit{}) {
				return atLeast(1, "FILE")(cmd, args)
			}
			return commit.check(len(args) > 0)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if commit.dir != "" {
				return a.verifyCommit(cmd.Context(), commit, strict, !offline)
			}
			return a.verify(cmd.Context(), args, strict, !offline)
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 also when there are only warnings")
	cmd.Flags().BoolVar(&offline, "no-systemd", false, "do not ask systemd-analyze")
	commit.flags(cmd)
	return cmd
}

func (a *app) verify(ctx context.Context, paths []string, strict, systemd bool) error {
	files, err := filesToVerify(paths)
	if err != nil {
		return err
	}
	var findings []verify.Finding
	var units []verify.Unit
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if verify.IsManifest(file) {
			found, of := verify.Manifests(file, text)
			findings, units = append(findings, found...), append(units, of...)
			continue
		}
		found, unit := verify.UnitFile(file, string(text))
		findings = append(findings, found...)
		if unit != nil {
			units = append(units, *unit)
		}
	}
	return a.verified(ctx, files, findings, units, strict, systemd)
}

// verifyCommit checks the manifests of a commit: first as a source does, then each by itself.
func (a *app) verifyCommit(ctx context.Context, g fromGit, strict, systemd bool) error {
	c, err := g.readCommit(ctx, nil)
	if err != nil {
		return err
	}
	a.tellCommit(g, c)
	if m := repository.Read(c.SourceCommit, c.files); m.Fault != nil {
		a.tellCommitFaults(m.Fault)
		return errReported{exitError}
	}
	var files []string
	var findings []verify.Finding
	var units []verify.Unit
	for _, f := range c.files {
		found, of := verify.Manifests(f.Path, f.Data)
		files, findings, units = append(files, f.Path), append(findings, found...), append(units, of...)
	}
	slices.Sort(files)
	files = slices.Compact(files) // of one kustomization are several objects
	return a.verified(ctx, files, findings, units, strict, systemd)
}

// verified asks systemd, if it shall, and writes what was found.
func (a *app) verified(ctx context.Context, files []string, findings []verify.Finding, units []verify.Unit, strict, systemd bool) error {
	if systemd {
		said, err := verify.Systemd(ctx, units)
		if errors.Is(err, verify.ErrNoSystemd) {
			a.note("fleetctl: %v", err)
		} else if err != nil {
			return err
		}
		findings = append(findings, said...)
	}
	return a.tellVerified(files, findings, strict)
}

// tellVerified writes what was found, file by file.
func (a *app) tellVerified(files []string, findings []verify.Finding, strict bool) error {
	failed := false
	for _, file := range files {
		faults, warnings := 0, 0
		own := slices.DeleteFunc(slices.Clone(findings), func(f verify.Finding) bool { return f.File != file })
		slices.SortStableFunc(own, func(f, g verify.Finding) int { return f.Line - g.Line })
		for _, f := range own {
			a.note("%s", f)
			if f.Warning {
				warnings++
			} else {
				faults++
			}
		}
		failed = failed || faults > 0 || strict && warnings > 0
		switch {
		case faults+warnings == 0:
			a.say("%s: ok", file)
		case faults == 0:
			a.say("%s: ok, %s", file, countOf(warnings, "warning"))
		default:
			a.say("%s: %s, %s", file, countOf(faults, "fault"), countOf(warnings, "warning"))
		}
	}
	if failed {
		return errReported{exitError}
	}
	return nil
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// filesToVerify are the files, and those of the directories: manifests and unit files.
func filesToVerify(paths []string) (files []string, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if !entry.IsDir() && !hidden(entry) && (verify.IsManifest(entry.Name()) || verify.IsUnitFile(entry.Name())) {
				files = append(files, filepath.Join(path, entry.Name()))
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%v: no manifest and no unit file found", paths)
	}
	return slices.Compact(files), nil
}
