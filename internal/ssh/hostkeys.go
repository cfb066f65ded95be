package ssh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// HostKeys checks the keys of hosts against a file in OpenSSH's known_hosts format, and adds those that a person accepts.
type HostKeys struct {
	// File need not exist.
	File string
	// Ask shows a question and reports whether the answer was yes. Nil: unknown keys are refused.
	Ask func(ctx context.Context, question string) bool
	// Tell receives warnings.
	Tell func(format string, args ...any)

	mu       sync.Mutex
	accepted []string     // lines that could not be written to the file
	skipped  map[int]bool // lines that were told to be unreadable
}

// UnknownHostError means that the key of a host is not known, and was not accepted.
type UnknownHostError struct{ Address, Key, File string }

// Error says how to accept the key.
func (e *UnknownHostError) Error() string {
	return fmt.Sprintf("the host key of %s is not known: %s was not accepted: answer yes, or add it to %s", e.Address, e.Key, e.File)
}

// ChangedHostError means that a host has another key than before.
type ChangedHostError struct {
	Address, Key, File string
	Known              []knownhosts.KnownKey
}

// Error says which line of the file disagrees.
func (e *ChangedHostError) Error() string {
	var known []string
	for _, k := range e.Known {
		known = append(known, fmt.Sprintf("%s:%d has %s", e.File, k.Line, describe(k.Key)))
	}
	return fmt.Sprintf("the host key of %s has changed: it is %s, but %s: another machine may be posing as this one; if you know that it was installed again, remove the line",
		e.Address, e.Key, strings.Join(known, " and "))
}

// describe returns a key's type and fingerprint.
func describe(key gossh.PublicKey) string { return key.Type() + " " + gossh.FingerprintSHA256(key) }

// check returns nil if the key is that of the host: known, or accepted now.
func (h *HostKeys) check(ctx context.Context, address string, remote net.Addr, key gossh.PublicKey) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, _, err := h.read()
	if err != nil {
		return err
	}
	err = lookUp(known, address, remote, key)
	var other *knownhosts.KeyError
	switch {
	case err == nil || !errors.As(err, &other):
		return err
	case len(other.Want) > 0:
		return &ChangedHostError{Address: address, Key: describe(key), File: h.File, Known: other.Want}
	}
	question := fmt.Sprintf("The authenticity of host '%s' can't be established.\nIts key is %s.\nAre you sure you want to continue connecting (yes/no)? ",
		address, describe(key))
	if h.Ask == nil || !h.Ask(ctx, question) {
		return &UnknownHostError{Address: address, Key: describe(key), File: h.File}
	}
	line := knownhosts.Line([]string{address}, key) + "\n"
	if err := appendLine(h.File, line); err != nil {
		h.accepted = append(h.accepted, line)
		h.Tell("warning: the host key of %s is not kept: %v", address, err)
		return nil
	}
	h.Tell("the host key of %s was added to %s", address, h.File)
	return nil
}

// lookUp checks a key by the name that the host was called by and, if that is not known, by its address: the original
// fleetctl wrote addresses only.
func lookUp(known gossh.HostKeyCallback, address string, remote net.Addr, key gossh.PublicKey) error {
	err := known(address, remote, key)
	var other *knownhosts.KeyError
	if !errors.As(err, &other) || len(other.Want) > 0 {
		return err
	}
	if tcp, ok := remote.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
		return known(tcp.String(), remote, key)
	}
	return err
}

// algorithms returns the host key algorithms to ask the host for: those of its known keys, so that it does not show
// another one of its keys, which would look like a change. Certificates are asked for only if the file names an authority.
func (h *HostKeys) algorithms(address string, remote net.Addr) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, authorities, err := h.read()
	if err != nil {
		return nil, err
	}
	all := gossh.SupportedAlgorithms().HostKeys
	var certificates, keys []string
	for _, name := range all {
		if strings.Contains(name, "-cert-") {
			certificates = append(certificates, name)
		} else {
			keys = append(keys, name)
		}
	}
	nobodys, err := gossh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil, err
	}
	var other *knownhosts.KeyError
	if errors.As(lookUp(known, address, remote, nobodys), &other) && len(other.Want) > 0 {
		keys = slices.DeleteFunc(keys, func(name string) bool {
			return !slices.ContainsFunc(other.Want, func(k knownhosts.KnownKey) bool { return signs(k.Key.Type(), name) })
		})
	}
	if authorities {
		return append(certificates, keys...), nil
	}
	return keys, nil
}

// signs reports whether keys of a type sign by an algorithm: those of RSA by several.
func signs(keyType, algorithm string) bool {
	if keyType == gossh.KeyAlgoRSA {
		return algorithm == gossh.KeyAlgoRSASHA256 || algorithm == gossh.KeyAlgoRSASHA512
	}
	return keyType == algorithm
}

// read parses the file. Lines that cannot be parsed are told and skipped: one of them must not lock the user out. It
// reports whether there are certificate authorities among the others.
func (h *HostKeys) read() (known gossh.HostKeyCallback, authorities bool, err error) {
	data, err := os.ReadFile(h.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("known hosts: %w", err)
	}
	var good bytes.Buffer // with empty lines for those left out: numbers of lines are shown
	number := 0
	for line := range bytes.Lines(data) {
		number++
		marker, _, _, _, _, err := gossh.ParseKnownHosts(line)
		authorities = authorities || err == nil && marker == "cert-authority"
		text := bytes.TrimSpace(line)
		if empty := len(text) == 0 || text[0] == '#'; errors.Is(err, io.EOF) && !empty {
			err = errors.New("it needs names, a type and a key")
		}
		if err != nil && !errors.Is(err, io.EOF) {
			h.tellSkipped(number, err)
			line = nil
		}
		good.Write(bytes.TrimRight(line, "\r\n"))
		good.WriteByte('\n')
	}
	for _, line := range h.accepted {
		good.WriteString(line)
	}
	known, err = parseKnown(good.Bytes())
	return known, authorities, err
}

func (h *HostKeys) tellSkipped(number int, err error) {
	if h.skipped[number] {
		return
	}
	if h.skipped == nil {
		h.skipped = map[int]bool{}
	}
	h.skipped[number] = true
	h.Tell("warning: %s:%d: not a line of a known_hosts file, skipped: %v", h.File, number, err)
}

// parseKnown is knownhosts.New for text.
func parseKnown(text []byte) (gossh.HostKeyCallback, error) {
	file, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return knownhosts.New(file.Name())
}

// appendLine adds a line to a file, which may lack its last newline or not exist.
func appendLine(path, line string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if data, err := os.ReadFile(path); err == nil && len(data) > 0 && data[len(data)-1] != '\n' {
		line = "\n" + line
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line)
	return errors.Join(err, file.Close())
}
