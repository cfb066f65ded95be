package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/pages"
)

// older is a version below all others.
const older = "0.0.0~older"

// olderPackages are the packages of bin/packages, built once more as an older version.
var olderPackages = sync.OnceValues(func() ([]string, error) {
	programs, err := filepath.Abs("../../bin/packages/linux-" + runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(theLab.Dir, "older") // removed with the lab
	if _, err := run(context.Background(), "go", "-C", "../../hack/packages", "run", ".", "-programs", programs, "-version", older, "-format", "debian", "-out", out); err != nil {
		return nil, err
	}
	return filepath.Glob(out + "/*.deb")
})

// spares boots machines that are as a user finds them, and removes them after the test. They have no network beyond the lab's: apt finds
// what the base has. The test runs beside others that use spares alone, when those of the cluster are over: nothing in them is timed.
func spares(t *testing.T, count int, prepare func(*Machine) error) []*Machine {
	t.Helper()
	if theLab == nil {
		t.Skipf("no real machines here: %v", why)
	}
	t.Parallel()
	var machines []*Machine
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range machines {
				said, _ := m.Exec(context.Background(), "sh", "-c", "systemctl --failed --no-pager; journalctl -n 60 --no-pager")
				t.Logf("%s:\n%s", m.Name, said)
			}
		}
		require.NoError(t, theLab.Discard(context.Background(), machines...))
	})
	var err error
	machines, err = theLab.Spares(t.Context(), count, func(m *Machine) error {
		// dpkg.cfg.d has what mmdebstrap was told to leave out: the packages' examples are in /usr/share/doc. apt is answered yes.
		return errors.Join(os.RemoveAll(filepath.Join(m.Root(), "etc/dpkg/dpkg.cfg.d")), m.Write("etc/apt/sources.list", ""),
			m.Write("etc/dpkg/dpkg.cfg.d/lab", "force-unsafe-io\n"), // faster: the machines do not live long
			m.Write("etc/apt/apt.conf.d/90lab", "APT::Get::Assume-Yes \"true\";\n"), prepare(m))
	})
	require.NoError(t, err)
	return machines
}

// put copies files to a directory of a machine.
func (m *Machine) put(dir string, files []string) error {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := m.Write(filepath.Join(dir, filepath.Base(file)), string(text)); err != nil {
			return err
		}
	}
	return nil
}

// TestPackages installs, upgrades, removes and purges the packages on a machine where systemd runs, and looks at what is restarted, and
// what is left.
func TestPackages(t *testing.T) {
	m := spares(t, 1, func(m *Machine) error {
		before, err := olderPackages()
		after, err2 := packages()
		return errors.Join(err, err2, m.put("root/old", before), m.put("root/new", after), m.put("root", []string{"../../hack/packages/testdata/lifecycle.sh"}))
	})[0]
	_, err := m.Exec(t.Context(), "sh", "lifecycle.sh", "/root/old", "/root/new")
	require.NoError(t, err)
}

// The machines of docs/install.md, and how it says on which of them a block is run.
var (
	pageMachine = regexp.MustCompile(`\bm([123])\b`)
	pageAddress = regexp.MustCompile(`\b10\.0\.0\.1([123])\b`)
	onWhich     = regexp.MustCompile(`(?i)\bon (each|one)\b`)
	elsewhere   = regexp.MustCompile(`^On a computer with Go`)
)

// asOn is a block of the page as it is run on the n-th of three machines: "with its own name and address". A line with the names or
// addresses of all machines has all of them.
func asOn(block string, n int, machines []*Machine) string {
	var lines []string
	for line := range strings.Lines(block) {
		if !strings.Contains(line, "10.0.0.12") && !strings.Contains(line, "10.0.0.13") {
			line = strings.NewReplacer("10.0.0.11", fmt.Sprintf("10.0.0.1%d", n), "=m1\n", fmt.Sprintf("=m%d\n", n)).Replace(line)
		}
		line = pageMachine.ReplaceAllStringFunc(line, func(name string) string { return machines[name[1]-'1'].Name })
		line = pageAddress.ReplaceAllStringFunc(line, func(a string) string { return machines[a[len(a)-1]-'1'].Address })
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// shell runs a block of a page on a machine, as if it were pasted there.
func (m *Machine) shell(ctx context.Context, block string) (string, error) {
	return m.Exec(ctx, "bash", "-euo", "pipefail", "-c", block)
}

// blocksOf are the code blocks of a page.
func blocksOf(t *testing.T, page string) []pages.Block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", page))
	require.NoError(t, err)
	return pages.Blocks(pages.Lines(string(text)))
}

// runPage runs the blocks of a page, in order, on three machines, and returns how many there were and what the last one on one machine
// printed. after is called after each of them.
func runPage(t *testing.T, page string, machines []*Machine, after func(pages.Block)) (ran int, said string) {
	t.Helper()
	for _, block := range blocksOf(t, page) {
		if elsewhere.MatchString(block.Before) { // the packages are built, and on the machines
			continue
		}
		which := onWhich.FindStringSubmatch(block.Before)
		require.NotNil(t, which, "%s:%d: say in the sentence above whether it is run on each or on one machine: %s", page, block.Line, block.Before)
		on := machines
		if which[1] == "one" {
			on = machines[:1]
		}
		require.NoError(t, each(on, func(m *Machine) error {
			out, err := m.shell(t.Context(), asOn(block.Text(), m.Number-machines[0].Number+1, machines))
			if err == nil && len(on) == 1 {
				said = out
			}
			return err
		}), "%s:%d", page, block.Line)
		after(block)
		ran++
	}
	return ran, said
}

// withOlder boots three machines that have the older packages in /root, where the pages have them.
func withOlder(t *testing.T) []*Machine {
	t.Helper()
	return spares(t, 3, func(m *Machine) error {
		debs, err := olderPackages()
		return errors.Join(err, m.put("root", debs))
	})
}

// TestTLSPage runs docs/tls.md as it is written, and an app on the cluster that it makes: fleetd, announcers and routers have
// certificates.
func TestTLSPage(t *testing.T) {
	machines := withOlder(t)
	ran, _ := runPage(t, "docs/tls.md", machines, func(block pages.Block) {
		if !strings.Contains(block.Text(), "openssl req") {
			return
		}
		ca := filepath.Join(machines[0].Root(), "root/ca")
		for _, m := range machines { // what the page says in words
			for from, to := range map[string]string{"ca.pem": "ca.pem", m.Address + ".pem": "machine.pem", m.Address + "-key.pem": "machine-key.pem"} {
				m.copy(t, filepath.Join(ca, from), "root/"+to, 0o600)
			}
		}
	})
	require.Equal(t, 5, ran)
	m := machines[0]
	_, err := m.shell(t.Context(), "for app in router hello; do fleetctl apply -f /usr/share/doc/fleet/examples/$app.yaml --wait --timeout 1m; done")
	require.NoError(t, err)
	for _, m := range machines {
		_, err := m.shell(t.Context(), "curl -sf -H 'Host: hello.localhost' http://"+m.Address+"/instance")
		require.NoError(t, err)
	}
	_, err = m.shell(t.Context(), "etcdctl --cacert /etc/etcd-tls/ca.pem --endpoints https://127.0.0.1:2379 get /fleet/apps/hello")
	require.Error(t, err, "without a certificate etcd says nothing")
}

// TestInstallPage runs docs/install.md as it is written, on three machines with nothing but Debian; then cuts their power; then upgrades
// them as docs/upgrade.md says; then removes and purges the package of one.
func TestInstallPage(t *testing.T) {
	machines := withOlder(t)
	ran, said := runPage(t, "docs/install.md", machines, func(pages.Block) {})
	require.Equal(t, 5, ran)
	require.Contains(t, said, "hello@1", "the answer of the app")

	hello := func(m *Machine) error {
		_, err := m.shell(t.Context(), "curl -sf -H 'Host: hello.localhost' http://"+m.Address+"/")
		return err
	}
	require.NoError(t, each(machines, func(m *Machine) error { return m.Kill(t.Context()) }))
	start := time.Now()
	require.NoError(t, each(machines, func(m *Machine) error { return m.Boot(t.Context()) }))
	for _, m := range machines {
		within(t, time.Minute, m.Name+" serves after a power cut", func() error { return hello(m) })
	}
	t.Logf("all three serve %.1f s after power is back", time.Since(start).Seconds())
	upgradePage(t, machines)
	for _, m := range machines {
		within(t, time.Minute, m.Name+" serves after the upgrade", func() error { return hello(m) })
	}
	removed(t, machines[0], hello)
}

// upgradePage upgrades machines as docs/upgrade.md says: fleetd alone is restarted, and then the routers, whose nginx serves on.
func upgradePage(t *testing.T, machines []*Machine) {
	t.Helper()
	newer, err := packages()
	require.NoError(t, err)
	blocks := blocksOf(t, "docs/upgrade.md")
	require.Contains(t, blocks[0].Text(), "apt-get install")
	require.Contains(t, blocks[2].Text(), "router.service")
	what := func(m *Machine, property, units string) string {
		out, err := m.shell(t.Context(), "systemctl show -p "+property+" --value "+units)
		require.NoError(t, err)
		return out
	}
	for _, m := range machines {
		_, err := m.shell(t.Context(), "rm /root/*.deb")
		require.NoError(t, err)
		require.NoError(t, m.put("root", newer))
		units, err := m.shell(t.Context(), "systemctl list-units --plain --no-legend 'hello*' router.service docker.service etcd.service | awk '{print $1}' | xargs")
		require.NoError(t, err)
		require.Contains(t, units, "router.service")
		running, fleetd := what(m, "InvocationID", units), what(m, "MainPID", "fleetd.service")
		_, err = m.shell(t.Context(), blocks[0].Text())
		require.NoError(t, err)
		require.Equal(t, running, what(m, "InvocationID", units), "%s: what runs is not restarted: %s", m.Name, units)
		require.NotEqual(t, fleetd, what(m, "MainPID", "fleetd.service"))
		version, err := m.shell(t.Context(), "dpkg-query -W -f '${Version}' fleet")
		require.NoError(t, err)
		require.NotEqual(t, older, version)
	}
	for _, m := range machines {
		const master = "cat /run/fleet/router/nginx.pid"
		nginx, err := m.shell(t.Context(), master)
		require.NoError(t, err)
		router := what(m, "MainPID", "router.service")
		_, err = m.shell(t.Context(), blocks[2].Text())
		require.NoError(t, err)
		within(t, time.Minute, "the router runs again", func() error {
			if now := what(m, "MainPID", "router.service"); now == router || now == "0\n" {
				return errors.New("not yet")
			}
			return nil
		})
		now, err := m.shell(t.Context(), master)
		require.NoError(t, err)
		require.Equal(t, nginx, now, "nginx serves on")
	}
}

// removed removes the package of a machine, which serves on, and purges it.
func removed(t *testing.T, m *Machine, hello func(*Machine) error) {
	t.Helper()
	_, err := m.shell(t.Context(), "apt-get remove fleet")
	require.NoError(t, err)
	state, _ := m.Exec(t.Context(), "systemctl", "is-active", "fleetd.service", "router.service")
	require.Equal(t, []string{"inactive", "active"}, strings.Fields(state), "fleetd is stopped, and what it runs goes on")
	require.NoError(t, hello(m))
	_, err = m.shell(t.Context(), "apt-get purge fleet && ! ls -d /etc/fleet /var/lib/fleet /run/fleet.sock /usr/bin/fleetd 2>/dev/null")
	require.NoError(t, err)
	left, err := m.shell(t.Context(), "find /etc /usr /var/lib -path /var/lib/dpkg -prune -o -name '*fleetd*' -print")
	require.NoError(t, err)
	require.Empty(t, left)
}
