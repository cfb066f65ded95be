// Package kustomize has kustomizations of repositories that are not trusted built by a program of its own, fleet-kustomize: with no
// network, environment or files but those it is given, as another user, and with limits of time, memory and output.
package kustomize

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// FileNames are the names of a kustomization's file.
var FileNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// IsFile reports whether a file is a kustomization's, by its path.
func IsFile(p string) bool { return slices.Contains(FileNames, path.Base(p)) }

// File is a file of a repository.
type File struct {
	// Path is relative to the repository's root.
	Path string
	Data []byte
	// Refused is why a kustomization cannot use it, such as that it is a symbolic link. Empty: it can.
	Refused string
}

// IsLink is why a symbolic link is refused.
const IsLink = "is a symbolic link: write the path itself"

// Object is what was built.
type Object struct {
	// Name is its kind and name, such as app/web; Text its manifest.
	Name string `json:"name"`
	Text string `json:"text"`
}

// Result is what fleet-kustomize writes.
type Result struct {
	// File is the kustomization's.
	File    string   `json:"file,omitempty"`
	Objects []Object `json:"objects,omitempty"`
	// Fault is why the kustomization cannot be built: what is to be changed in the repository. It names file and entry.
	Fault string `json:"fault,omitempty"`
}

// Limits bound what a build can cost. The zero value of a field means its default.
type Limits struct {
	// Time is how long a build may take, Memory how much of it the program may use, Output how large what it writes may be, in bytes.
	// Default 20 s, 512 MiB and 16 MiB.
	Time           time.Duration
	Memory, Output int64
}

func (l Limits) withDefaults() Limits {
	if l.Time == 0 {
		l.Time = 20 * time.Second
	}
	if l.Memory == 0 {
		l.Memory = 512 << 20
	}
	if l.Output == 0 {
		l.Output = 16 << 20
	}
	return l
}

// Program runs fleet-kustomize.
type Program struct {
	// Path is where the program is.
	Path string
	// User is the user that it runs as; nil: the caller's.
	User   *syscall.Credential
	Limits Limits
}

// killDelay is how long an ended program may take to close its output.
const killDelay = 2 * time.Second

// Build builds the kustomization in a directory of the tree. An error is about the program: it is missing, or ctx has ended.
func (p Program) Build(ctx context.Context, tree []File, dir string) (Result, error) {
	limits := p.Limits.withDefaults()
	limited, cancel := context.WithTimeout(ctx, limits.Time)
	defer cancel()
	out, said := &capped{most: int(limits.Output), full: cancel}, &capped{most: 16 << 10}
	err := p.isolated(limited, limits, tree, dir, out, said)
	var failed *exec.Error
	var exit *exec.ExitError
	switch {
	case out.over:
		return fault(dir, "builds more than %d MiB: use several sources", limits.Output>>20), nil
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case limited.Err() != nil:
		return fault(dir, "takes longer than %s to build: make it simpler", limits.Time), nil
	case errors.As(err, &failed):
		return Result{}, fmt.Errorf("%s cannot be started: %w: it comes with fleetd's package", p.Path, failed.Err)
	case errors.As(err, &exit) && (strings.Contains(said.kept.String(), "out of memory") || strings.Contains(said.kept.String(), "cannot allocate memory")):
		return fault(dir, "takes more than %d MiB of memory to build: make it simpler", limits.Memory>>20), nil
	case errors.As(err, &exit):
		line, _, _ := strings.Cut(said.kept.String(), "\n")
		return fault(dir, "cannot be built: kustomize fails: %v: %s", err, line), nil
	case err != nil:
		return Result{}, fmt.Errorf("%s: %w", p.Path, err)
	}
	var result Result
	if err := json.Unmarshal(out.kept.Bytes(), &result); err != nil {
		return Result{}, fmt.Errorf("%s writes what is no result: %w", p.Path, err)
	}
	return result, nil
}

func fault(dir, format string, args ...any) Result {
	if dir == "" {
		dir = "the repository"
	}
	return Result{Fault: "the kustomization of " + dir + " " + fmt.Sprintf(format, args...)}
}

// isolated runs the program without a network, or with one where the system does not allow that: the program itself uses none.
func (p Program) isolated(ctx context.Context, limits Limits, tree []File, dir string, out, said io.Writer) error {
	flags := uintptr(syscall.CLONE_NEWNET)
	if syscall.Getuid() != 0 {
		flags |= syscall.CLONE_NEWUSER
	}
	err := p.run(ctx, flags, limits, tree, dir, out, said)
	for _, refused := range []error{syscall.EPERM, syscall.EINVAL, syscall.ENOSPC, syscall.ENOSYS, syscall.EUSERS} {
		if errors.Is(err, refused) {
			return p.run(ctx, 0, limits, tree, dir, out, said)
		}
	}
	return err
}

func (p Program) run(ctx context.Context, flags uintptr, limits Limits, tree []File, dir string, out, said io.Writer) error {
	path, err := exec.LookPath(p.Path)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, fmt.Sprintf("--memory=%d", limits.Memory), fmt.Sprintf("--time=%s", limits.Time), "--", dir)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = "/", []string{"GOTRACEBACK=none", "GOMAXPROCS=2"}, out, said, killDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: flags, Credential: p.User, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	reader, writer := io.Pipe()
	cmd.Stdin = reader
	written := make(chan struct{})
	go func() {
		defer close(written)
		writer.CloseWithError(writeTree(writer, tree))
	}()
	err = cmd.Run()
	reader.Close()
	<-written
	return err
}

// refusedRecord is where an entry of the archive has why it is refused.
const refusedRecord = "FLEET.refused"

// writeTree writes the files as the program reads them.
func writeTree(w io.Writer, tree []File) error {
	archive := tar.NewWriter(w)
	for _, f := range tree {
		header := &tar.Header{Name: f.Path, Size: int64(len(f.Data)), Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if f.Refused != "" {
			header.Typeflag, header.Size, header.PAXRecords = tar.TypeSymlink, 0, map[string]string{refusedRecord: f.Refused}
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.Data[:header.Size]); err != nil {
			return err
		}
	}
	return archive.Close()
}

// ReadTree reads what writeTree wrote, or an archive of git.
func ReadTree(r io.Reader) (tree []File, err error) {
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return tree, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		switch header.Typeflag {
		case tar.TypeReg:
			tree = append(tree, File{Path: header.Name, Data: data})
		case tar.TypeSymlink:
			tree = append(tree, File{Path: header.Name, Refused: cmp.Or(header.PAXRecords[refusedRecord], IsLink)})
		}
	}
}

// capped keeps so much of what is written, and tells when there is more.
type capped struct {
	kept bytes.Buffer // not embedded: io.Copy would use its ReadFrom
	most int
	over bool
	full func()
}

func (c *capped) Write(p []byte) (int, error) {
	left := max(0, c.most-c.kept.Len())
	if len(p) > left && !c.over {
		c.over = true
		if c.full != nil {
			c.full()
		}
	}
	c.kept.Write(p[:min(len(p), left)])
	return len(p), nil
}
