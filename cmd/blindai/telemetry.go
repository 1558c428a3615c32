package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/telemetry"
)

// newTelemetryCommand mounts the command that comes with package telemetry, each
// of its parts as a command of cobra's so that help and flags are as everywhere
// else in blindai.
func newTelemetryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "telemetry",
		Short: "See what is sent, switch it off, and erase it",
		Long: `telemetry shows what a server started here would send and where, and the
exhaustive list of what can be sent; it switches telemetry off, and erases what was
sent. ` + events.DisableVar + `=1 and --no-telemetry switch it off too.`,
		Example: "  blindai telemetry status\n  blindai telemetry off",
	}
	var o telemetryOptions
	o.add(cmd.PersistentFlags())
	desk := func(cmd *cobra.Command) telemetry.Command {
		e := events.New()
		e.SetMode(events.Software) // the only mode there is
		return telemetry.Command{
			Client: e.Client(), Config: o.config(), Contact: telemetryContact, Out: cmd.OutOrStdout(),
		}
	}
	cmd.AddCommand(
		newStatusCommand(desk), newPreviewCommand(desk), newPlanCommand(desk), newOnCommand(desk), newOffCommand(desk),
		newTestCommand(desk), newForgetCommand(desk),
	)
	return cmd
}

type desk func(*cobra.Command) telemetry.Command

func newStatusCommand(desk desk) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether a server started here would send anything, and list past sessions",
		Long: `status says whether a server that is started with the same environment and flags
would send anything, where to, and what decided that. It lists the sessions whose
secrets are kept here; "telemetry forget" erases what they sent.`,
		Example: "  blindai telemetry status --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return desk(cmd).Status(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for machines")
	return cmd
}

func newPreviewCommand(desk desk) *cobra.Command {
	return &cobra.Command{
		Use:   "preview",
		Short: "Print the next request as it would be sent, headers and body",
		Long: `preview prints the next request byte for byte, made by the code that sends it: what
an ended server has left, or what a running one has not sent yet. Where nothing
waits it prints a request with made-up values.`,
		Example: "  blindai telemetry preview",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return desk(cmd).Preview() },
	}
}

func newPlanCommand(desk desk) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "plan",
		Short:   "Print the exhaustive list of what can be sent",
		Example: "  blindai telemetry plan --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return desk(cmd).Plan(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for machines")
	return cmd
}

func newOnCommand(desk desk) *cobra.Command {
	return &cobra.Command{
		Use:   "on",
		Short: "Choose on, from the next start of the server",
		Long: `on keeps the choice in the state folder, in place of an earlier "off". Any other
source that says off still wins; the command says so.`,
		Example: "  blindai telemetry on",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return desk(cmd).On() },
	}
}

func newOffCommand(desk desk) *cobra.Command {
	return &cobra.Command{
		Use:   "off",
		Short: "Choose off, also for a server that is running",
		Long: `off keeps the choice in the state folder. A running server stops sending within two
seconds and deletes what waits. The secrets that erase what was sent are kept.`,
		Example: "  blindai telemetry off --state-dir /var/lib/blindai",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return desk(cmd).Off() },
	}
}

func newTestCommand(desk desk) *cobra.Command {
	return &cobra.Command{
		Use:     "test",
		Short:   "See whether the destination can be reached, without sending an event",
		Example: "  blindai telemetry test --telemetry-url https://collector.example --telemetry-api-key KEY",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return desk(cmd).Test(cmd.Context()) },
	}
}

func newForgetCommand(desk desk) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "forget [SECRET]",
		Short: "Erase what was sent",
		Long: `forget asks the collector to erase everything that a session has sent, and prints
the collector's receipt. Without an argument it erases the last session that is
kept here, with --all every one, each in a request of its own so that they are not
linked. With SECRET it erases the session that the secret belongs to, at the
destination of --telemetry-url. It works also where telemetry is switched off.`,
		Example: "  blindai telemetry forget --all",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret := ""
			if len(args) == 1 {
				if secret = args[0]; secret == "" {
					return errors.New("the secret is empty; it is 64 hex digits, and without one the last session that is kept here is erased")
				}
			}
			return desk(cmd).Forget(cmd.Context(), secret, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "erase every session that is kept here")
	return cmd
}
