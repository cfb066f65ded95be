package api

import (
	"context"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

const (
	// lastLines and lastBytes are how much of a log tells why a unit failed.
	lastLines = 5
	lastBytes = 1024
	// lastEntries are looked at: the service manager has a few of its own to say of each start.
	lastEntries = 50
)

// LastWords returns a function that reads the last lines that a unit has logged since then: what its processes said, and of
// what the service manager said of it the errors. The rest of that, which unit was started and how it ended, is in the unit's
// state.
func LastWords(j Journal) func(ctx context.Context, unit string, since time.Time) (string, error) {
	return func(ctx context.Context, unit string, since time.Time) (string, error) {
		var lines []string
		err := j.Read(ctx, JournalQuery{Unit: unit, Lines: lastEntries, Since: since}, func(e wire.LogEntry) error {
			if e.Identifier == "systemd" && (e.Priority > priorityError || strings.HasPrefix(e.Message, jobFailed)) {
				return nil
			}
			for line := range strings.SplitSeq(e.Message, "\n") {
				if line = plain(line); line != "" {
					lines = append(lines, line)
				}
			}
			return nil
		})
		return last(lines), err
	}
}

// jobFailed begins what the service manager says of each start job that fails.
const jobFailed = "Failed to start "

// priorityError is LOG_ERR of syslog(3).
const priorityError = 3

// plain is one line without what drives a terminal.
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

// last joins the last lines that fit; of one that does not, the beginning.
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
