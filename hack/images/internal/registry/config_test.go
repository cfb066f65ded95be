package registry

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	withAzure  = "version: 0.1\nstorage: {azure: {container: images}}\n"
	azureFile  = "azure: {accountname: shop, accountkey: c2VjcmV0}\n"
	azureAlone = "azure:\n   accountname: shop\n   accountkey: c2VjcmV0\n   container: images\n" // the seed's own file
)

func TestLoad(t *testing.T) {
	config, err := Load(write(t, "config", 0o644, withAzure), write(t, "credentials", 0o600, azureFile))
	require.NoError(t, err)
	require.Equal(t, "azure", config.Storage.Type())
	require.Equal(t, "images", config.Storage.Parameters()["container"])
	require.Equal(t, "c2VjcmV0", config.Storage.Parameters()["accountkey"])
	require.Equal(t, map[string]any{"type": "shared_key"}, config.Storage.Parameters()["credentials"])
	require.Equal(t, "127.0.0.1:5000", config.HTTP.Addr)
	require.Len(t, config.HTTP.Secret, 64)
	require.NotContains(t, config.HTTP.Secret, "c2VjcmV0")
}

// One file is enough, as a systemd credential.
func TestLoadCredentialAlone(t *testing.T) {
	file := write(t, "registry", 0o440, azureAlone)
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(file))
	config, err := Load("", "")
	require.NoError(t, err)
	require.Equal(t, "images", config.Storage.Parameters()["container"])
	require.Equal(t, "127.0.0.1:5000", config.HTTP.Addr)
	require.Equal(t, true, config.Storage["redirect"]["disable"])
	require.Equal(t, true, config.Storage["delete"]["enabled"])
}

func TestLoadEnvironment(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(write(t, "registry", 0o440, "\n"))) // SetCredential=registry: is empty
	t.Setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/srv/images")
	t.Setenv("REGISTRY_HTTP_ADDR", "10.0.0.1:5000")
	config, err := Load("", "")
	require.NoError(t, err)
	require.Equal(t, "/srv/images", config.Storage.Parameters()["rootdirectory"])
	require.Equal(t, "10.0.0.1:5000", config.HTTP.Addr)
	require.Empty(t, config.HTTP.Secret)
}

// Without a key the machine's own identity is used.
func TestLoadManagedIdentity(t *testing.T) {
	config, err := Load(write(t, "config", 0o644, "version: 0.1\nstorage: {azure: {container: images, accountname: shop}}\n"), "")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"type": "default_credentials"}, config.Storage.Parameters()["credentials"])
}

func TestLoadRefuses(t *testing.T) {
	const file = "version: 0.1\nstorage: {filesystem: {rootdirectory: /srv}"
	for name, test := range map[string]struct {
		config, credentials string
		mode                os.FileMode
		env                 string
		want                string
	}{
		"nothing":         {config: "version: 0.1\n", want: "no storage configuration provided"},
		"two storages":    {config: withAzure, credentials: "s3: {bucket: b}\n", want: "exactly one storage type. Provided: [azure s3]"},
		"unknown storage": {config: "version: 0.1\nstorage: {gcs: {}}\n", want: `"gcs" is not supported: use azure, s3 or filesystem`},
		"cache":           {config: file + ", delete: {enabled: true}, cache: {blobdescriptor: inmemory}}\n", want: "pushes that report success cannot be pulled: remove it"},
		"old cache":       {config: file + ", cache: {layerinfo: inmemory}}\n", want: "remove it"},
		"open file":       {config: withAzure, credentials: azureFile, mode: 0o644, want: "can be read by others (mode 0644): chmod 600 it"},
		"group":           {config: withAzure, credentials: azureFile, mode: 0o640, want: "chmod 600 it"},
		"not YAML":        {config: withAzure, credentials: "c2VjcmV0", want: "is not YAML of the form"},
		"key in config":   {config: "version: 0.1\nstorage: {azure: {accountkey: c2VjcmV0}}\n", want: "storage.azure.accountkey is a secret: put it into the credentials file"},
		"key in env":      {config: withAzure, env: "REGISTRY_STORAGE_AZURE_ACCOUNTKEY", want: "storage.azure.accountkey is a secret"},
		"s3 key in env":   {config: "version: 0.1\nstorage: {s3: {bucket: b}}\n", env: "REGISTRY_STORAGE_S3_SECRETKEY", want: "storage.s3.secretkey is a secret"},
		"client secret":   {config: "version: 0.1\nstorage: {azure: {credentials: {secret: c2VjcmV0}}}\n", want: "storage.azure.credentials.secret is a secret"},
		"http secret":     {config: file + "}\nhttp: {secret: c2VjcmV0}\n", want: "http.secret is not needed"},
		"no account":      {config: withAzure, want: "storage.azure.accountname is missing"},
		"no container":    {config: "version: 0.1\n", credentials: azureFile, want: "storage.azure.container is missing"},
		"auth":            {config: file + "}\nauth: {htpasswd: {}}\n", want: "auth is not supported"},
		"debug":           {config: file + "}\nhttp: {debug: {addr: \":5001\"}}\n", want: "http.debug is not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			credentials := ""
			if test.credentials != "" {
				mode := test.mode
				if mode == 0 {
					mode = 0o600
				}
				credentials = write(t, "credentials", mode, test.credentials)
			}
			if test.env != "" {
				t.Setenv(test.env, "c2VjcmV0")
			}
			_, err := Load(write(t, "config", 0o644, test.config), credentials)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "c2VjcmV0")
		})
	}
	_, err := Load("", "/does/not/exist")
	require.ErrorContains(t, err, "credentials: stat /does/not/exist")
}

// A key that cannot be one is told of without showing it.
func TestBadKey(t *testing.T) {
	config, err := Load("", write(t, "credentials", 0o600, "azure: {accountname: shop, accountkey: not-base64, container: images}\n"))
	require.NoError(t, err)
	_, err = openStorage(t.Context(), config)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "not-base64")
}
