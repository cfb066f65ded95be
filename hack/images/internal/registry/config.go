// Package registry is a container registry for machines that share their storage: the CNCF Distribution registry, with what that
// needs around it. It starts while storage is away, says so in each answer until storage is back, and lets one process collect
// garbage while none of them takes pushes.
package registry

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v2"

	// The storage that there may be.
	_ "github.com/distribution/distribution/v3/registry/storage/driver/azure"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws"
)

// defaults is the configuration where there is no file. Redirects are off: a machine then needs its registry alone, and signed
// addresses of the storage reach neither clients nor logs.
const defaults = `
version: 0.1
http: {addr: "127.0.0.1:5000"}
storage:
  delete: {enabled: true}
  redirect: {disable: true}
`

// credentialName is the systemd credential (LoadCredential=) that holds the credentials file.
const credentialName = "registry"

// drivers are the supported kinds of storage, with the parameters of each that are secret.
var drivers = map[string][]string{
	"azure":      {"accountkey", "connectionstring"},
	"s3":         {"accesskey", "secretkey", "sessiontoken"},
	"filesystem": nil,
}

// Load reads the configuration, the environment's REGISTRY_* variables and the credentials. An empty path means the defaults, an
// empty credentials file the systemd credential, if there is one.
func Load(path, credentials string) (*configuration.Configuration, error) {
	secrets, secretsFile, err := readCredentials(credentials)
	if err != nil {
		return nil, err
	}
	text, source := []byte(defaults), "the environment"
	if path != "" {
		source = path
		if text, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	config, err := parse(text, slices.Sorted(maps.Keys(secrets)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	if err := refuseSecrets(config); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	for kind, parameters := range secrets {
		if config.Storage[kind] == nil {
			config.Storage[kind] = configuration.Parameters{}
		}
		maps.Copy(config.Storage[kind], parameters)
	}
	if _, err := storageKind(config.Storage); err != nil {
		return nil, fmt.Errorf("%s and %s: %w", source, secretsFile, err)
	}
	if err := check(config); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	complete(config)
	return config, nil
}

// parse has the library read the configuration and the environment. The library wants to know the kind of storage, which may
// be known by the credentials alone.
func parse(text []byte, kinds []string) (config *configuration.Configuration, err error) {
	var raw map[string]any
	if err := yaml.Unmarshal(text, &raw); err != nil {
		return nil, err
	}
	if raw["log"] == nil {
		raw["log"] = map[string]any{"level": "error"} // the library's default is a line for each request
	}
	storage, _ := asMap(raw["storage"])
	if storage == nil {
		storage = map[string]any{}
	}
	for _, kind := range kinds {
		if storage[kind] == nil {
			storage[kind] = map[string]any{}
		}
	}
	if _, isText := raw["storage"].(string); !isText {
		raw["storage"] = storage
	}
	if text, err = yaml.Marshal(raw); err != nil {
		return nil, err
	}
	defer func() {
		if wrong := recover(); wrong != nil { // at two kinds of storage
			err = fmt.Errorf("%v", wrong)
		}
	}()
	if config, err = configuration.Parse(bytes.NewReader(text)); err != nil {
		return nil, err
	}
	_, err = storageKind(config.Storage)
	return config, err
}

// storageKind returns the one kind of storage that is configured, or an empty string. Type of the library panics at two.
func storageKind(storage configuration.Storage) (string, error) {
	var kinds []string
	for _, key := range slices.Sorted(maps.Keys(storage)) {
		if !slices.Contains([]string{"maintenance", "cache", "delete", "redirect", "tag"}, key) {
			kinds = append(kinds, key)
		}
	}
	switch {
	case len(kinds) > 1:
		return "", fmt.Errorf("storage: %s are configured: leave one", strings.Join(kinds, " and "))
	case len(kinds) == 0:
		return "", nil
	}
	if _, ok := drivers[kinds[0]]; !ok {
		return "", fmt.Errorf("storage: %q is not supported: use azure, s3 or filesystem", kinds[0])
	}
	return kinds[0], nil
}

// refuseSecrets refuses secrets in the configuration and in the environment, where others can read them: units and their
// environment are in etcd, and the environment of a process is in /proc.
func refuseSecrets(config *configuration.Configuration) error {
	const where = "put it into the credentials file, see \"registry help\""
	kind, _ := storageKind(config.Storage)
	for _, name := range drivers[kind] {
		if value, ok := config.Storage[kind][name]; ok && value != "" {
			return fmt.Errorf("storage.%s.%s is a secret: %s", kind, name, where)
		}
	}
	if nested, ok := asMap(config.Storage[kind]["credentials"]); ok && nested["secret"] != nil {
		return fmt.Errorf("storage.%s.credentials.secret is a secret: %s", kind, where)
	}
	if config.HTTP.Secret != "" {
		return errors.New("http.secret is not needed: registries with the same storage key agree on one")
	}
	return nil
}

// readCredentials returns the parameters in the credentials file by kind of storage, and the file's name.
func readCredentials(path string) (map[string]map[string]any, string, error) {
	ours := path == ""
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); ours && dir != "" {
		path = filepath.Join(dir, credentialName)
	}
	if path == "" {
		return nil, "no credentials", nil
	}
	info, err := os.Stat(path)
	switch {
	case ours && errors.Is(err, fs.ErrNotExist):
		return nil, "no credentials", nil
	case err != nil:
		return nil, "", fmt.Errorf("credentials: %w", err)
	case !ours && info.Mode().Perm()&0o077 != 0: // systemd sees to its own directory
		return nil, "", fmt.Errorf("credentials: %s can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("credentials: %w", err)
	}
	var given map[string]map[string]any
	if err := yaml.Unmarshal(text, &given); err != nil {
		// The error of the parser would quote the file.
		return nil, "", fmt.Errorf("credentials: %s is not YAML of the form \"azure: {accountname: ..., accountkey: ...}\"", path)
	}
	return given, path, nil
}

// check refuses what would lose images, or what this registry does not do.
func check(config *configuration.Configuration) error {
	kind, err := storageKind(config.Storage)
	if err != nil {
		return err
	}
	if cache := config.Storage["cache"]; cache["blobdescriptor"] != nil || cache["layerinfo"] != nil {
		return errors.New("storage.cache.blobdescriptor: a registry with this cache takes layers for present that another one has deleted, and " +
			"pushes that report success cannot be pulled: remove it")
	}
	for name, set := range map[string]bool{
		"http.tls":           config.HTTP.TLS.Certificate != "" || config.HTTP.TLS.LetsEncrypt.CacheFile != "",
		"http.debug":         config.HTTP.Debug.Addr != "",
		"auth":               config.Auth.Type() != "",
		"middleware":         len(config.Middleware) > 0,
		"proxy.remoteurl":    config.Proxy.RemoteURL != "",
		"http.h2c":           config.HTTP.H2C.Enabled,
		"log.hooks":          len(config.Log.Hooks) > 0,
		"health.*":           len(config.Health.FileCheckers)+len(config.Health.HTTPCheckers)+len(config.Health.TCPCheckers) > 0,
		"redis.options":      len(config.Redis.Options.Addrs) > 0,
		"http.net":           config.HTTP.Net != "" && config.HTTP.Net != "tcp",
		"storage.*.loglevel": config.Storage[kind]["loglevel"] != nil,
	} {
		if set {
			return fmt.Errorf("%s is not supported by this registry, which serves its own machine: remove it", name)
		}
	}
	for _, needed := range map[string][]string{
		"azure": {"accountname", "container"}, "s3": {"bucket", "region"}, "filesystem": {"rootdirectory"},
	}[kind] {
		if value, _ := config.Storage[kind][needed].(string); value == "" {
			return fmt.Errorf("storage.%s.%s is missing", kind, needed)
		}
	}
	return nil
}

// complete fills in what follows from the rest.
func complete(config *configuration.Configuration) {
	kind, _ := storageKind(config.Storage)
	parameters := config.Storage[kind]
	if kind == "azure" && parameters["credentials"] == nil {
		way := "default_credentials" // such as the machine's managed identity
		if parameters["accountkey"] != nil {
			way = "shared_key"
		}
		parameters["credentials"] = map[string]any{"type": way}
	}
	if config.HTTP.Addr == "" {
		config.HTTP.Addr = "127.0.0.1:5000"
	}
	// An upload may go on at another registry, or at this one after a restart: all sign its state alike.
	for _, secret := range drivers[kind] {
		if key, _ := parameters[secret].(string); key != "" && secret != "accesskey" {
			mac := hmac.New(sha256.New, []byte(key))
			mac.Write([]byte("state of an upload"))
			config.HTTP.Secret = hex.EncodeToString(mac.Sum(nil))
		}
	}
	// The environment makes maps of another type than a file does, and the library takes those of a file only.
	for name, value := range config.Storage["maintenance"] {
		if m, ok := value.(map[string]any); ok {
			converted := map[any]any{}
			for k, v := range m {
				converted[k] = v
			}
			config.Storage["maintenance"][name] = converted
		}
	}
	level, err := logrus.ParseLevel(string(config.Log.Level))
	if err != nil {
		level = logrus.ErrorLevel
	}
	logrus.SetLevel(level)
	logrus.SetFormatter(quiet{&logrus.TextFormatter{}})
}

// quiet leaves out the errors that are answers: a push asks for each layer whether it is there.
type quiet struct{ logrus.Formatter }

func (q quiet) Format(entry *logrus.Entry) ([]byte, error) {
	if status, ok := entry.Data["http.response.status"].(int); ok && status < 500 && entry.Level == logrus.ErrorLevel {
		return nil, nil
	}
	return q.Formatter.Format(entry)
}

func asMap(value any) (map[string]any, bool) {
	switch m := value.(type) {
	case map[string]any:
		return m, true
	case map[any]any:
		converted := map[string]any{}
		for k, v := range m {
			converted[fmt.Sprint(k)] = v
		}
		return converted, true
	}
	return nil, false
}
