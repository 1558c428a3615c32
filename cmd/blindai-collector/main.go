// Command blindai-collector keeps the telemetry of BlindAI, or of any program
// whose plan it is given, and shows it.
//
// What people read goes to standard output, what happens to standard error as a
// log. Errors are one sentence: what, and what to do. The exit code is 0, or 1
// after an error.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by releases with -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

func main() { os.Exit(run()) }

func run() int {
	syscall.Umask(0o077) // DuckDB makes its files itself; they are for their owner only
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		for line := range strings.Lines(err.Error()) { // more than one where errors were joined
			fmt.Fprintln(os.Stderr, "blindai-collector: "+strings.TrimSuffix(line, "\n"))
		}
		return 1
	}
	return 0
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "blindai-collector",
		Short: "Collect telemetry that cannot say more than its plan",
		Long: `blindai-collector takes in events over Amplitude's API, holds each against its
app's published plan, keeps them in one folder, and shows them in a console.`,
		Example:       "  blindai-collector serve --data /var/lib/blindai-collector",
		Version:       version,
		SilenceUsage:  true, // an error is one sentence
		SilenceErrors: true,
	}
	root.AddCommand(newServeCommand(), newAppCommand())
	explainMisuse(root)
	return root
}

// explainMisuse makes cmd and all below it say what to do about flags, arguments
// and commands that are not theirs. Left to itself, cobra answers an unknown
// command below the first level with the help and success, so that a mistyped
// order would look like one that was carried out.
func explainMisuse(cmd *cobra.Command) {
	see := func(cmd *cobra.Command, err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%w; see \"%s --help\"", err, cmd.CommandPath())
	}
	cmd.SetFlagErrorFunc(see)
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return see(cmd, err)
			}
			return see(cmd, cmd.ValidateRequiredFlags())
		}
	}
	if !cmd.Runnable() {
		cmd.DisableFlagsInUseLine = true
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 {
				return cmd.Help()
			}
			return see(cmd, fmt.Errorf("unknown command %q", given[0]))
		}
	}
	for _, sub := range cmd.Commands() {
		explainMisuse(sub)
	}
}
