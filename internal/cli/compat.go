package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
)

// The commands of the original fleetctl keep its exit codes, because scripts depend on them: no arguments are no error, and
// neither are names of units that do not exist where the command would take them away. --strict asks for the exit codes of
// all other commands.

// addStrict adds the flag.
func (a *app) addStrict(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.strict, "strict", false, "fail if no unit is named (exit code 2) or one does not exist (exit code 3)")
}

// addSign adds a flag that the original accepts and ignores.
func addSign(cmd *cobra.Command) {
	cmd.Flags().Bool("sign", false, "ignored")
	_ = cmd.Flags().MarkHidden("sign")
}

// ofUnits makes a command of units out of f: what is the argument that may be missing.
func (a *app) ofUnits(what string, f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("sign") {
			a.note("fleetctl: warning: --sign is ignored, because units are not signed: remove it")
		}
		if len(args) > 0 {
			return a.lenient(f(cmd.Context(), args), exitError)
		}
		if a.strict {
			return usage("%s is missing", what)
		}
		a.note("No units given")
		return nil
	}
}

// lenient replaces the exit code of an error that says that something does not exist, unless --strict is given.
func (a *app) lenient(err error, code int) error {
	if err == nil || a.strict {
		return err
	}
	if !told(err) {
		if !client.NotFound(err) {
			return err
		}
		err = errReported{a.report(err)}
	}
	var reported errReported
	switch errors.As(err, &reported); {
	case reported.code != exitNotFound:
		return err
	case code == exitOK:
		return nil
	}
	return errReported{code}
}

// skipUnknown reports a unit that does not exist; it returns nil unless --strict is given.
func (a *app) skipUnknown(err error) error {
	if a.strict || !client.NotFound(err) {
		return err
	}
	a.report(err)
	return nil
}
