package systemd

import "strings"

// resultInterface is the D-Bus interface with the Result of units of this type; targets, slices and devices have none.
func resultInterface(unit string) (string, bool) {
	switch kind := unit[strings.LastIndexByte(unit, '.')+1:]; kind {
	case "service", "socket", "mount", "automount", "swap", "timer", "path", "scope":
		return "org.freedesktop.systemd1." + strings.ToUpper(kind[:1]) + kind[1:], true
	}
	return "", false
}

// process is the end of one process, as systemd reports it. code is CLD_EXITED or similar, 0 while it runs.
type process struct {
	started      uint64
	code, status int32
}

// command is one command of a service: the members of a(sasbttttuii) in org.freedesktop.systemd1(5).
type command struct {
	Path                string
	Argv                []string
	IgnoreFailure       bool
	Started, StartedMon uint64
	Ended, EndedMon     uint64
	PID                 uint32
	Code, Status        int32
}

// commandOptions are the options whose commands can keep a service from being started, in the order of execution.
var commandOptions = []string{"ExecCondition", "ExecStartPre", "ExecStartPost"}

// serviceProperties lists the properties that only services have. How the main process ended is not requested while it runs,
// commands only after a failure, which they may explain.
func (d *details) serviceProperties() []property {
	all := []property{
		{serviceInterface, "NRestarts", &d.restarts},
	}
	if d.row.ActiveState == "active" && d.row.SubState == "running" {
		return all
	}
	all = append(all,
		property{serviceInterface, "ExecMainStartTimestamp", &d.exit.started},
		property{serviceInterface, "ExecMainCode", &d.exit.code},
		property{serviceInterface, "ExecMainStatus", &d.exit.status})
	if d.row.ActiveState != "failed" && d.row.SubState != "auto-restart" {
		return all
	}
	if d.commands == nil {
		d.commands = make([][]command, len(commandOptions))
	}
	for i, option := range commandOptions {
		all = append(all, property{serviceInterface, option, &d.commands[i]})
	}
	return all
}

// exited returns how the decisive process ended: the main process if it ran, else the command that failed.
func (d *details) exited() Exit {
	if d.exit.code != 0 {
		return d.exit.as("")
	}
	for i, option := range commandOptions[:len(d.commands)] {
		for _, c := range d.commands[i] {
			if c.Code != 0 && (c.Code != cldExited || c.Status != 0) && !c.IgnoreFailure {
				return process{started: c.Started, code: c.Code, status: c.Status}.as(option)
			}
		}
	}
	return Exit{}
}

const cldExited = 1

func (p process) as(option string) Exit {
	codes := map[int32]string{cldExited: "exited", 2: "killed", 3: "dumped"}
	return Exit{Code: codes[p.code], Status: int(p.status), Command: option, Started: micro(p.started)}
}
