package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// Journal reads the logs of this machine's units.
type Journal interface {
	// Read calls emit for each entry, oldest first, until there are no more or, with Follow, until ctx ends. An error
	// from emit stops it and is returned.
	Read(ctx context.Context, q JournalQuery, emit func(wire.LogEntry) error) error
}

// JournalQuery selects entries.
type JournalQuery struct {
	Unit string
	// Lines limits the result to the last entries; 0 means all.
	Lines int
	// Since excludes older entries; zero means no limit.
	Since  time.Time
	Follow bool
}

// Journalctl reads the journal with journalctl(1), because libsystemd would need cgo.
type Journalctl struct {
	// User is set when fleetd drives a user's service manager.
	User bool
	// Directory is a separate journal directory (journalctl -D), such as that of one machine of a local cluster.
	// Default: the machine's own journal.
	Directory string
}

// maxEntry is the longest line of journalctl output that is read, in bytes.
const maxEntry = 1 << 20

// arguments returns the arguments of journalctl. The matches cover the output of the unit's processes and the service
// manager's own messages about the unit; only messages sent by the service manager itself are trusted for that
// (journalctl(1), -u).
func (j Journalctl) arguments(q JournalQuery) []string {
	args := []string{"--output=json", "--all", "--quiet", "--no-pager"}
	if j.Directory != "" {
		// Without --merge, following is limited to this boot and fails if the journal has no entries of it yet.
		args = append(args, "--directory="+j.Directory, "--merge")
	} else if j.User {
		args = append(args, "--user")
	}
	if q.Lines > 0 {
		args = append(args, fmt.Sprintf("--lines=%d", q.Lines))
	} else if q.Follow {
		args = append(args, "--no-tail")
	}
	if !q.Since.IsZero() {
		args = append(args, fmt.Sprintf("--since=@%d.%06d", q.Since.Unix(), q.Since.Nanosecond()/1000))
	}
	if q.Follow {
		args = append(args, "--follow")
	}
	switch {
	case j.Directory != "":
		return append(args, "_SYSTEMD_UNIT="+q.Unit, "+", "_SYSTEMD_USER_UNIT="+q.Unit, "+", "UNIT="+q.Unit, "+", "USER_UNIT="+q.Unit)
	case j.User:
		return append(args, "_SYSTEMD_USER_UNIT="+q.Unit, "+", "USER_UNIT="+q.Unit)
	}
	return append(args, "_SYSTEMD_UNIT="+q.Unit, "+", "_PID=1", "UNIT="+q.Unit)
}

// Read implements Journal.
func (j Journalctl) Read(ctx context.Context, q JournalQuery, emit func(wire.LogEntry) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", j.arguments(q)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	expendable(cmd.Process.Pid)
	readError := readEntries(bufio.NewReader(out), q.Unit, emit)
	if readError != nil || ctx.Err() != nil {
		cancel()
		_ = cmd.Wait() // killed by its context
		return readError
	}
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("journal: journalctl: %w: %s", err, strings.TrimSpace(complaints.String()))
	}
	return nil
}

// expendable resets the OOM score of a child process: fleetd's own is protected, and children inherit that
// (OOMScoreAdjust=, systemd.exec(5)).
func expendable(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0) // it may have exited
}

func readEntries(r *bufio.Reader, unit string, emit func(wire.LogEntry) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEntry)
	for lines.Scan() {
		entry, err := parseEntry(lines.Bytes(), unit)
		if err != nil {
			continue // journalctl's own separator lines
		}
		if err := emit(entry); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// parseEntry reads one line of journalctl's JSON (systemd.journal-fields(7)).
func parseEntry(line []byte, unit string) (wire.LogEntry, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return wire.LogEntry{}, err
	}
	entry := wire.LogEntry{
		Unit: unit, Message: journalText(fields["MESSAGE"]), PID: journalText(fields["_PID"]),
		Hostname:   journalText(fields["_HOSTNAME"]),
		Identifier: journalText(fields["SYSLOG_IDENTIFIER"]), Priority: 6,
	}
	if entry.Identifier == "" {
		entry.Identifier = journalText(fields["_COMM"])
	}
	if p, err := strconv.Atoi(journalText(fields["PRIORITY"])); err == nil {
		entry.Priority = p
	}
	if us, err := strconv.ParseInt(journalText(fields["__REALTIME_TIMESTAMP"]), 10, 64); err == nil {
		entry.Time = time.UnixMicro(us).UTC()
	}
	return entry, nil
}

// journalText returns the value of a field: a string, a list of bytes if it is not UTF-8, or a list of values, of which
// the first is used.
func journalText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var numbers []uint8Number
	if json.Unmarshal(raw, &numbers) == nil {
		data := make([]byte, len(numbers))
		for i, n := range numbers {
			data[i] = byte(n)
		}
		return strings.ToValidUTF8(string(data), "\uFFFD")
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
		return journalText(list[0])
	}
	return ""
}

// uint8Number keeps encoding/json from decoding a list of bytes as base64.
type uint8Number uint16
