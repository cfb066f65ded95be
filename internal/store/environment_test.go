package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConfigFrom(t *testing.T) {
	dir := t.TempDir()
	write := func(path, text string) string {
		path = filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	file := write("etcd-credentials", `{"username":"file","password":"f"}`)
	write("loaded/fleet-etcd", `{"username":"loaded","password":"l"}`)
	write("nothing/fleet-etcd", "{}\n") // SetCredential=, or a cluster without users
	write("broken/fleet-etcd", `{"password":"secret`)
	variables := map[string]string{"FLEET_ETCD_USERNAME": "variable", "FLEET_ETCD_PASSWORD": "v"}
	for name, c := range map[string]struct {
		directory, file string
		want            Credentials
	}{
		"loaded by the service manager":              {"loaded", file, Credentials{"loaded", "l"}},
		"a unit file of an older fleetd":             {"", file, Credentials{"file", "f"}},
		"other credentials are loaded":               {".", file, Credentials{"file", "f"}},
		"a machine with an older fleetd":             {"nothing", "", Credentials{"variable", "v"}},
		"set by a person":                            {"", "", Credentials{"variable", "v"}},
		"the file is gone, and was not the only way": {"", filepath.Join(dir, "gone"), Credentials{"variable", "v"}},
	} {
		env := map[string]string{"FLEET_ETCD_SERVERS": "http://a:1, http://b:1", "FLEET_ETCD_REQUEST_TIMEOUT": "2s", CredentialsVariable: c.file}
		if c.directory != "" {
			env["CREDENTIALS_DIRECTORY"] = filepath.Join(dir, c.directory)
		}
		for k, v := range variables {
			env[k] = v
		}
		got, err := ConfigFrom(func(name string) string { return env[name] })
		require.NoError(t, err, name)
		require.Equal(t, Config{Endpoints: []string{"http://a:1", "http://b:1"}, RequestTimeout: 2 * time.Second, Username: c.want.Username, Password: c.want.Password}, got, name)
	}
	write("directory/fleet-etcd/x", "")
	_, err := ConfigFrom(func(name string) string {
		return map[string]string{"CREDENTIALS_DIRECTORY": filepath.Join(dir, "directory")}[name]
	})
	require.EqualError(t, err, "etcd: credentials: read "+dir+"/directory/fleet-etcd: is a directory: give the unit LoadCredential=fleet-etcd:%t/fleet/etcd-credentials")
	_, err = ConfigFrom(func(name string) string {
		return map[string]string{"CREDENTIALS_DIRECTORY": filepath.Join(dir, "broken")}[name]
	})
	require.EqualError(t, err, "etcd: credentials: "+dir+`/broken/fleet-etcd is not JSON such as {"username": "fleet", "password": "..."}`)
}
