package api

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

const (
	// lastLines and lastBytes bound the part of a log that is kept to explain a failure.
	lastLines = 5
	lastBytes = 1024
	// lastEntries is how many entries are examined: the service manager logs several of its own for each start.
	lastEntries = 50
)

// LastWords returns a function that returns the last lines that a unit has logged since a time: the output of its
// processes, and the service manager's messages about it at priority error or higher. Its other messages, such as
// starts and exits, are already in the unit's state. It also reports whether the service manager has told there of the unit's failure: if
// not, journald has not stored yet all that was logged before.
func LastWords(j Journal) func(ctx context.Context, unit string, since time.Time) (text string, ended bool, err error) {
	return func(ctx context.Context, unit string, since time.Time) (text string, ended bool, err error) {
		var lines []string
		err = j.Read(ctx, JournalQuery{Unit: unit, Lines: lastEntries, Since: since}, func(e wire.LogEntry) error {
			if e.Identifier == "systemd" && (strings.Contains(e.Message, hasFailed) || strings.HasPrefix(e.Message, jobFailed)) {
				ended = true
			}
			if e.Identifier == "systemd" && (e.Priority > priorityError || strings.HasPrefix(e.Message, jobFailed)) {
				return nil
			}
			for line := range strings.SplitSeq(e.Message, "\n") {
				if line = plain(line); line != "" && !seeHelp.MatchString(line) {
					lines = append(lines, line)
				}
			}
			return nil
		})
		return last(lines), ended, err
	}
}

// jobFailed is the prefix of the service manager's message for a failed start job.
const jobFailed = "Failed to start "

// hasFailed is part of the service manager's message for a unit that has failed.
const hasFailed = ": Failed with result '"

// priorityError is LOG_ERR of syslog(3).
const priorityError = 3

// seeHelp matches the line that docker adds to each of its errors.
var seeHelp = regexp.MustCompile(`^(See|Run) '[a-z ]+ --help'`)

// plain strips terminal control characters from a line.
func plain(line string) string {
	line = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, "\uFFFD"))
	return strings.TrimSpace(line)
}

// last joins the last lines that fit; a single line that does not fit is truncated.
func last(lines []string) string {
	lines = lines[max(0, len(lines)-lastLines):]
	text := strings.Join(lines, "\n")
	for len(text) > lastBytes {
		if len(lines) == 1 {
			return strings.ToValidUTF8(text[:lastBytes-len("...")], "") + "..."
		}
		lines = lines[1:]
		text = strings.Join(lines, "\n")
	}
	return text
}
