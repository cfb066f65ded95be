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
