package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// stderrKept is how much of a command's messages is read.
	stderrKept = 16 << 10
	// sizeEvery is how often the size of a running fetch is looked at.
	sizeEvery = 50 * time.Millisecond
	// killDelay is how long the processes of an ended command may take to close its output.
	killDelay = 2 * time.Second
)

// settings take effect before those of a repository, which has none of its own: it was made without a template.
var settings = [][2]string{
	{"core.hooksPath", "/dev/null"},
	{"core.fsmonitor", "false"},
	{"core.bigFileThreshold", "1m"}, // larger files are streamed to disk
	{"fetch.fsckObjects", "true"},
	{"fetch.recurseSubmodules", "false"},
	{"fetch.writeCommitGraph", "false"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"advice.detachedHead", "false"},
	{"credential.helper", ""},
	{"http.lowSpeedLimit", "1000"},
	{"http.lowSpeedTime", "15"},
	{"http.followRedirects", "false"}, // the token is for this host
	{"submodule.recurse", "false"},
	{"uploadpack.packObjectsHook", ""},
	{"safe.directory", "*"},
}

// connection is what git needs to reach a remote: files and environment, without any of it in an argument.
type connection struct {
	env    []string
	config [][2]string
	dir    string  // of copies of the secrets, for the user that git runs as; "" if there are none
	secret string  // what no message may have
	said   *string // gets what git wrote on stderr; nil: only an error has it
}

func (c *connection) close() {
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
}

// connect prepares the credentials.
func (r *repository) connect() (*connection, error) {
	c := &connection{}
	protocols := "https:ssh"
	if r.git.Local {
		protocols = "https:http:ssh:file"
	}
	c.env = append(c.env, "GIT_ALLOW_PROTOCOL="+protocols)
	remote := r.remote
	ssh := []string{"ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no", "-o", "IdentitiesOnly=yes",
		"-o", "IdentityAgent=none", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "GlobalKnownHostsFile=/dev/null"}
	known := "/dev/null"
	if remote.KnownHostsFile != "" {
		path, err := r.copySecret(c, remote.KnownHostsFile, "auth.knownHostsFile")
		if err != nil {
			return c, err
		}
		known = path
	}
	ssh = append(ssh, "-o", "UserKnownHostsFile="+quoted(known))
	if remote.SSHKeyFile != "" {
		path, err := r.copySecret(c, remote.SSHKeyFile, "auth.sshKeyFile")
		if err != nil {
			return c, err
		}
		ssh = append(ssh, "-i", quoted(path))
	} else {
		ssh = append(ssh, "-o", "PubkeyAuthentication=no")
	}
	c.env = append(c.env, "GIT_SSH_COMMAND="+strings.Join(ssh, " "), "GIT_SSH_VARIANT=ssh")
	if remote.CAFile != "" {
		path, err := r.copySecret(c, remote.CAFile, "auth.caFile")
		if err != nil {
			return c, err
		}
		c.config = append(c.config, [2]string{"http.sslCAInfo", path})
	}
	if remote.TokenFile != "" {
		token, err := readToken(remote.TokenFile)
		if err != nil {
			return c, err
		}
		c.config = append(c.config, [2]string{"http.extraHeader", "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(token))})
		_, password, _ := strings.Cut(token, ":")
		c.secret = password
	}
	return c, nil
}

// quoted is for the shell that git starts ssh with.
func quoted(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }

// copySecret copies a file to where the user can read it that git runs as, and no other.
func (r *repository) copySecret(c *connection, path, field string) (string, error) {
	data, err := readSecret(path, field)
	if err != nil {
		return "", err
	}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp(r.git.Dir, "auth-"); err != nil {
			return "", err
		}
		if err := r.git.own(c.dir); err != nil {
			return "", err
		}
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n') // ssh reads no key without it
	}
	file := filepath.Join(c.dir, strings.TrimPrefix(field, "auth."))
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", err
	}
	return file, r.git.own(file)
}

// maxSecret is the largest file of credentials, in bytes.
const maxSecret = 64 << 10

func readSecret(path, field string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe that no process writes to would never open
	if err != nil {
		return nil, fail(AuthFailed, "%s: %v", field, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil || len(data) > maxSecret || len(bytes.TrimSpace(data)) == 0 {
		return nil, fail(AuthFailed, "%s: %s is empty, larger than %d bytes or cannot be read", field, path, maxSecret)
	}
	return data, nil
}

// run runs git in the repository, without a remote, and returns what it writes.
func (r *repository) run(ctx context.Context, within time.Duration, stdin io.Reader, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := r.stream(ctx, within, &connection{env: []string{"GIT_ALLOW_PROTOCOL="}}, stdin, func(stdout io.Reader) error {
		_, err := io.Copy(&out, stdout)
		return err
	}, args...)
	return out.Bytes(), err
}

// stream runs git in the repository and has its output read. An error of read ends the command and is returned.
func (r *repository) stream(ctx context.Context, within time.Duration, c *connection, stdin io.Reader, read func(io.Reader) error, args ...string) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := exec.CommandContext(limited, r.git.Program, args...)
	cmd.Dir, cmd.Stdin, cmd.WaitDelay = r.dir, stdin, killDelay
	cmd.Env = environment(r.dir, c)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if u := r.git.User; u != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // ssh and index-pack, too
	stderr := &head{most: stderrKept}
	cmd.Stderr = stderr
	if c.said != nil {
		defer func() { *c.said = stderr.String() }()
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fail(GitFailed, "git cannot be started: %v: install git on the machines that can lead", err)
	}
	large := r.watchSize(limited, cancel)
	reading := read(stdout)
	if reading != nil {
		cancel()
	}
	err = cmd.Wait()
	switch {
	case large():
		_ = os.RemoveAll(r.dir)
		return fail(TooLarge, "the fetch was ended at %d MiB, the limit of a repository: use one that has only manifests", r.git.Limits.Fetch>>20)
	case reading != nil && ctx.Err() == nil && limited.Err() != context.DeadlineExceeded:
		return reading
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fail(TimedOut, "the server has not answered within %s", within)
	case err != nil:
		return explain(c.hide(stderr.String()), c.secret != "", err)
	}
	return nil
}

// hide removes the token, which a server may repeat.
func (c *connection) hide(text string) string {
	for _, secret := range strings.Fields(c.secret) {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// stderrOf runs git in the repository, without a remote, and returns its messages.
func (r *repository) stderrOf(ctx context.Context, c *connection, args ...string) (said string, err error) {
	c.said = &said
	err = r.stream(ctx, r.git.Limits.List, c, nil, discard, args...)
	return said, err
}

// watchSize ends a command that fills the repository's directory; the function that it returns stops watching, and reports whether
// it did.
func (r *repository) watchSize(ctx context.Context, end func()) func() bool {
	done, result := make(chan struct{}), make(chan bool, 1)
	go func() {
		tick := time.NewTicker(sizeEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				result <- size(r.dir) > r.git.Limits.Fetch
				return
			case <-ctx.Done():
				<-done
				result <- size(r.dir) > r.git.Limits.Fetch
				return
			case <-tick.C:
				if size(r.dir) > r.git.Limits.Fetch {
					end()
				}
			}
		}
	}()
	return func() bool {
		close(done)
		return <-result
	}
}

// environment is all that git gets of it.
func environment(home string, c *connection) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CONFIG_HOME=" + home, "LC_ALL=C", "TMPDIR=" + home,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false", "SSH_ASKPASS=/bin/false",
		"GIT_PROTOCOL_FROM_USER=0", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1", "GIT_LFS_SKIP_SMUDGE=1", "GIT_DIR=.",
	}
	all := append(settings[:len(settings):len(settings)], c.config...)
	env = append(env, fmt.Sprint("GIT_CONFIG_COUNT=", len(all)))
	for i, s := range all {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s[1]))
	}
	return append(env, c.env...)
}

// head keeps the beginning of what is written.
type head struct {
	bytes.Buffer
	most int
}

func (h *head) Write(p []byte) (int, error) {
	if left := h.most - h.Len(); left > 0 {
		h.Buffer.Write(p[:min(left, len(p))])
	}
	return len(p), nil
}
