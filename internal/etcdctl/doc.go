// Package etcdctl implements the key commands of etcd 2's etcdctl over etcd 3: set, mk, update, rm, get, ls, mkdir, rmdir, setdir
// and updatedir. Unit files of fleet's time announce their instances with them.
//
// A key is stored under its own name, where confd, the router and an etcdctl of etcd 3 see it. A directory exists while there are
// keys below it; mkdir stores an empty key with a slash at the end. A TTL is a lease of the key's own, which the next command with
// the same TTL renews.
//
// Texts and exit codes are those of etcdctl 3.4 with ETCDCTL_API=2; the contract test runs both.
package etcdctl
