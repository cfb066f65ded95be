// Package e2e tests a local cluster of real etcd, real systemd and real nginx: the README's walkthrough, the commands of the docs, and
// the faults that a cluster has to survive.
package e2e
