package dev

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// readyFD is where a detached supervisor tells its parent that it is ready.
const readyFD = 3

// logFile holds what a detached supervisor prints.
func logFile(dir string) string { return filepath.Join(dir, "dev.log") }

// Detach starts argv, a supervisor of dir, in its own session and returns when its cluster is up. If it fails, the error
// contains what it printed.
func Detach(dir string, argv []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	out, err := os.Create(logFile(dir))
	if err != nil {
		return err
	}
	defer out.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(read).ReadString('\n')
	if err == nil && line == "ready\n" {
		return cmd.Process.Release()
	}
	_ = cmd.Wait()
	text, _ := os.ReadFile(logFile(dir))
	return fmt.Errorf("the local cluster did not come up: %s", strings.TrimSpace(string(text)))
}

// NotifyParent tells the process that called Detach, if any, that the cluster is up.
func NotifyParent() {
	f := os.NewFile(readyFD, "ready")
	if f == nil {
		return
	}
	// If no process waits, the descriptor is closed, and the error does not matter.
	_, _ = io.WriteString(f, "ready\n")
	_ = f.Close()
}
