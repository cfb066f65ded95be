// Package compat holds what is the same as in fleet 1.0: the original's programs (make fleet1) and ours are run against each other,
// and the same requests and commands against both, with a real etcd and a real systemd.
package compat
