package store

import (
	"strings"
	"time"
)

// ConfigFrom reads how etcd is reached from the variables that fleetd keeps in every machine's environment
// file: they have the names of fleetd's own.
func ConfigFrom(getenv func(name string) string) Config {
	timeout, _ := time.ParseDuration(getenv("FLEET_ETCD_REQUEST_TIMEOUT")) // absent or wrong: the default
	return Config{
		Endpoints: strings.FieldsFunc(getenv("FLEET_ETCD_SERVERS"), func(r rune) bool { return r == ',' || r == ' ' }),
		TLS: TLSFiles{
			CAFile:   getenv("FLEET_ETCD_CAFILE"),
			CertFile: getenv("FLEET_ETCD_CERTFILE"),
			KeyFile:  getenv("FLEET_ETCD_KEYFILE"),
		},
		Username:       getenv("FLEET_ETCD_USERNAME"),
		Password:       getenv("FLEET_ETCD_PASSWORD"),
		RequestTimeout: timeout,
	}
}
