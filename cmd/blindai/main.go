// Command blindai serves ONNX models, and is a client of such a server.
//
// What people asked for goes to standard output, what happens to standard error.
// Errors are one sentence: what, and what to do. The exit code is 0, or 1 after
// an error.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/internal/cli"
)

// version is set by releases with -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

func main() { os.Exit(run()) }

func run() int { return cli.Run(newRootCommand(), os.Stderr) }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "blindai",
		Short: "Serve ONNX models, and use such a server",
		Long: `blindai serve runs a model server. The other commands are for data scientists
(upload, run, delete) and for operators (telemetry).`,
		Example: `  blindai serve
  blindai upload model.onnx`,
		Version:       version,
		SilenceUsage:  true, // an error is one sentence
		SilenceErrors: true,
	}
	root.AddCommand(
		newServeCommand(), newUploadCommand(), newRunCommand(), newDeleteCommand(), newTelemetryCommand(),
	)
	cli.ExplainMisuse(root)
	return root
}
