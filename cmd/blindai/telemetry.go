package main

import (
	"errors"
	"fmt"

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
		Long: `telemetry shows what a running server sends and where, what one started here
would, and the exhaustive list of what can be sent; it switches telemetry off, and
erases what was sent. ` + events.DisableVar + `=1, --no-telemetry and a
configuration file (see "blindai serve --help") switch it off too.`,
		Example: "  blindai telemetry status\n  blindai telemetry off",
	}
	var o telemetryOptions
	o.add(cmd.PersistentFlags())
	desk := func(cmd *cobra.Command, do func(telemetry.Command) error) error {
		cfg, faults, err := o.config()
		if err != nil {
			return err
		}
		for _, fault := range faults {
			fmt.Fprintf(cmd.ErrOrStderr(), "blindai: telemetry is off, because %v\n", fault)
		}
		e := events.New()
		e.SetMode(events.Software) // the only mode there is
		return do(telemetry.Command{
			Client: e.Client(), Config: cfg, Contact: telemetryContact, In: cmd.InOrStdin(), Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr(),
			StateDirFlag: "--state-dir or BLINDAI_STATE_DIR", URLFlag: "--telemetry-url",
		})
	}
	cmd.AddCommand(
		newStatusCommand(desk), newPreviewCommand(desk), newPlanCommand(desk), newOnCommand(desk), newOffCommand(desk),
		newTestCommand(desk), newShowCommand(desk), newForgetCommand(desk),
	)
	return cmd
}

// A desk makes the command of package telemetry from the flags and carries out a
// part of it.
type desk func(*cobra.Command, func(telemetry.Command) error) error

func newStatusCommand(desk desk) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what a running server sends, and what one started here would",
		Long: `status asks the servers that run on this state folder: on by which source, where
to, how many events wait, were sent, refused and dropped, and what the last answer
was. Then it says whether a server that is started with the same environment and
flags would send anything, where to, and what decided that; whether the key of the
collector is pinned or has changed; what of a new version nobody has accepted yet;
and which erasures wait. It lists the sessions that are kept here with their
secrets, which let whoever sees them show and erase; "telemetry forget" erases what
they sent.`,
		Example: "  blindai telemetry status --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return desk(cmd, func(c telemetry.Command) error { return c.Status(cmd.Context(), asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for machines")
	return cmd
}

func newPreviewCommand(desk desk) *cobra.Command {
	var sent bool
	cmd := &cobra.Command{
		Use:   "preview",
		Short: "Print the next request as it would be sent, headers and body",
		Long: `preview prints the next request byte for byte, made by the code that sends it: what
a running server has not sent yet, or what an ended one has left. Where nothing
waits it prints a request with made-up values, of a running server without its API
key. Through a proxy the first line and the headers are as that proxy gets them, but
for its user name and password; where the destination is https, a proxy is told the
destination's host and port, and nothing else.

With --sent it prints the last requests of a running server as they were sent: ten
at most, and 1 MiB in all. A line that begins with # marks one that got no answer.`,
		Example: "  blindai telemetry preview\n  blindai telemetry preview --sent",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return desk(cmd, func(c telemetry.Command) error {
				if sent {
					return c.Sent(cmd.Context())
				}
				return c.Preview(cmd.Context())
			})
		},
	}
	cmd.Flags().BoolVar(&sent, "sent", false, "print what a running server has sent last")
	return cmd
}

// errDiffer ends a command with exit code 1 and no further word, as diff does.
type errDiffer struct{}

func (errDiffer) Error() string { return "" }

func newPlanCommand(desk desk) *cobra.Command {
	var asJSON bool
	var old string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print the exhaustive list of what can be sent",
		Long: `plan prints the exhaustive list of what can be sent. With --diff it prints how the
list differs from an older one in a file (written by "plan --json", or the accepted
one in the state folder), and ends with 1 if it does.`,
		Example: "  blindai telemetry plan --json\n  blindai telemetry plan --diff old.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return desk(cmd, func(c telemetry.Command) error {
				if !cmd.Flags().Changed("diff") {
					return c.Plan(asJSON)
				}
				differs, err := c.PlanDiff(old, asJSON)
				if err == nil && differs {
					return errDiffer{}
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for machines")
	cmd.Flags().StringVar(&old, "diff", "", "print what has changed since the plan in this `file`")
	return cmd
}

func newOnCommand(desk desk) *cobra.Command {
	return &cobra.Command{
		Use:   "on",
		Short: "Choose on, and accept the plan, from the next start of the server",
		Long: `on keeps the choice in the state folder, in place of an earlier "off". Any other
source that says off still wins; the command says so.

It also accepts the plan of this version. What a new version can send beyond the
accepted plan stays off until then; the first start on an empty folder accepts the
plan of its version.`,
		Example: "  blindai telemetry on",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return desk(cmd, telemetry.Command.On) },
	}
}

func newOffCommand(desk desk) *cobra.Command {
	return &cobra.Command{
		Use:   "off",
		Short: "Choose off, also for a server that is running",
		Long: `off keeps the choice in the state folder. A running server stops sending at once,
at the latest within two seconds, and deletes what waits. The secrets that erase what
was sent are kept. It says how many servers it has reached: one that runs on another
state folder goes on.`,
		Example: "  blindai telemetry off --state-dir /var/lib/blindai",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return desk(cmd, func(c telemetry.Command) error { return c.Off(cmd.Context()) })
		},
	}
}

func newTestCommand(desk desk) *cobra.Command {
	return &cobra.Command{
		Use:     "test",
		Short:   "See whether the destination can be reached, without sending an event",
		Example: "  blindai telemetry test --telemetry-url https://collector.example --telemetry-api-key KEY",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return desk(cmd, func(c telemetry.Command) error { return c.Test(cmd.Context()) })
		},
	}
}

func newShowCommand(desk desk) *cobra.Command {
	var all, remote bool
	cmd := &cobra.Command{
		Use:   "show --remote [SECRET | -]",
		Short: "Print what the collector has of a session",
		Long: `show asks the collector for all that it has of a session, and prints it as JSON:
every stored field of every event, and who else may have got them. Without an
argument it is the session that runs here, or else the last one that is kept, with
--all every one, a line for each. With SECRET it is the session that the secret
belongs to; with - the secret is read from standard input, since an argument can be
seen by others on the machine and stays in the shell's history. Where a session went
to more than one collector each is asked. It works also where telemetry is switched
off.`,
		Example: "  blindai telemetry show --remote\n  blindai telemetry show --remote - <secret.txt",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := secretOf(args, "shown")
			if err != nil {
				return err
			}
			if !remote {
				return errors.New("show asks the collector, so say --remote; what is here is shown by \"blindai telemetry status\" and \"preview\"")
			}
			return desk(cmd, func(c telemetry.Command) error { return c.Show(cmd.Context(), secret, all) })
		},
	}
	cmd.Flags().BoolVar(&remote, "remote", false, "ask the collector")
	cmd.Flags().BoolVar(&all, "all", false, "show every session that is kept here")
	return cmd
}

// secretOf returns the secret among the arguments, or "" if there is none.
func secretOf(args []string, what string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	if args[0] == "" {
		return "", errors.New("the secret is empty; it is 64 hex digits, and without one the session that runs here or was the last one is " + what)
	}
	return args[0], nil
}

func newForgetCommand(desk desk) *cobra.Command {
	var all, asJSON bool
	var file, key string
	cmd := &cobra.Command{
		Use:   "forget [SECRET | -]",
		Short: "Erase what was sent",
		Long: `forget asks the collector to erase everything that a session has sent, says what
was erased, and prints the collector's signed receipt, which is kept in the state
folder. Without an argument it erases the session that runs here, or else the last
one that is kept, with --all every one, each in a request of its own so that they
are not linked. With SECRET it erases the session that the secret belongs to, at the
destination of --telemetry-url; with - the secret is read from standard input, since
an argument can be seen by others on the machine and stays in the shell's history.
Where a session went to more than one collector, because the destination was changed
while events waited, each is asked, and the secret is kept until all have erased. A
session that is running ends, and the server takes a new one. It works also where
telemetry is switched off.

Where the collector cannot be had the request is kept: "status" shows it, a running
server tries it again, and so does the next forget.

With --verify it checks a receipt and asks nobody: that it was signed by a collector
whose key is pinned in the state folder, and not changed since; with SECRET also
that it is about that session. Whoever was given the receipt and has no such folder
gives the collector's key, which the collector shows at /v1/key, with --key.`,
		Example: `  blindai telemetry forget --all
  blindai telemetry forget - <secret.txt
  blindai telemetry forget --verify receipt.json
  blindai telemetry forget --verify receipt.json --key KEY`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := secretOf(args, "erased")
			if err != nil {
				return err
			}
			verify := cmd.Flags().Changed("verify")
			if verify && all {
				return errors.New("--verify checks one receipt; leave --all out")
			}
			if cmd.Flags().Changed("key") && (!verify || key == "") {
				return errors.New("--key goes with --verify, and takes a collector's key")
			}
			return desk(cmd, func(c telemetry.Command) error {
				if verify {
					return c.Verify(file, key, secret, asJSON)
				}
				return c.Forget(cmd.Context(), secret, all, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "erase every session that is kept here")
	cmd.Flags().StringVar(&file, "verify", "", "check the receipt in this `file`")
	cmd.Flags().StringVar(&key, "key", "", "with --verify: the collector's `key`, in place of the pinned ones")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for machines: the receipts only, one a line")
	return cmd
}
