package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/config"
)

const top = "../.."

// names are those of the packages.
var names = []string{"fleet", "fleetctl", "fleet-registry", "fleet-compat"}

// older is a version below all others.
const older = "0.0.0~older"

// newest and former have the packages of the checkout, and those of a version before it. A commit that is made while the tests run
// does not matter.
var (
	newest, former string
	checkout       build
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "fleet-packages-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		newest, former = filepath.Join(dir, "newest"), filepath.Join(dir, "former")
		programs := filepath.Join(top, "bin/packages/linux-"+runtime.GOARCH)
		checkout, err = build{top: top, programs: programs, arch: runtime.GOARCH}.described()
		before := checkout
		before.version = older
		for out, b := range map[string]build{newest: checkout, former: before} {
			if err == nil {
				_, err = run(b, out)
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "there are no packages to test: run \"make packages\" first:", err)
			return 1
		}
		return m.Run()
	}())
}

// command runs a program that the test needs; where it is absent, the test is skipped.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed: apt-get install dpkg lintian rpm", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// one is the only file of a pattern.
func one(t *testing.T, pattern ...string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pattern...))
	require.NoError(t, err)
	require.Len(t, files, 1, "%v", pattern)
	return files[0]
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]string{
		"v1.2.3-0-g0123456789ab":            "1.2.3",
		"v1.2.3-5-g0123456789ab":            "1.2.3+5.g0123456789ab",
		"v1.2.3-0-g0123456789ab-dirty":      "1.2.3+dirty",
		"v1.3.0-rc.1-0-g0123456789ab":       "1.3.0~rc.1",
		"v1.3.0-rc-1-7-g0123456789ab-dirty": "1.3.0~rc.1+7.g0123456789ab+dirty",
	} {
		got, err := fromTag(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := fromTag("v1.2_3-0-g0123456789ab")
	require.ErrorContains(t, err, "v1.2_3")
	at := time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)
	require.Equal(t, "0.0.0+git20261128010203.0123456789ab+dirty", fromHash("0123456789ab-dirty", at))
}

func TestVersionsSortAsTheyCame(t *testing.T) {
	at := time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)
	list := []string{older, fromHash("ff", at), fromHash("00", at.Add(time.Second)), "1.2.3", "1.2.3+5.g00", "1.2.3+10.gff", "1.3.0~rc.1", "1.3.0~rc.1+7.g00", "1.3.0"}
	for i := range len(list) - 1 {
		command(t, "dpkg", "--compare-versions", list[i], "lt", list[i+1])
	}
}

// fleet.conf has every key, as a comment, and what it says to be the default is.
func TestConfigurationIsTheDefault(t *testing.T) {
	load := func(text string) *config.Config {
		file := filepath.Join(t.TempDir(), "fleet.conf")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		c, warnings, err := config.Load(config.Source{File: file})
		require.NoError(t, err)
		require.Empty(t, warnings)
		return c
	}
	defaults := load(string(fleetConf()))
	require.Equal(t, load(""), defaults)
	var uncommented []string
	for line := range strings.Lines(string(fleetConf())) {
		if key, found := strings.CutPrefix(line, "#"); found && !strings.HasPrefix(key, " ") {
			uncommented = append(uncommented, key)
		}
	}
	require.Len(t, uncommented, len(config.Keys()))
	require.Equal(t, defaults, load(strings.Join(uncommented, "")))
}

func TestOptionsOfHelp(t *testing.T) {
	options, err := optionsOf("usage\n\nFlags:\n  -app string\n    \tname of the <app>\n  -version\n    \tprint it\n")
	require.NoError(t, err)
	require.Equal(t, `**\-app** *string*
: name of the \<app\>

**\-version**
: print it

`, options)
	_, err = optionsOf("Flags:\n")
	require.ErrorContains(t, err, "no options")
	_, err = optionsOf("  -app string\n  -version\n    \tprint it\n")
	require.ErrorContains(t, err, "-app")
}

// Every program has its page, and no page has a hole.
func TestManual(t *testing.T) {
	for _, name := range names {
		root := t.TempDir()
		command(t, "dpkg-deb", "-x", one(t, newest, name+"_*.deb"), root)
		programs, err := os.ReadDir(filepath.Join(root, "usr/bin"))
		require.NoError(t, err)
		for _, program := range programs {
			name := program.Name()
			if name == "etcdctl" { // etcd's own page has the name
				name = "etcdctl-compat"
			}
			page := one(t, root, "usr/share/man/man[18]", name+".[18].gz")
			text := command(t, "zcat", page)
			require.NotContains(t, text, "{{")
			require.Contains(t, text, ".SH OPTIONS", program.Name())
		}
	}
}

// The registry says its options in a way of its own, so that its page is written by hand: each of them is in it.
func TestManualOfRegistry(t *testing.T) {
	page, err := os.ReadFile("man/fleet-registry.1.md")
	require.NoError(t, err)
	help := command(t, filepath.Join(checkout.programs, "fleet-registry"), "help")
	options := regexp.MustCompile(`--[a-z-]+`).FindAllString(help, -1)
	require.NotEmpty(t, options)
	for _, option := range options {
		require.Contains(t, string(page), "\n**"+strings.Replace(option, "--", `\-\-`, 1)+"**")
	}
}

// TestContents: what is in the packages, and with which mode. All belongs to root.
func TestContents(t *testing.T) {
	listed := regexp.MustCompile(`(?m)^(\S+) root/root .* \./(\S+)$`)
	modes := map[string]string{}
	for _, name := range names {
		list := command(t, "dpkg-deb", "-c", one(t, newest, name+"_*.deb"))
		lines := listed.FindAllStringSubmatch(list, -1)
		require.Len(t, lines, strings.Count(list, "\n"), list)
		for _, m := range lines {
			modes[m[2]] = m[1]
		}
	}
	for path, mode := range map[string]string{
		"usr/bin/fleetd": "-rwxr-xr-x", "usr/bin/fleetctl": "-rwxr-xr-x", "usr/bin/announcer": "-rwxr-xr-x",
		"usr/bin/router": "-rwxr-xr-x", "usr/bin/fleet-kustomize": "-rwxr-xr-x", "usr/bin/example-app": "-rwxr-xr-x", "usr/bin/fleet-registry": "-rwxr-xr-x",
		"usr/lib/systemd/system/fleetd.service": "-rw-r--r--", "usr/lib/systemd/system/fleetd.socket": "-rw-r--r--",
		"usr/lib/sysusers.d/fleet.conf": "-rw-r--r--", "etc/fleet/": "drwxr-xr-x", "etc/fleet/fleet.conf": "-rw-r-----",
		"usr/share/man/man5/fleet.conf.5.gz": "-rw-r--r--", "usr/share/man/man1/fleetctl-apply.1.gz": "-rw-r--r--",
		"usr/share/bash-completion/completions/fleetctl": "-rw-r--r--", "usr/share/zsh/vendor-completions/_fleetctl": "-rw-r--r--",
		"usr/share/fish/vendor_completions.d/fleetctl.fish": "-rw-r--r--", "usr/share/doc/fleet/examples/router.yaml": "-rw-r--r--",
		"usr/share/doc/fleet-registry/examples/registry.yaml": "-rw-r--r--", "usr/share/man/man1/fleet-registry.1.gz": "-rw-r--r--",
		"usr/share/doc/fleet/copyright": "-rw-r--r--", "usr/share/doc/fleet/third-party-licenses.gz": "-rw-r--r--",
	} {
		require.Equal(t, mode, modes[path], path)
	}
	require.NotContains(t, modes, "usr/bin/fleet-dev")
	root := t.TempDir()
	command(t, "dpkg-deb", "-x", one(t, newest, "fleet_*.deb"), root)
	unit, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/fleetd.service"))
	require.NoError(t, err)
	require.Contains(t, string(unit), "\nExecStart=/usr/bin/fleetd\n")
	require.NotContains(t, string(unit), "/usr/local")
	command(t, "dpkg-deb", "-x", one(t, newest, "fleet-registry_*.deb"), root)
	for _, program := range []string{"fleetd", "announcer", "router", "fleet-kustomize", "example-app", "fleet-registry"} {
		requireStatic(t, filepath.Join(root, "usr/bin", program))
	}
}

// requireStatic wants a program that runs on whatever C library there is, and does not tell where it was built.
func requireStatic(t *testing.T, file string) {
	t.Helper()
	program, err := elf.Open(file)
	require.NoError(t, err)
	defer program.Close()
	for _, p := range program.Progs {
		require.NotEqual(t, elf.PT_INTERP, p.Type, "%s is linked dynamically", file)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	here, err := filepath.Abs(top)
	require.NoError(t, err)
	require.NotContains(t, string(text), here+"/")
}

func TestRPM(t *testing.T) {
	file := one(t, newest, "fleet-[0-9]*.rpm")
	require.Contains(t, command(t, "rpm", "-qp", "--requires", file), "fleetctl = ")
	require.Equal(t, "/etc/fleet/fleet.conf\n", command(t, "rpm", "-qpc", file))
	list := command(t, "rpm", "-qpl", file)
	for _, path := range []string{"/usr/bin/fleetd", "/usr/lib/systemd/system/fleetd.socket", "/usr/share/licenses/fleet/LICENSE"} {
		require.Contains(t, list, path+"\n")
	}
	require.NotContains(t, list, "lintian")
}

// The same commit gives the same bytes.
func TestReproducible(t *testing.T) {
	again := t.TempDir()
	_, err := run(checkout, again)
	require.NoError(t, err)
	files, err := filepath.Glob(newest + "/*")
	require.NoError(t, err)
	require.Len(t, files, 2*len(names))
	for _, file := range files {
		command(t, "cmp", file, filepath.Join(again, filepath.Base(file)))
	}
}

func TestLintian(t *testing.T) {
	for _, name := range names {
		command(t, "lintian", "--fail-on", "error,warning", one(t, newest, name+"_*.deb"))
	}
}

// TestLifecycle installs, upgrades, removes and purges on a copy of this computer's files, on which systemd does not run. On a machine
// where it does, testdata/lifecycle.sh looks at more.
func TestLifecycle(t *testing.T) {
	inCopy(t, "lifecycle.sh", former, newest)
}

func TestLifecycleOfRPM(t *testing.T) {
	command(t, "rpm", "--version")
	inCopy(t, "lifecycle-rpm.sh", former, newest)
}

// inCopy runs a script of testdata in a copy of this computer's files, with these directories as its arguments.
func inCopy(t *testing.T, script string, dirs ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("it takes root to have a copy of this computer's files")
	}
	text, err := os.ReadFile(filepath.Join("testdata", script))
	require.NoError(t, err)
	// The mounts are in a namespace of their own, and gone when the command ends. /run is empty: no systemd is running there.
	const enter = `set -e
mount -t tmpfs copy "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay copy -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root" || { echo cannot-mount; exit 0; }
mkdir -p "$1/root/mnt/0" "$1/root/mnt/1"
mount --bind "$2" "$1/root/mnt/0"
mount --bind "$3" "$1/root/mnt/1"
mount -t proc proc "$1/root/proc"
mount -t tmpfs run "$1/root/run"
exec chroot "$1/root" sh -s /mnt/0 /mnt/1`
	args := append([]string{"--mount", "--propagation", "private", "sh", "-c", enter, "sh", t.TempDir()}, dirs...)
	cmd := exec.Command("unshare", args...)
	cmd.Stdin = strings.NewReader(string(text))
	out, err := cmd.CombinedOutput()
	if strings.HasSuffix(strings.TrimSpace(string(out)), "cannot-mount") {
		t.Skipf("no copy of this computer's files can be mounted: %s", out)
	}
	require.NoError(t, err, "%s", out)
}
