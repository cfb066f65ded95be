package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Each part runs in its own process, so that its memory can be measured: this program again, with one of these as its first
// argument. It reads questions from stdin, one per line, and ends with it.
const (
	childEtcd     = "etcd"
	childLeader   = "leader"
	childMachines = "machines"
	childRouter   = "router"
	childCluster  = "cluster"
)

// roles are what a child may be: each starts its part and returns the questions that it answers, and a function to end it.
var roles = map[string]func(config string) (questions, func(), error){
	childEtcd: serveEtcd, childLeader: serveLeader, childMachines: serveMachines, childRouter: serveRouter,
	childCluster: serveCluster,
}

type questions map[string]func(ctx context.Context, arg string) (any, error)

// reply is one line of a child's output.
type reply struct {
	Error string
	Value json.RawMessage
}

// beChild runs a role until stdin ends.
func beChild(role, config string) error {
	answers, end, err := roles[role](config)
	if err != nil {
		return err
	}
	defer end()
	profiled, err := profile(role)
	if err != nil {
		return err
	}
	defer profiled()
	answers["memory"] = func(context.Context, string) (any, error) { return ownMemory(), nil }
	answers["processor"] = func(context.Context, string) (any, error) { return ownProcessor() }
	answers["settle"] = func(context.Context, string) (any, error) {
		runtime.GC()
		debug.FreeOSMemory()
		return nil, nil
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(reply{}); err != nil { // started
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		question, arg, _ := strings.Cut(lines.Text(), " ")
		if err := out.Encode(answer(answers[question], question, arg)); err != nil {
			return err
		}
	}
	return lines.Err()
}

// profile writes a CPU profile of the role to the directory BENCH_PROFILE, if set.
func profile(role string) (end func(), err error) {
	dir := os.Getenv("BENCH_PROFILE")
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.prof", role, os.Getpid())))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}

// answerTimeout bounds the wait for an answer.
const answerTimeout = 5 * time.Minute

func answer(f func(context.Context, string) (any, error), question, arg string) reply {
	if f == nil {
		return reply{Error: "no such question: " + question}
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	value, err := f(ctx, arg)
	if err != nil {
		return reply{Error: err.Error()}
	}
	data, err := json.Marshal(value)
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{Value: data}
}

// child is a running part.
type child struct {
	role string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
}

// start returns when the part is ready.
func start(ctx context.Context, role string, config any) (*child, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	c := &child{role: role, cmd: exec.CommandContext(ctx, "/proc/self/exe", role, string(data))}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = json.NewDecoder(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if err := c.read(nil); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// ask asks a question and reads the answer into value.
func (c *child) ask(value any, question string, args ...any) error {
	if _, err := fmt.Fprintln(c.in, strings.TrimSpace(question+" "+fmt.Sprint(args...))); err != nil {
		return fmt.Errorf("%s: %w", c.role, err)
	}
	return c.read(value)
}

func (c *child) read(value any) error {
	var r reply
	if err := c.out.Decode(&r); err != nil {
		return fmt.Errorf("%s: %w", c.role, err)
	}
	if r.Error != "" {
		return fmt.Errorf("%s: %s", c.role, r.Error)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(r.Value, value)
}

// end ends the part and waits for it.
func (c *child) end() {
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.role, err)
	}
}

// memory is one process's memory, in bytes: the live heap, the resident set, the anonymous part of it (neither the program's
// text nor other files), and the peak of the resident set.
type memory struct{ Heap, Resident, Anonymous, Peak int64 }

func ownMemory() memory {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m := memory{Heap: int64(stats.HeapAlloc)}
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			m.Resident = kib << 10
		case "RssAnon:":
			m.Anonymous = kib << 10
		case "VmHWM:":
			m.Peak = kib << 10
		}
	}
	return m
}

// ownProcessor is the CPU time that this process has used.
func ownProcessor() (time.Duration, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, err
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}

// shortOf is the error for a goal that was not reached in time.
type shortOf struct {
	what        string
	got, wanted int
}

func (e *shortOf) Error() string {
	return fmt.Sprintf("%d of %d keys below %s were written in time", e.got, e.wanted, e.what)
}
