// Package hostile holds what input that is broken, or means harm, does to a cluster: one clear word about it, and nothing
// to anybody else. A real leader and a node with a model of systemd run over a store; the input comes in the ways that
// anybody has: keys put as etcdctl puts them, and requests to the API.
package hostile
