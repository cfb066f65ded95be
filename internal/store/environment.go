package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// CredentialsVariable names the file with the credentials for a program that no service manager loads them for: the
// announcer of a unit file that an older fleetd generated.
const CredentialsVariable = "FLEET_ETCD_CREDENTIALS"

// Credentials are what etcd knows a user by. As JSON they are the contents of v1.CredentialsFile.
type Credentials struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// ConfigFrom reads how etcd is reached from the variables that fleetd keeps in every machine's environment file, with the
// names of fleetd's own, and from the credentials that it keeps apart from them.
func ConfigFrom(getenv func(name string) string) (Config, error) {
	timeout, _ := time.ParseDuration(getenv("FLEET_ETCD_REQUEST_TIMEOUT")) // absent or wrong: the default
	credentials, err := credentialsFrom(getenv)
	return Config{
		Endpoints: strings.FieldsFunc(getenv("FLEET_ETCD_SERVERS"), func(r rune) bool { return r == ',' || r == ' ' }),
		TLS: TLSFiles{
			CAFile:   getenv("FLEET_ETCD_CAFILE"),
			CertFile: getenv("FLEET_ETCD_CERTFILE"),
			KeyFile:  getenv("FLEET_ETCD_KEYFILE"),
		},
		Username:       credentials.Username,
		Password:       credentials.Password,
		RequestTimeout: timeout,
	}, err
}

// credentialsFrom takes the first that there are: what the service manager loaded, the file that the environment names, or
// variables, which a fleetd of before kept in the environment and a person may set.
func credentialsFrom(getenv func(name string) string) (Credentials, error) {
	files := []string{getenv(CredentialsVariable)}
	if dir := getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		files = []string{filepath.Join(dir, v1.CredentialsID), files[0]}
	}
	for _, file := range files {
		c, err := readCredentials(file)
		if err != nil || c != (Credentials{}) {
			return c, err
		}
	}
	return Credentials{Username: getenv("FLEET_ETCD_USERNAME"), Password: getenv("FLEET_ETCD_PASSWORD")}, nil
}

func readCredentials(file string) (c Credentials, err error) {
	data, err := os.ReadFile(cmp.Or(file, os.DevNull))
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0:
		return c, nil
	case err != nil:
		return c, fmt.Errorf("etcd: credentials: %w: give the unit LoadCredential=%s:%s", err, v1.CredentialsID, v1.CredentialsFile)
	}
	if json.Unmarshal(data, &c) != nil { // whose message would quote a part of them
		return c, fmt.Errorf("etcd: credentials: %s is not JSON such as {\"username\": \"fleet\", \"password\": \"...\"}", file)
	}
	return c, nil
}
