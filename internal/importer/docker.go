package importer

import (
	"fmt"
	"slices"
	"strings"
)

// flag is one flag of "docker run", by its long name without dashes.
type flag struct {
	name, value string
	hasValue    bool
}

// args writes the flag as arguments.
func (f flag) args() []string {
	if !f.hasValue {
		return []string{"--" + f.name}
	}
	return []string{"--" + f.name, f.value}
}

// dockerRun is a "docker run" command line.
type dockerRun struct {
	program string
	flags   []flag
	image   string
	args    []string
}

// short maps short flags to long ones.
var short = map[byte]string{
	'a': "attach", 'c': "cpu-shares", 'd': "detach", 'e': "env", 'h': "hostname", 'i': "interactive", 'l': "label", 'm': "memory", 'P': "publish-all",
	'p': "publish", 'q': "quiet", 't': "tty", 'u': "user", 'v': "volume", 'w': "workdir",
}

// toggles are flags that take no value, but for one after "=".
var toggles = words(`detach init interactive no-healthcheck oom-kill-disable privileged publish-all quiet read-only rm sig-proxy tty
	disable-content-trust`)

// valued are flags that take a value.
var valued = words(`add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile cpu-count
	cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems cpuset detach-keys device
	device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops dns dns-opt dns-option dns-search domainname
	entrypoint env env-file expose gpus group-add health-cmd health-interval health-retries health-start-period health-timeout hostname ip
	ip6 ipc isolation kernel-memory label label-file link link-local-ip log-driver log-opt lxc-conf mac-address memory memory-reservation
	memory-swap memory-swappiness mount name net net-alias network network-alias oom-score-adj pid pids-limit platform publish pull
	restart runtime security-opt shm-size stop-signal stop-timeout storage-opt sysctl tmpfs ulimit user userns uts volume volume-driver
	volumes-from workdir`)

func words(s string) []string { return strings.Fields(s) }

// parseRun reads the arguments of a command. The error says why it is no "docker run" that can be read.
func parseRun(args []string) (*dockerRun, error) {
	if len(args) < 2 || !isDocker(args[0]) {
		return nil, fmt.Errorf("it does not call docker itself")
	}
	run := &dockerRun{program: args[0]}
	rest := args[1:]
	if rest[0] == "container" {
		rest = rest[1:]
	}
	if len(rest) == 0 || rest[0] != "run" {
		return nil, fmt.Errorf("it is not \"docker run\", without options of docker before \"run\"")
	}
	rest = rest[1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") && rest[0] != "-" && rest[0] != "--" {
		n, err := run.flag(rest)
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	if len(rest) == 0 || rest[0] == "" || rest[0] == "-" {
		return nil, fmt.Errorf("it names no image")
	}
	run.image, run.args = rest[0], rest[1:]
	return run, nil
}

func isDocker(program string) bool {
	base := program[strings.LastIndexByte(program, '/')+1:]
	return base == "docker" || base == "podman"
}

// flag reads the flag at the beginning of args and returns how many of them it is.
func (r *dockerRun) flag(args []string) (n int, err error) {
	text := strings.TrimPrefix(args[0], "-")
	name, value, given := strings.Cut(strings.TrimPrefix(text, "-"), "=")
	long := strings.HasPrefix(text, "-") || slices.Contains(toggles, name) || slices.Contains(valued, name) && len(name) > 1 // -name, of old
	if !long {
		return r.shortFlags(text, args)
	}
	switch {
	case slices.Contains(toggles, name):
		r.flags = append(r.flags, flag{name: name, value: value, hasValue: given && value != "true"})
		return 1, nil
	case !slices.Contains(valued, name):
		return 0, fmt.Errorf("--%s is not a known flag of docker run", name)
	case given:
		r.flags = append(r.flags, flag{name, value, true})
		return 1, nil
	case len(args) < 2:
		return 0, fmt.Errorf("--%s has no value", name)
	}
	r.flags = append(r.flags, flag{name, args[1], true})
	return 2, nil
}

// shortFlags reads "-it", "-p", "80:80" and "-p80:80".
func (r *dockerRun) shortFlags(text string, args []string) (n int, err error) {
	for i := range len(text) {
		name, known := short[text[i]]
		switch {
		case !known:
			return 0, fmt.Errorf("-%c is not a known flag of docker run", text[i])
		case slices.Contains(toggles, name):
			r.flags = append(r.flags, flag{name: name})
			continue
		case i+1 < len(text):
			r.flags = append(r.flags, flag{name, strings.TrimPrefix(text[i+1:], "="), true})
			return 1, nil
		case len(args) < 2:
			return 0, fmt.Errorf("-%c has no value", text[i])
		}
		r.flags = append(r.flags, flag{name, args[1], true})
		return 2, nil
	}
	return 1, nil
}

// first returns the value of the first flag of that name.
func (r *dockerRun) first(name string) (string, bool) {
	for _, f := range r.flags {
		if f.name == name {
			return f.value, true
		}
	}
	return "", false
}
