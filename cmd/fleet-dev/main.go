// Command fleet-dev runs a whole fleet on one computer, for trying things out. It is a separate program because it contains
// an etcd server, which fleetd, running as root on every machine, should not.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/internal/version"
)

func main() {
	if err := newRoot().ExecuteContext(context.Background()); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(os.Stderr, "fleet-dev:", line)
		}
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	var cfg dev.Config
	var dir string
	absolute := func(*cobra.Command, []string) (err error) {
		if cfg.Dir, err = filepath.Abs(dir); err != nil {
			return err
		}
		self, err := os.Executable()
		cfg.BinDir = filepath.Dir(self)
		return err
	}
	detached := false
	cmd := &cobra.Command{
		Use:   "fleet-dev",
		Short: "Run a whole fleet on this computer",
		Long: `Run a whole fleet on this computer: an etcd, and machines that are each a real
"systemd --user" with an ordinary fleetd in it, at 127.0.0.11, .12, .13.

It runs until it is interrupted or told to go down, and leaves nothing behind but the directory
with its data. ". .dev/env" points fleetctl and etcdctl at it.`,
		Example: `  fleet-dev --machines 5        # in the foreground
  fleet-dev --detach            # in the background, when every machine is up
  fleet-dev kill-machine 2      # cut the power of one machine
  fleet-dev start-machine 2     # and give it back
  fleet-dev exec 1 systemctl --user status example-app@1
  fleet-dev down`,
		Version:           version.String(),
		Args:              cobra.NoArgs,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: absolute,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if detached {
				return detach(cmd, cfg)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return dev.Run(ctx, cfg, func(info dev.Info) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%d machines are up, etcd at %s\n", info.Machines, info.EtcdEndpoint)
				dev.NotifyParent()
			})
		},
	}
	cmd.SetVersionTemplate("fleet-dev version {{.Version}}\n")
	cmd.PersistentFlags().StringVar(&dir, "dir", ".dev", "directory for the cluster's data")
	cmd.Flags().IntVar(&cfg.Machines, "machines", dev.DefaultMachines, "number of machines")
	cmd.Flags().DurationVar(&cfg.AgentTTL, "agent-ttl", dev.DefaultAgentTTL, "how long a machine may be silent before its units move")
	cmd.Flags().IntVar(&cfg.EtcdPort, "etcd-port", 0, "etcd's port on 127.0.0.1 (default 2379 if it is free)")
	cmd.Flags().StringSliceVar(&cfg.EtcdServers, "etcd-servers", nil, "endpoints of an existing etcd (default: the cluster runs its own)")
	cmd.Flags().BoolVar(&cfg.Cables, "cables", false, "give each machine its own network, at 10.213.0.11, .12, .13, with a cable that can be cut (needs root)")
	cmd.Flags().IntVarP(&cfg.Verbosity, "verbosity", "v", 0, "verbosity of every fleetd's log")
	cmd.Flags().BoolVar(&detached, "detach", false, "return when the cluster is up and leave it running")
	cmd.AddCommand(
		etcdCommand("stop-etcd", "Stop etcd", "etcd/stop", &cfg),
		etcdCommand("start-etcd", "Start etcd again with its data", "etcd/start", &cfg),
		machineCommand("kill-machine", "Cut one machine's power", "kill", &cfg),
		machineCommand("start-machine", "Restore one machine's power", "start", &cfg),
		machineCommand("cut-machine", "Cut one machine's cable: all its packets are lost (needs --cables)", "cut", &cfg),
		machineCommand("mend-machine", "Mend one machine's cable", "mend", &cfg),
		statusCommand(&cfg), downCommand(&cfg), execCommand(&cfg), logsCommand(&cfg),
	)
	return cmd
}

func detach(cmd *cobra.Command, cfg dev.Config) error {
	if client, err := dev.Connect(cfg.Dir); err == nil {
		status, err := client.Status()
		if err == nil && cmd.Flags().Changed("machines") && status.Machines != cfg.Machines {
			return fmt.Errorf("the local cluster is up with %d machines: run \"fleet-dev down\" first", status.Machines)
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "the local cluster is already up")
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return dev.Detach(cfg.Dir, []string{self, "--dir", cfg.Dir, "--machines", strconv.Itoa(cfg.Machines),
		"--agent-ttl", cfg.AgentTTL.String(), "--etcd-port", strconv.Itoa(cfg.EtcdPort), "--verbosity", strconv.Itoa(cfg.Verbosity),
		"--etcd-servers", strings.Join(cfg.EtcdServers, ","), "--cables=" + strconv.FormatBool(cfg.Cables)})
}

func etcdCommand(name, short, change string, cfg *dev.Config) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		return do(cfg, change)
	}}
}

func machineCommand(name, short, change string, cfg *dev.Config) *cobra.Command {
	return &cobra.Command{Use: name + " N", Short: short, Args: cobra.MaximumNArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("machine number missing: run, for example, %s 2", name)
		}
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return fmt.Errorf("%q is not a machine number", args[0])
		}
		return do(cfg, fmt.Sprintf("machines/%d/%s", n, change))
	}}
}

func do(cfg *dev.Config, change string) error {
	client, err := dev.Connect(cfg.Dir)
	if err != nil {
		return err
	}
	return client.Do(change)
}

func statusCommand(cfg *dev.Config) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show what is up, and where", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		client, err := dev.Connect(cfg.Dir)
		if err != nil {
			return err
		}
		status, err := client.Status()
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		fmt.Fprintf(out, "etcd\t%s\t%s\n", status.EtcdEndpoint, upOrDown(status.EtcdUp))
		for _, m := range status.Machine {
			fmt.Fprintf(out, "machine %d\t%s\t%s\n", m.Number, m.Address, upOrDown(m.Up))
		}
		return nil
	}}
}

func upOrDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func downCommand(cfg *dev.Config) *cobra.Command {
	return &cobra.Command{Use: "down", Short: "Take the cluster down", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		client, err := dev.Connect(cfg.Dir)
		if errors.Is(err, dev.ErrNotRunning) {
			fmt.Fprintln(cmd.ErrOrStderr(), "no local cluster is running")
			return dev.Sweep(cfg.Dir)
		} else if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
		defer cancel()
		return client.Down(ctx)
	}}
}

func execCommand(cfg *dev.Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec N COMMAND...",
		Short: "Run systemctl --user or journalctl against one machine's systemd",
		Example: `  fleet-dev exec 1 systemctl --user status example-app@1
  fleet-dev exec 2 systemctl --user cat router`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil {
				return fmt.Errorf("%q is not a machine number", args[0])
			}
			return runToItsEnd(cfg, func(c *dev.Client) (*exec.Cmd, error) { return c.Exec(n, args[1:]) })
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func logsCommand(cfg *dev.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "logs [JOURNALCTL-OPTION...]",
		Short: "Show every fleetd's log, merged; -f follows",
		Example: `  fleet-dev logs -f
  fleet-dev logs -n 100 --since -5min --dir /tmp/other`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
				return cmd.Help()
			}
			dir, args := takeDir(args)
			if dir != "" {
				cfg.Dir = dir
			}
			return runToItsEnd(cfg, func(c *dev.Client) (*exec.Cmd, error) { return c.Logs(args) })
		},
	}
}

// takeDir extracts --dir; the other arguments are for journalctl.
func takeDir(args []string) (dir string, rest []string) {
	for i := 0; i < len(args); i++ {
		if value, ok := strings.CutPrefix(args[i], "--dir="); ok {
			dir = value
		} else if args[i] == "--dir" && i+1 < len(args) {
			i++
			dir = args[i]
		} else {
			rest = append(rest, args[i])
		}
	}
	return dir, rest
}

// runToItsEnd runs the command and exits like it.
func runToItsEnd(cfg *dev.Config, command func(*dev.Client) (*exec.Cmd, error)) error {
	client, err := dev.Connect(cfg.Dir)
	if err != nil {
		return err
	}
	cmd, err := command(client)
	if err != nil {
		return err
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	return err
}
