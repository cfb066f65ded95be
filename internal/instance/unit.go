// Package instance decides how far a unit, and an instance of an App, has come. It is pure, and the only place that decides
// it: controllers, API and fleetctl all use it, so that "ready" means the same everywhere.
package instance

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Activity is what a unit does on its machine, according to systemd.
type Activity string

// The activities.
const (
	Unreported Activity = "Unreported" // its machine does not report it
	Inactive   Activity = "Inactive"   // it does not run
	Ended      Activity = "Ended"      // it ran, and exited successfully
	Activating Activity = "Activating"
	Active     Activity = "Active" // a service runs, a timer or a socket waits, a oneshot with RemainAfterExit= is done
	Stopping   Activity = "Stopping"
	Restarting Activity = "Restarting" // it ended, and systemd is about to restart it
	Failing    Activity = "Failing"    // it failed, and systemd does not restart it
)

// ActivityOf returns what a unit does; nil means that its machine has not reported it.
func ActivityOf(s *v1.UnitState) Activity {
	switch {
	case s == nil || s.ActiveState == "":
		return Unreported
	case s.Active():
		return Active
	case s.ActiveState == "activating" && strings.HasPrefix(s.SubState, "auto-restart"):
		return Restarting
	case s.ActiveState == "activating" || s.ActiveState == "maintenance":
		return Activating
	case s.ActiveState == "deactivating":
		return Stopping
	case s.ActiveState == "failed":
		return Failing
	case s.Result == "success" && s.DesiredState == v1.Launched:
		return Ended
	}
	return Inactive
}

// IsActive reports whether a unit is active on that machine. It may not stay so: see Of.
func IsActive(s *v1.UnitState) bool { return ActivityOf(s) == Active }

// Up reports whether a unit runs, or is starting or stopping.
func Up(s *v1.UnitState) bool {
	switch ActivityOf(s) {
	case Unreported, Inactive, Ended, Failing:
		return false
	}
	return true
}

// LoopRestarts is how many restarts without a stable run in between make a restart loop.
const LoopRestarts = 3

// StableAfter is how long a unit that systemd has restarted that often has to be active before it counts as running:
// minReady, doubled with each restart up to sixteen times, so that one that dies every few seconds never does.
func StableAfter(minReady time.Duration, restarts int) time.Duration {
	return minReady << min(max(restarts, 0), 4)
}

// farAhead is how far a machine's clock may be ahead before its times are ignored.
const farAhead = time.Minute

// unstable returns how much longer an active unit has to stay so before it counts as running. touched is when it was last
// changed on purpose, by our clock.
func unstable(s *v1.UnitState, now, touched time.Time, minReady time.Duration) time.Duration {
	since := s.Since
	if ahead := since.Sub(now); ahead > farAhead {
		since = time.Time{}
	}
	if touched.After(since) && !touched.After(now) {
		since = touched
	}
	return max(0, StableAfter(minReady, s.Restarts)-now.Sub(since))
}

// Outcome says how a unit ended, in a few words: "result exit-code, exit status 203 (EXEC)". It is "" if that is unknown, or
// nothing went wrong.
func Outcome(s *v1.UnitState) string {
	if s == nil {
		return ""
	}
	var parts []string
	if s.Result != "" && s.Result != "success" {
		parts = append(parts, "result "+s.Result)
	}
	switch {
	case s.ExitCode == "exited" && s.ExitStatus != 0:
		text := "exit status " + strconv.Itoa(s.ExitStatus)
		if name := exitNames[s.ExitStatus]; name != "" {
			text += " (" + name + ")"
		}
		parts = append(parts, text)
	case s.ExitCode == "killed" || s.ExitCode == "dumped":
		parts = append(parts, fmt.Sprintf("%s by signal %d", s.ExitCode, s.ExitStatus))
	}
	return strings.Join(parts, ", ")
}

// exitNames are systemd's exit codes that people meet (systemd.exec(5), "Process exit codes").
var exitNames = map[int]string{
	137: "128+9: SIGKILL, as for too little memory", 143: "128+15: SIGTERM",
	200: "CHDIR", 203: "EXEC: the program cannot be executed", 208: "STDIN", 209: "STDOUT", 213: "CAPABILITIES", 214: "SETSCHEDULER",
	216: "GROUP", 217: "USER", 218: "CAPABILITIES", 219: "CGROUP", 224: "PAM", 226: "NAMESPACE", 227: "NO_NEW_PRIVILEGES",
	228: "SECCOMP", 238: "STATE_DIRECTORY", 239: "CACHE_DIRECTORY", 240: "LOGS_DIRECTORY", 243: "CREDENTIALS",
}

// Trouble says in one line what is wrong with a unit, and since when; "" if nothing is.
func Trouble(s *v1.UnitState, now time.Time) string {
	if s == nil {
		return ""
	}
	text := s.Message
	switch activity := ActivityOf(s); {
	case activity == Failing || activity == Restarting:
		text = describe(s)
	case (activity == Active || activity == Activating) && s.Restarts >= LoopRestarts && unstable(s, now, time.Time{}, v1.DefaultMinReady) > 0:
		text = "in a restart loop: " + describe(s)
	default:
		return text
	}
	if !s.Since.IsZero() {
		text += ", since " + s.Since.UTC().Format(time.RFC3339)
	}
	if line := lastLine(s.Output); line != "" {
		text += ": " + line
	}
	return text
}

// maxLine bounds a line of a log in a table.
const maxLine = 200

// lastLine returns the last line of what a unit logged, which most often says what is wrong.
func lastLine(output string) string {
	line := output[strings.LastIndexByte(output, '\n')+1:]
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "") + "..."
	}
	return line
}

// describe is one line about a unit that does not run as it should.
func describe(s *v1.UnitState) string {
	if s == nil || s.ActiveState == "" {
		return "its machine has not reported it"
	}
	text := s.Message
	if text == "" {
		text = s.ActiveState
		if s.SubState != "" && s.SubState != s.ActiveState {
			text += " (" + s.SubState + ")"
		}
		if outcome := Outcome(s); outcome != "" {
			text += ", " + outcome
		}
	}
	if s.Restarts > 0 {
		text += ", " + restarts(s.Restarts)
	}
	return text
}

// restarts counts roughly, so that etcd is not written for every one of a million restarts.
func restarts(n int) string {
	switch {
	case n == 1:
		return "restarted once"
	case n <= LoopRestarts:
		return fmt.Sprintf("restarted %d times", n)
	}
	floor := LoopRestarts + 1
	for floor*2 <= n {
		floor *= 2
	}
	return fmt.Sprintf("restarted at least %d times", floor)
}
