// Package cli is what the two programs' command lines have in common: how a
// command ends, and what is said about a mistyped one. It knows no command.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Run carries out the command of the arguments until it ends, or until SIGINT or
// SIGTERM ends its context, and returns the exit code: 0, or 1 after an error. A
// second signal ends the process at once: a command that hangs must not need SIGKILL.
// An error is one sentence on log, after the program's name; joined errors are
// one line each.
func Run(root *cobra.Command, log io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first := make(chan os.Signal, 1)
	signal.Notify(first, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(first)
	go func() {
		select {
		case <-first:
			signal.Stop(first) // before the command is told, so that the next one is not lost
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := root.ExecuteContext(ctx); err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(log, root.Name()+": "+strings.TrimSuffix(line, "\n"))
		}
		return 1
	}
	return 0
}

// ExplainMisuse makes cmd and all below it say what to do about flags, arguments
// and commands that are not theirs. Left to itself, cobra answers an unknown
// command below the first level with the help and success, so that a mistyped
// order to erase would look like one that was carried out.
func ExplainMisuse(cmd *cobra.Command) {
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
		ExplainMisuse(sub)
	}
}

// see adds to an error where the help is.
func see(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; see \"%s --help\"", err, cmd.CommandPath())
}
