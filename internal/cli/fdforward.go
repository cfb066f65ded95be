package cli

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"
)

func (a *app) fdForwardCommand() *cobra.Command {
	return &cobra.Command{
		Use: "fd-forward SOCKET", Short: "Connect standard input and output to a unix socket",
		Long: `Copies standard input to a unix socket and what the socket answers to standard output. fleetctl --tunnel runs it on the
far machine to reach the fleetd there; people have no need of it.`,
		Example: "  fleetctl fd-forward /run/fleet.sock",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("expected one path of a socket, got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.fdForward(cmd.Context(), args[0]) },
	}
}

// fdForward ends when the socket does. The end of standard input only ends what is sent: the answer may still be to come.
func (a *app) fdForward(ctx context.Context, path string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("fd-forward: %w: check that fleetd runs here, and that this user may use its socket (group fleet)", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	go func() { // blocked in Read, it ends with the process
		_, _ = io.Copy(conn, a.In) // the socket's end says what matters
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	_, err = io.Copy(a.Out, conn)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
