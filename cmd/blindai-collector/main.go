// Command blindai-collector keeps the telemetry of BlindAI, or of any program
// whose plan it is given, and shows it.
//
// What people read goes to standard output, what happens to standard error as a
// log. Errors are one sentence: what, and what to do. The exit code is 0, or 1
// after an error.
package main

import (
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/internal/cli"
)

// version is set by releases with -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

func main() { os.Exit(run()) }

func run() int {
	syscall.Umask(0o077) // DuckDB makes its files itself; they are for their owner only
	return cli.Run(newRootCommand(), os.Stderr)
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
	cli.ExplainMisuse(root)
	return root
}
