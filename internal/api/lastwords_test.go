package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

type journalOf struct {
	entries []wire.LogEntry
	err     error
	query   *JournalQuery
}

func (j journalOf) Read(_ context.Context, q JournalQuery, emit func(wire.LogEntry) error) error {
	*j.query = q
	for _, e := range j.entries {
		if err := emit(e); err != nil {
			return err
		}
	}
	return j.err
}

func TestLastWords(t *testing.T) {
	said := func(lines ...string) (entries []wire.LogEntry) {
		for _, line := range lines {
			entries = append(entries, wire.LogEntry{Identifier: "app", Priority: 6, Message: line})
		}
		return entries
	}
	manager := func(priority int, message string) wire.LogEntry {
		return wire.LogEntry{Identifier: "systemd", Priority: priority, Message: message}
	}
	long := strings.Repeat("ä", 600)
	for name, tc := range map[string]struct {
		entries []wire.LogEntry
		want    string
	}{
		"nothing":  {nil, ""},
		"the last": {said("1", "2", "3", "4", "5", "6"), "2\n3\n4\n5\n6"},
		"of the service manager only errors": {append(said("boom"), manager(6, "Started a."), manager(5, "a.service: Main process exited"), manager(3, "Failed to start a."),
			manager(3, "a.service: Failed to locate executable /x")), "boom\na.service: Failed to locate executable /x"},
		"not where docker's help is":             {said("docker: Error response from daemon: Conflict.", "See 'docker run --help'."), "docker: Error response from daemon: Conflict."},
		"several lines in one entry, for people": {said("a\n\n\tb\x1b[31m", "c\xff"), "a\nb[31m\nc\uFFFD"},
		"as many lines as fit":                   {said("first", strings.Repeat("x", 1015), "last"), strings.Repeat("x", 1015) + "\nlast"},
		"a long line":                            {said("first", long), long[:1020] + "..."},
	} {
		var q JournalQuery
		text, _, err := LastWords(journalOf{entries: tc.entries, query: &q})(context.Background(), "a.service", time.Unix(5, 0))
		require.NoError(t, err, name)
		require.Equal(t, tc.want, text, name)
		require.LessOrEqual(t, len(text), lastBytes, name)
		require.Equal(t, JournalQuery{Unit: "a.service", Lines: lastEntries, Since: time.Unix(5, 0)}, q)
	}
	_, _, err := LastWords(journalOf{err: errors.New("no journal"), query: new(JournalQuery)})(context.Background(), "a.service", time.Time{})
	require.EqualError(t, err, "no journal")
}

func TestLastWordsTellWhetherTheFailureIsThere(t *testing.T) {
	for message, want := range map[string]bool{
		"a.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED": false,
		"a.service: Failed with result 'exit-code'.":                           true,
		"Failed to start a.service - A.":                                       true,
	} {
		for identifier, systemd := range map[string]bool{"systemd": true, "app": false} {
			j := journalOf{entries: []wire.LogEntry{{Identifier: identifier, Priority: 4, Message: message}}, query: new(JournalQuery)}
			_, ended, err := LastWords(j)(context.Background(), "a.service", time.Time{})
			require.NoError(t, err)
			require.Equal(t, want && systemd, ended, "%s: %s", identifier, message)
		}
	}
}
