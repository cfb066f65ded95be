package ssh

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// keySet are the keys to authenticate with.
type keySet struct {
	signers []gossh.Signer
	agent   net.Conn
	files   []string
	noAgent error
}

func (k *keySet) close() {
	if k.agent != nil {
		_ = k.agent.Close() // nothing is written to it any more
	}
}

// describe names the keys that were tried.
func (k *keySet) describe() string {
	return fmt.Sprintf("%d keys of ssh-agent and %d of ~/.ssh", len(k.signers)-len(k.files), len(k.files))
}

var errNoKeys = errors.New("there is no key to authenticate with")

// keys returns those of the agent, then those in files.
func (c Config) keys() (*keySet, error) {
	k := &keySet{}
	if c.AgentSocket == "" {
		k.noAgent = errors.New("SSH_AUTH_SOCK is not set")
	} else if conn, err := net.Dial("unix", c.AgentSocket); err != nil {
		k.noAgent = fmt.Errorf("ssh-agent does not answer: %w", err)
	} else {
		k.agent = conn
		if k.signers, err = agent.NewClient(conn).Signers(); err != nil {
			k.noAgent = fmt.Errorf("ssh-agent: %w", err)
		} else if len(k.signers) == 0 {
			k.noAgent = errors.New("ssh-agent has no keys")
		}
	}
	for _, path := range c.KeyFiles {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		signer, err := gossh.ParsePrivateKey(data)
		if err != nil {
			continue // it needs a passphrase: that is what ssh-agent is for
		}
		k.signers, k.files = append(k.signers, signer), append(k.files, path)
	}
	if len(k.signers) == 0 {
		k.close()
		return nil, fmt.Errorf("%w: %w, and none of %s is a key without a passphrase: start ssh-agent and run ssh-add",
			errNoKeys, k.noAgent, strings.Join(c.KeyFiles, ", "))
	}
	return k, nil
}
