package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/ssh"
)

// errSSH means that a command was not run because of ssh: its exit code is that of ssh(1), which few commands have.
var errSSH = errors.New("ssh failed")

// exitSSH is the exit code for errSSH.
const exitSSH = 255

const sshHelp = `

Keys are those of ssh-agent (SSH_AUTH_SOCK), then ~/.ssh/id_ed25519, id_ecdsa and id_rsa, if they have no passphrase. With
--tunnel the connection goes through that machine. A host key that is not in --known-hosts-file is shown and, after yes on
standard input, kept there; a changed one is refused.`

// sshOptions are the flags of ssh.
type sshOptions struct {
	machine, unit string
	port          int
	forwardAgent  bool
}

func (a *app) sshCommand() *cobra.Command {
	var o sshOptions
	cmd := &cobra.Command{
		Use: "ssh [--machine|--unit] MACHINE|UNIT [COMMAND...]", Short: "Open a shell or run a command on a machine",
		Long: `Opens a shell on a machine, or on the one that a unit runs on, or runs a command there. The exit code is that of the command,
or 255 if ssh failed. --machine and --unit say which of the two is meant; a global unit runs on several machines and can't
be used.` + sshHelp,
		Example: `  fleetctl ssh 8abff2e7
  fleetctl ssh example-app@1 uptime
  fleetctl --tunnel 10.0.0.1 ssh --forward-agent --unit example-app@1 docker ps -a`,
		RunE: func(cmd *cobra.Command, args []string) error {
			command, err := remoteCommand(cmd, &o, args)
			if err != nil {
				return err
			}
			return a.ssh(cmd.Context(), o, command)
		},
		ValidArgsFunction: a.completeMachinesAndUnits,
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // flags of COMMAND are its own
	flags.StringVar(&o.machine, "machine", "", "ID of the machine, or a unique prefix of it")
	flags.StringVar(&o.unit, "unit", "", "unit on the machine")
	flags.IntVar(&o.port, "ssh-port", sshPort, "port of ssh on the machine")
	flags.BoolVarP(&o.forwardAgent, "forward-agent", "A", false, "let the machine use the local ssh-agent")
	_ = cmd.RegisterFlagCompletionFunc("machine", a.completeNames(func() shower { return &machineKind }))
	_ = cmd.RegisterFlagCompletionFunc("unit", a.completeNames(func() shower { return &unitKind }))
	return cmd
}

// remoteCommand separates the machine or unit from the command. Flags may follow the machine, as in the original.
func remoteCommand(cmd *cobra.Command, o *sshOptions, args []string) (command []string, err error) {
	if o.machine != "" && o.unit != "" {
		return nil, usage("--machine and --unit exclude each other")
	}
	if o.machine != "" || o.unit != "" {
		return args, nil
	}
	if len(args) == 0 {
		return nil, usage("a machine or a unit is missing")
	}
	name := args[0]
	if err := cmd.Flags().Parse(args[1:]); err != nil {
		return nil, usage("%v", err)
	}
	args = cmd.Flags().Args()
	if o.machine != "" || o.unit != "" {
		return append([]string{name}, args...), nil
	}
	o.machine, o.unit = name, name
	return args, nil
}

func (a *app) ssh(ctx context.Context, o sshOptions, command []string) error {
	address, err := a.sshAddress(ctx, o)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx, ssh.Address(address, o.port))
	if err != nil {
		return err
	}
	defer s.Close()
	if o.forwardAgent {
		if err := s.ForwardAgent(); err != nil {
			return sshFailure(err)
		}
	}
	code, err := s.Run(ctx, strings.Join(command, " "), a.streams())
	if err != nil {
		return sshFailure(err)
	}
	if code != exitOK {
		return errReported{code}
	}
	return nil
}

func sshFailure(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w%w", err, silent{errSSH})
}

// connect connects to host:port, through --tunnel if that is set.
func (a *app) connect(ctx context.Context, address string) (*ssh.Client, error) {
	dial := a.sshConfig().Dial
	if a.tunnelled != nil {
		dial = a.tunnelled.DialSSH
	}
	s, err := dial(ctx, address)
	if err != nil {
		return nil, sshFailure(err)
	}
	return s, nil
}

// streams are those of fleetctl. The remote command gets a terminal if both its input and its output are one.
func (a *app) streams() ssh.Streams {
	s := ssh.Streams{In: a.In, Out: a.Out, Err: a.Err, Term: cmp.Or(a.Getenv("TERM"), "xterm")}
	in, isFile := a.In.(*os.File)
	out, isFileToo := a.Out.(*os.File)
	if isFile && isFileToo && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd())) {
		s.Terminal = in
	}
	return s
}

// sshAddress finds the machine: if both a machine and a unit are given, they are the same name, and one of them exists.
func (a *app) sshAddress(ctx context.Context, o sshOptions) (string, error) {
	machine, noMachine, unit, noUnit := "", error(nil), "", error(nil)
	if o.machine != "" {
		machine, noMachine = a.addressOf(ctx, o.machine)
	}
	if o.unit != "" && (o.machine == "" || noMachine == nil || client.NotFound(noMachine)) {
		unit, noUnit = a.addressOfUnit(ctx, o.unit)
	}
	switch {
	case machine != "" && unit != "":
		return "", usage("%q is the beginning of a machine's ID and a unit: say which with --machine or --unit", o.machine)
	case machine != "":
		return machine, nil
	case unit != "":
		return unit, nil
	case client.NotFound(noMachine) && client.NotFound(noUnit):
		return "", fmt.Errorf("there is neither a machine nor a unit %q", o.machine)
	}
	return "", exitOne(cmp.Or(noUnit, noMachine))
}

// exitOne has a thing that does not exist end with the exit code of the original's ssh, status and journal.
func exitOne(err error) error {
	if client.NotFound(err) {
		return errors.New(err.Error())
	}
	return err
}

func (a *app) addressOf(ctx context.Context, machine string) (string, error) {
	id, err := a.machineNamed(ctx, machine)
	if err != nil {
		return "", err
	}
	c, err := a.client()
	if err != nil {
		return "", err
	}
	m, err := client.Get[v1.Machine](ctx, c, client.Path("machines", id), nil)
	if err == nil && m.Spec.Address == "" {
		err = fmt.Errorf("machine %s has no address: see public_ip of its fleetd", id)
	}
	return m.Spec.Address, err
}

func (a *app) addressOfUnit(ctx context.Context, typed string) (string, error) {
	unit, err := a.remoteUnit(ctx, typed)
	if err != nil {
		return "", err
	}
	name := unit.Metadata.Name
	if isGlobal(unit) {
		return "", fmt.Errorf("unit %s is global and runs on several machines: use --machine", name)
	}
	on, err := machineOf(unit)
	if err != nil {
		return "", err
	}
	return on.Address, nil
}

// remoteUnit reads a unit with what its file says.
func (a *app) remoteUnit(ctx context.Context, typed string) (v1.Unit, error) {
	c, err := a.client()
	if err != nil {
		return v1.Unit{}, err
	}
	return client.Get[v1.Unit](ctx, c, client.Path("units", unitOf(typed)), url.Values{"file": {"true"}})
}

// machineOf is where a unit is placed or, if it is nowhere, where it still is.
func machineOf(unit v1.Unit) (on v1.UnitOnMachine, err error) {
	for _, m := range unit.Status.Machines {
		if on.Machine == "" || on.Placement == nil && m.Placement != nil {
			on = m
		}
	}
	switch {
	case on.Machine == "" && unit.Status.Unplaced != nil:
		return on, fmt.Errorf("unit %s is not on any machine: %s", unit.Metadata.Name, unit.Status.Unplaced.Message)
	case on.Machine == "":
		return on, fmt.Errorf("unit %s is not on any machine: start or load it first", unit.Metadata.Name)
	case on.Address == "":
		return on, fmt.Errorf("unit %s is on machine %s, which is away", unit.Metadata.Name, on.Machine)
	}
	return on, nil
}

// completeMachinesAndUnits completes the first argument.
func (a *app) completeMachinesAndUnits(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names := a.candidates(cmd.Context(), &machineKind, nil, typed)
	return append(names, a.candidates(cmd.Context(), &unitKind, nil, typed)...), cobra.ShellCompDirectiveNoFileComp
}
