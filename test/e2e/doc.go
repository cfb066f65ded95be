// Package e2e tests whole machines: a local cluster of real etcd, real systemd and real nginx goes through
// the README's walkthrough and through everything that may happen to a cluster at night.
package e2e
