package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ignition "github.com/coreos/ignition/v2/config"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// What is generated is what hack/update-provision.sh would write.
func TestGenerated(t *testing.T) {
	generated, err := generate()
	require.NoError(t, err)
	for name, text := range generated {
		require.Equal(t, string(text), read(t, filepath.Join(dir, name)), "run hack/update-provision.sh")
	}
}

func TestIgnition(t *testing.T) {
	parsed, report, err := ignition.Parse([]byte(read(t, dir+"/flatcar.ign")))
	require.NoError(t, err, report.String())
	require.Empty(t, report.Entries)
	units := map[string]bool{}
	for _, u := range parsed.Systemd.Units {
		units[u.Name] = true
		if strings.HasPrefix(u.Name, "fleetd.") {
			require.Equal(t, read(t, filepath.Join(manifests, u.Name)), *u.Contents)
		}
	}
	require.Equal(t, map[string]bool{"docker.service": true, "fleet-provision.service": true, "etcd.service": true, "fleetd.service": true, "fleetd.socket": true}, units)
	_, err = translate([]byte(read(t, dir+"/flatcar.bu") + "  unit: []\n"))
	require.ErrorContains(t, err, "unit", "a slip of the pen is refused")
}

// TestFlatcarConfiguration runs the script that writes a machine's configuration on Flatcar: it is that of docs/install.md.
func TestFlatcarConfiguration(t *testing.T) {
	var butane struct {
		Storage struct {
			Files []struct {
				Path     string
				Contents struct{ Inline string }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, dir+"/flatcar.bu")), &butane))
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(root+"/etc/fleet", 0o755))
	script := ""
	for _, file := range butane.Storage.Files {
		switch file.Path {
		case "/etc/fleet-provision.conf":
			require.NoError(t, os.WriteFile(root+file.Path, []byte(file.Contents.Inline), 0o600))
		case "/opt/bin/fleet-provision":
			script = file.Contents.Inline
		}
	}
	require.NoError(t, os.WriteFile(root+"/ip", []byte("#!/bin/sh\necho \"$4 via 10.0.0.1 dev eth0 src $ADDRESS uid 0\"\n"), 0o755))
	configure := func(address string) {
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(script, "/etc/fleet", root+"/etc/fleet"))
		cmd.Env = []string{"PATH=" + root + ":" + os.Getenv("PATH"), "ADDRESS=" + address}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	configure("10.0.0.14")
	require.Equal(t, "etcd_servers=http://10.0.0.11:2379,http://10.0.0.12:2379,http://10.0.0.13:2379\npublic_ip=10.0.0.14\n", read(t, root+"/etc/fleet/fleet.conf"))
	require.NoFileExists(t, root+"/etc/fleet/etcd.env", "it is no member of etcd")
	configure("10.0.0.11")
	require.Contains(t, read(t, "../../docs/install.md"), strings.Replace(read(t, root+"/etc/fleet/etcd.env"), "ETCD_DATA_DIR=/var/lib/etcd\n", "", 1))
}

// cloudConfig is the part of the cloud-config that is looked at here.
type cloudConfig struct {
	WriteFiles []struct{ Path, Permissions, Content string } `yaml:"write_files"`
	BootCmd    [][]string
	RunCmd     [][]string
	Packages   []string
	Update     bool `yaml:"package_update"`
}

// cloud-init's schema lets unknown keys pass: they are refused here.
func TestCloudConfig(t *testing.T) {
	text := read(t, dir+"/cloud-config.yaml")
	require.True(t, strings.HasPrefix(text, "#cloud-config\n"))
	var config cloudConfig
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&config))
	for _, file := range config.WriteFiles {
		if strings.HasPrefix(file.Content, "#!/bin/sh\n") {
			sh := exec.Command("sh", "-n")
			sh.Stdin = strings.NewReader(file.Content)
			out, err := sh.CombinedOutput()
			require.NoError(t, err, "%s: %s", file.Path, out)
		}
	}
	if _, err := exec.LookPath("cloud-init"); err != nil {
		t.Skip("cloud-init is not installed: apt-get install cloud-init")
	}
	out, err := exec.Command("cloud-init", "schema", "--config-file", dir+"/cloud-config.yaml").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
