// Command fleet-lab runs a cluster of real machines on this computer.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	if err == nil {
		return
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	}
	fmt.Fprintln(os.Stderr, "fleet-lab:", err)
	os.Exit(1)
}

var dir string

func newRoot() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet-lab",
		Short: "Run a cluster of real machines on this computer",
		Long: `Run a cluster of real machines on this computer: systemd-nspawn containers with a clean Debian, each with systemd
as PID 1, its own disk, address, journal and docker daemon. The first three are members of an etcd cluster. It needs root.`,
		Example: `  fleet-lab up bin/packages/*.deb
  fleet-lab exec m1 fleetctl list-machines
  fleet-lab kill m2              # cut its power
  fleet-lab boot m2              # and give it back
  fleet-lab partition m3         # m3 and the others do not reach each other any more
  fleet-lab heal
  fleet-lab down`,
		SilenceUsage: true, SilenceErrors: true,
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", lab.DefaultDir, "directory that keeps the machines")
	cmd.AddCommand(upCommand(), downCommand(), statusCommand(), execCommand(), shellCommand(), logsCommand(),
		machines("kill", "Cut the power of machines", (*lab.Machine).Kill),
		machines("boot", "Give machines their power back", (*lab.Machine).Boot),
		machines("reboot", "Reboot machines in order", (*lab.Machine).Reboot),
		machines("stop", "Switch machines off in order", (*lab.Machine).Stop),
		machines("fill", "Fill the disks of machines", (*lab.Machine).Fill),
		machines("free", "Free what fill took", (*lab.Machine).Free),
		partitionCommand(), cutCommand(), slowCommand(), healCommand())
	return cmd
}

func upCommand() *cobra.Command {
	var cfg lab.Config
	cmd := &cobra.Command{Use: "up [PACKAGE...]", Short: "Start a lab, install Debian packages on its machines, and return when they have joined the cluster",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.Dir, cfg.Packages = dir, args
			start := time.Now()
			cfg.Progress = func(step string) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%5.1f s  %s\n", time.Since(start).Seconds(), step)
			}
			l, err := lab.Start(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			cfg.Progress("ready")
			return show(cmd, l)
		}}
	cmd.Flags().IntVar(&cfg.Machines, "machines", 3, "number of machines")
	return cmd
}

func downCommand() *cobra.Command {
	return &cobra.Command{Use: "down", Short: "Stop the lab and remove all of it", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		l, err := lab.Open(dir)
		if errors.Is(err, lab.ErrDown) {
			return nil
		}
		if err != nil {
			return err
		}
		return l.Stop(cmd.Context())
	}}
}

func statusCommand() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "List the machines", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		l, err := lab.Open(dir)
		if err != nil {
			return err
		}
		return show(cmd, l)
	}}
}

func show(cmd *cobra.Command, l *lab.Lab) error {
	for _, m := range l.Machines {
		power := "up"
		if !m.Up() {
			power = "down"
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%s\t%s\n", m.Name, m.Address, m.ID, power); err != nil {
			return err
		}
	}
	return nil
}

// on is a command for one machine.
func on(use, short string, do func(*cobra.Command, *lab.Machine, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		l, err := lab.Open(dir)
		if err != nil {
			return err
		}
		m, err := l.Machine(args[0])
		if err != nil {
			return err
		}
		return do(cmd, m, args[1:])
	}}
}

func execCommand() *cobra.Command {
	cmd := on("exec MACHINE COMMAND...", "Run a command on a machine, as root", func(cmd *cobra.Command, m *lab.Machine, args []string) error {
		if len(args) == 0 {
			return errors.New("the command is missing, such as fleet-lab exec m1 fleetctl list-machines")
		}
		return attach(cmd, m, args...)
	})
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func shellCommand() *cobra.Command {
	return on("shell MACHINE", "Open a shell on a machine", func(cmd *cobra.Command, m *lab.Machine, _ []string) error {
		return attach(cmd, m, "bash", "-i")
	})
}

func logsCommand() *cobra.Command {
	follow := false
	cmd := on("logs MACHINE [UNIT]", "Show the journal of a machine", func(cmd *cobra.Command, m *lab.Machine, args []string) error {
		journalctl := []string{"journalctl", "--no-pager"}
		if follow {
			journalctl = append(journalctl, "--follow")
		}
		for _, unit := range args {
			journalctl = append(journalctl, "--unit", unit)
		}
		return attach(cmd, m, journalctl...)
	})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines")
	return cmd
}

// attach runs a command on a machine with this terminal.
func attach(cmd *cobra.Command, m *lab.Machine, args ...string) error {
	if !m.Up() {
		return fmt.Errorf("%s is down: fleet-lab boot %s", m.Name, m.Name)
	}
	c := m.Command(cmd.Context(), args...)
	c.Stdin, c.Stdout, c.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	return c.Run()
}

// machines is a command that does something to machines.
func machines(name, short string, do func(*lab.Machine, context.Context) error) *cobra.Command {
	return &cobra.Command{Use: name + " MACHINE...", Short: short, Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return withMachines(args, func(_ *lab.Lab, list []*lab.Machine) error {
			for _, m := range list {
				if err := do(m, cmd.Context()); err != nil {
					return fmt.Errorf("%s %s: %w", name, m.Name, err)
				}
			}
			return nil
		})
	}}
}

func withMachines(names []string, do func(*lab.Lab, []*lab.Machine) error) error {
	l, err := lab.Open(dir)
	if err != nil {
		return err
	}
	var list []*lab.Machine
	for _, name := range names {
		m, err := l.Machine(name)
		if err != nil {
			return err
		}
		list = append(list, m)
	}
	return do(l, list)
}

func partitionCommand() *cobra.Command {
	return &cobra.Command{Use: "partition MACHINE...", Short: "Cut a group of machines off from the others, both ways", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachines(args, func(l *lab.Lab, list []*lab.Machine) error {
				var names []string
				for _, m := range list {
					names = append(names, m.Name)
				}
				return l.Partition(cmd.Context(), names...)
			})
		}}
}

func cutCommand() *cobra.Command {
	return &cobra.Command{Use: "cut FROM TO", Short: "Drop what machines send to others, in this direction alone",
		Long: `Drop what machines send to others, in this direction alone. FROM and TO are names separated by commas; "host" is this computer.`,
		Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(dir)
			if err != nil {
				return err
			}
			return l.Cut(cmd.Context(), strings.Split(args[0], ","), strings.Split(args[1], ","))
		}}
}

func slowCommand() *cobra.Command {
	return &cobra.Command{Use: "slow MACHINE RATE", Short: "Limit what a machine sends and gets to a rate, such as 1mbit", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMachines(args[:1], func(l *lab.Lab, list []*lab.Machine) error { return l.Slow(cmd.Context(), list[0], args[1]) })
		}}
}

func healCommand() *cobra.Command {
	return &cobra.Command{Use: "heal", Short: "Take back all that partition, cut and slow did", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		l, err := lab.Open(dir)
		if err != nil {
			return err
		}
		return l.Heal(cmd.Context())
	}}
}
