package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// systemdTimeout bounds systemd-analyze, which loads units of this computer, too.
const systemdTimeout = 30 * time.Second

// ErrNoSystemd means that this computer has no systemd-analyze.
var ErrNoSystemd = errors.New("systemd-analyze is not installed: what only systemd knows is not checked")

var (
	located = regexp.MustCompile(`^(/.*):(\d+): (.*)$`)
	// bound to this computer, not to the file: a program or a unit that the machines may well have
	elsewhere = regexp.MustCompile(`is not executable: No such file or directory$|Failed to (create|add|queue|locate)|not found\.?$|does not exist`)
	// useless repeats what the line before it said.
	useless = regexp.MustCompile(`^Unit \S+ has a bad unit file setting\.$`)
)

// Systemd returns what "systemd-analyze verify" says of the units, which it sees together. Those that it would refuse to start are
// faults; all else are warnings. What concerns this computer alone is left out.
func Systemd(ctx context.Context, units []Unit) ([]Finding, error) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return nil, ErrNoSystemd
	}
	dir, err := os.MkdirTemp("", "fleetctl-verify-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	known, args := map[string]placed{}, []string{"verify", "--man=no", "--recursive-errors=no"}
	for _, u := range units {
		file, err := unitfile.Parse(u.Text)
		if err != nil {
			continue // told already
		}
		path := filepath.Join(dir, u.Name)
		if _, twice := known[path]; twice {
			continue
		}
		lifted := file.Lifted()
		if err := os.WriteFile(path, []byte(lifted), 0o644); err != nil {
			return nil, err
		}
		known[path] = placed{u, liftedAt(u.Text, lifted)}
		args = append(args, path)
	}
	if len(known) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, systemdTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_LOG_LEVEL=info", "SYSTEMD_LOG_LOCATION=0", "SYSTEMD_LOG_TIME=0", "SYSTEMD_COLORS=0")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("systemd-analyze: %w", err)
	}
	return read(output.String(), dir, known), nil
}

// placed is a unit in the directory that systemd-analyze looks at.
type placed struct {
	Unit
	lifted int // the line before which a section header was added; 0: none
}

// liftedAt is the line that Lifted added.
func liftedAt(text, lifted string) int {
	if text == lifted {
		return 0
	}
	for i := range lifted {
		if i >= len(text) || text[i] != lifted[i] {
			return 1 + strings.Count(lifted[:i], "\n")
		}
	}
	return 0
}

// read finds the units that systemd's messages are about.
func read(output, dir string, known map[string]placed) (findings []Finding) {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if useless.MatchString(line) || elsewhere.MatchString(line) {
			continue
		}
		if m := located.FindStringSubmatch(line); m != nil {
			if u, ours := known[m[1]]; ours {
				n, _ := strconv.Atoi(m[2])
				if u.lifted > 0 && n >= u.lifted {
					n--
				}
				findings = append(findings, u.said(n, m[3], true))
			}
			continue
		}
		name, message, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		for _, u := range known {
			if name == u.Name || instanceOf(name, u.Name) {
				findings = append(findings, u.said(0, strings.ReplaceAll(message, dir+"/", ""), !strings.Contains(message, "Refusing")))
			}
		}
	}
	return findings
}

func (u placed) said(line int, message string, warning bool) Finding {
	f := Finding{File: u.File, Line: line + u.Offset, Message: "systemd: " + message, Warning: warning}
	if u.Offset < 0 || line == 0 {
		f.Line, f.Field = 0, ""
	}
	if u.Offset < 0 {
		f.Message = u.Name + ": " + f.Message
	}
	return f
}

// instanceOf reports whether name is an instance of the template: systemd-analyze makes one up.
func instanceOf(name, template string) bool {
	prefix, suffix, ok := strings.Cut(template, "@.")
	return ok && strings.HasPrefix(name, prefix+"@") && strings.HasSuffix(name, "."+suffix)
}
