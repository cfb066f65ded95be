// Package hostile tests that broken or malicious input is reported once and clearly, and affects nothing else. A real leader
// and a node with a model of systemd run over a store; the input arrives as it would in production: as keys put with etcdctl,
// and as requests to the API.
package hostile
