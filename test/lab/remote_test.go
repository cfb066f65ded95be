package lab

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// remote is a computer that reaches the cluster by ssh alone: the last machine, with a user's key in its ssh-agent. What it
// runs has no other way to the cluster than the flags that it is given.
type remote struct {
	t *testing.T
	l *Lab
	m *Machine
}

const (
	agentSocket = "/run/lab-agent"
	sshdUnit    = "lab-sshd.service"
	agentUnit   = "lab-agent.service"
)

// withSSH starts sshd on all machines, with host keys of their own and a user core who may use fleetd and read journals.
func withSSH(t *testing.T, l *Lab) *remote {
	t.Helper()
	r := &remote{t, l, l.Machines[len(l.Machines)-1]}
	r.sh("systemd-run --quiet --unit="+agentUnit+" ssh-agent -D -a "+agentSocket+"; ssh-keygen -q -t ed25519 -N '' -f /root/key; until ssh-add /root/key; do sleep 0.1; done", "")
	key := r.sh("cat /root/key.pub", "")
	for _, m := range l.Machines {
		require.NoError(t, m.Write("root/key.pub", key))
		_, err := m.Exec(t.Context(), "sh", "-ec", `rm -f /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null
useradd --create-home --shell /bin/bash --groups fleet,systemd-journal core
install -d -m 700 -o core -g core /home/core/.ssh; install -m 600 -o core -g core /root/key.pub /home/core/.ssh/authorized_keys
systemd-run --quiet --unit=`+sshdUnit+` --property=RuntimeDirectory=sshd /usr/sbin/sshd -D
until ss -Hltn sport = 22 | grep -q .; do sleep 0.1; done`)
		require.NoError(t, err)
	}
	return r
}

// close leaves the machines as they were.
func (r *remote) close() {
	for _, m := range r.l.Machines {
		_, err := m.Exec(r.t.Context(), "sh", "-c", "systemctl stop "+sshdUnit+" "+agentUnit+"; pkill -u core; userdel -r core; rm -rf /root/.fleetctl /root/key*; true")
		require.NoError(r.t, err)
	}
}

// sh runs a command of a shell that must succeed, and returns what it wrote to standard output.
func (r *remote) sh(command, stdin string) string {
	r.t.Helper()
	out, said, code := r.try(command, stdin)
	require.Zero(r.t, code, "%s\n%s%s", command, out, said)
	return out
}

func (r *remote) try(command, stdin string) (out, said string, code int) {
	r.t.Helper()
	cmd := r.m.Command(r.t.Context(), "env", "SSH_AUTH_SOCK="+agentSocket, "sh", "-c", command)
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		require.NoError(r.t, err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

const helloUnit = `[Unit]
Description=Hello, %i

[Service]
ExecStart=/bin/sh -c 'while true; do echo Hello, World!; sleep 1; done'
`

// Units are scheduled through a tunnel, one and then a batch; machines are reached through it as well. An unknown host key is
// asked for, a changed one refused.
func TestRemoteUse(t *testing.T) {
	l := bareLab(t)
	r := withSSH(t, l)
	defer r.close()
	tunnel := "fleetctl --tunnel=" + l.Machines[0].Address + " --strict-host-key-checking=true --known-hosts-file=/root/.fleetctl/lab "
	for _, name := range []string{"hello.service", "hello@.service"} {
		require.NoError(t, r.m.Write("root/"+name, helloUnit))
	}
	var instances []string
	for i := range 10 {
		instances = append(instances, fmt.Sprintf("hello@%d.service", i+1))
	}
	batch := strings.Join(instances, " ")
	defer func() {
		fleetctl(t, "destroy hello.service hello@.service "+batch)
		within(t, time.Minute, "the units are gone", func() error {
			if left := fleetctl(t, "list-units"); strings.Contains(left, "hello") {
				return fmt.Errorf("still there:\n%s", left)
			}
			return nil
		})
	}()

	_, said, code := r.try(tunnel+"start hello.service", "")
	require.NotZero(t, code, "the key was not accepted")
	require.Contains(t, said, "The authenticity of host '"+l.Machines[0].Address+":22' can't be established")
	r.sh(tunnel+"start hello.service", "yes")
	began := time.Now()
	r.sh(tunnel+"start "+batch, "")
	t.Logf("10 units started through a tunnel in %.1f s", time.Since(began).Seconds())
	list := r.sh(tunnel+"list-units --no-legend --full --fields unit,machine,active", "")
	require.Len(t, regexp.MustCompile(`(?m)^hello\S*\t.*\tactive`).FindAllString(list, -1), 11, list)

	// The machine of a unit, through the tunnel: its key is another one, and asked for as well.
	out := r.sh(tunnel+"ssh hello.service hostname", "yes\n")
	at := slices.IndexFunc(l.Machines, func(m *Machine) bool { return m.Name == strings.TrimSpace(out) })
	require.GreaterOrEqual(t, at, 0, out)
	require.Regexp(t, `(?m)^hello.service\t+`+l.Machines[at].ID, list, "it is the unit's machine")
	_, _, code = r.try(tunnel+"ssh hello.service exit 42", "")
	require.Equal(t, 42, code)
	require.Contains(t, r.sh(tunnel+"ssh --forward-agent hello.service ssh-add -l", ""), "ED25519")

	// systemctl's and journalctl's own output over ssh, and what fleetd makes of them.
	status := r.sh(tunnel+"status hello.service", "")
	require.Regexp(t, `(?m)^● hello.service - Hello, `, status)
	require.Regexp(t, `(?m)^     Active: active \(running\) since .* ago$`, status)
	require.Contains(t, status, "CGroup: ")
	line := `(?m)^[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d ` + l.Machines[at].Name + ` sh\[\d+\]: Hello, World!$`
	overSSH := r.sh(tunnel+"journal --lines 3 hello", "")
	require.Regexp(t, line, overSSH)
	r.sh("ls /root/.fleetctl/lab", "")
	status = r.sh("fleetctl status hello.service", "")
	require.Regexp(t, `(?m)^● hello.service - Hello, `, status)
	require.Regexp(t, `(?m)^     Active: active \(running\) since .* ago$`, status)
	require.Regexp(t, line, status)
	require.Regexp(t, line, r.sh("fleetctl journal --lines 3 hello", ""))
	r.sh(tunnel+"stop hello.service", "")
	for _, way := range []string{tunnel, "fleetctl "} {
		_, said, code := r.try(way+"status hello.service", "")
		require.Equal(t, 3, code, "%s%s", way, said)
	}

	// Installed again, the machine has another key.
	_, err := l.Machines[0].Exec(t.Context(), "sh", "-ec", "rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl kill -s HUP --kill-whom=main "+sshdUnit)
	require.NoError(t, err)
	within(t, 10*time.Second, "the changed key is refused", func() error {
		out, said, code := r.try(tunnel+"list-machines", "yes")
		if code == 0 || !strings.Contains(said, "the host key of "+l.Machines[0].Address+":22 has changed") {
			return fmt.Errorf("exit code %d: %s%s", code, out, said)
		}
		return nil
	})
	r.sh("rm /root/.fleetctl/lab; "+tunnel+"list-machines", "yes")
}
