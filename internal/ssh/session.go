package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/term"
)

// Streams are the standard streams of a remote command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal, if set, is the terminal that In and Out are: the command gets one of the same size.
	Terminal *os.File
	// Term is the type of the terminal.
	Term string
}

// Run runs a command, or a login shell if the command is empty, and returns its exit code: 128 and the number of the
// signal if one ended it. An error means that it was not run or that its end is not known.
func (c *Client) Run(ctx context.Context, command string, s Streams) (code int, err error) {
	session, err := c.NewSession()
	if err != nil {
		return 0, fmt.Errorf("ssh to %s: %w", c.address, err)
	}
	defer session.Close()
	session.Stdin, session.Stdout, session.Stderr = s.In, s.Out, s.Err
	if c.forwarding { // sshd gives all commands of a connection the agent that was asked for once, and refuses a second request
		c.forwarding = false
		if err := agent.RequestAgentForwarding(session); err != nil {
			return 0, fmt.Errorf("ssh to %s: the machine does not let ssh-agent be forwarded: %w", c.address, err)
		}
	}
	restore, err := takeTerminal(ctx, session, s)
	if err != nil {
		return 0, fmt.Errorf("ssh to %s: %w", c.address, err)
	}
	defer restore()
	if command == "" {
		err = session.Shell()
	} else {
		err = session.Start(command)
	}
	if err == nil {
		err = waitFor(ctx, session)
	}
	var exit *gossh.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	case err != nil:
		return 0, fmt.Errorf("ssh to %s: %w", c.address, err)
	}
	return 0, nil
}

// waitFor waits for the end of the command or of ctx, whichever is first: who reads the output may have stopped reading.
func waitFor(ctx context.Context, session *gossh.Session) error {
	ended := make(chan error, 1)
	go func() { ended <- session.Wait() }() // ends with the session or, if its output is blocked, with the process
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = session.Signal(gossh.SIGINT) // closing it ends most programs, too
		return ctx.Err()
	}
}

// ForwardAgent lets commands that are run from now on use the local ssh-agent.
func (c *Client) ForwardAgent() error {
	if c.agentSocket == "" {
		return errors.New("there is no ssh-agent to forward: SSH_AUTH_SOCK is not set")
	}
	c.forwarding = true
	return agent.ForwardToRemote(c.Client, c.agentSocket)
}

// takeTerminal gives the command a terminal if there is one here, and returns a function that restores it.
func takeTerminal(ctx context.Context, session *gossh.Session, s Streams) (restore func(), err error) {
	if s.Terminal == nil {
		return func() {}, nil
	}
	fd := int(s.Terminal.Fd())
	width, height, err := term.GetSize(fd)
	if err != nil {
		return nil, fmt.Errorf("size of the terminal: %w", err)
	}
	if err := session.RequestPty(s.Term, height, width, gossh.TerminalModes{gossh.ECHO: 1}); err != nil {
		return nil, fmt.Errorf("the machine gives no terminal: %w", err)
	}
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		followSize(ctx, session, fd)
	}()
	return func() {
		cancel()
		<-done
		_ = term.Restore(fd, before) // nothing else can be done
	}, nil
}

// followSize tells the machine of changes of the terminal's size until ctx ends.
func followSize(ctx context.Context, session *gossh.Session, fd int) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if width, height, err := term.GetSize(fd); err == nil {
				_ = session.WindowChange(height, width) // the next change is told again
			}
		}
	}
}

// Quote makes one word of a shell's command line of each argument.
func Quote(args ...string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if arg == "" || strings.ContainsFunc(arg, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,", r)
		}) {
			words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
