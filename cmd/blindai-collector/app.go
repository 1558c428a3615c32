package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/collector"
	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/internal/cli"
	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store/duckdb"
)

// errBuiltIn: another plan would not fit the built-in one at the next start.
var errBuiltIn = errors.New("app " + events.App + " has the plan that is built into this program, and no other; choose another name")

// appOptions are what all app commands have.
type appOptions struct {
	data string
	json bool
}

func newAppCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "app",
		Short: "Add, list, change and remove the apps whose events are collected",
		Long: `An app is one program whose events are collected, with a plan that says what
they may be, an API key to upload with, and a secret key to read and erase with.

These commands work while the collector runs on the folder, and count at once;
and they work on the folder itself when none runs.`,
		Example: "  blindai-collector app add coffee --plan coffee.json",
	}
	o := new(appOptions)
	cmd.PersistentFlags().StringVar(&o.data, "data", "blindai-collector-data", "folder that keeps everything")
	cmd.PersistentFlags().BoolVar(&o.json, "json", false, "print JSON for machines")
	cmd.AddCommand(newAppAddCommand(o), newAppListCommand(o), newAppUpdateCommand(o), newAppRotateCommand(o), newAppRemoveCommand(o), newAppPublishCommand(o), newAppRecordCommand(o))
	return cmd
}

func newAppAddCommand(o *appOptions) *cobra.Command {
	var planFile string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add an app by its plan, and print its keys",
		Long: `add takes a plan in JSON, makes an API key and a secret key for the app, and
prints them. The secret key is shown only this once.`,
		Example: "  blindai-collector app add coffee --plan coffee.json --data /var/lib/blindai-collector",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := cli.ReadFile(planFile)
			if err != nil {
				return err
			}
			p, err := collector.ParsePlan(b)
			if err != nil {
				return err
			}
			if args[0] == events.App && !bytes.Equal(p.JSON(), events.Plan().JSON()) {
				return errBuiltIn
			}
			return o.do(cmd, func(apps collector.Apps) error {
				keys, err := apps.Add(cmd.Context(), args[0], p)
				if err != nil {
					return err
				}
				return o.printKeys(cmd.OutOrStdout(), keys)
			})
		},
	}
	requirePlan(cmd, &planFile)
	return cmd
}

func newAppListCommand(o *appOptions) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the apps with their API keys",
		Example: "  blindai-collector app list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.do(cmd, func(apps collector.Apps) error {
				all, err := apps.List(cmd.Context())
				if err != nil {
					return err
				}
				if o.json {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "APP\tPLAN\tAPI KEY")
				for _, a := range all {
					fmt.Fprintf(w, "%s\tversion %d\t%s\n", a.Name, a.Plan, a.APIKey)
				}
				return w.Flush()
			})
		},
	}
}

func newAppUpdateCommand(o *appOptions) *cobra.Command {
	var planFile string
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Give an app a new version of its plan",
		Long: `update takes a new version of an app's plan in JSON. It may only add: events,
fields, and values at the end of an enum. What is stored stays as it is.`,
		Example: "  blindai-collector app update coffee --plan coffee.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := cli.ReadFile(planFile)
			if err != nil {
				return err
			}
			p, err := collector.ParsePlan(b)
			if err != nil {
				return err
			}
			if args[0] == events.App {
				return errBuiltIn
			}
			return o.do(cmd, func(apps collector.Apps) error {
				a, err := apps.Update(cmd.Context(), args[0], p)
				if err != nil {
					return err
				}
				return o.print(cmd.OutOrStdout(), a, fmt.Sprintf("App %s has version %d of its plan.", a.Name, a.Plan))
			})
		},
	}
	requirePlan(cmd, &planFile)
	return cmd
}

func newAppRotateCommand(o *appOptions) *cobra.Command {
	var api, secret bool
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give an app new keys, and print them",
		Long: `rotate makes a new API key and a new secret key, or the one that is asked for,
and prints what is new. The old ones stop working at once: programs that upload
with the old API key are refused. Amplitude's SDKs give up what was refused; programs
with our library keep it for a week, and send it when they are started with the new
key.

Keys of app "` + events.App + `" that come from ` + apiKeyVar + ` and
` + secretKeyVar + ` are set again at the next start.`,
		Example: `  blindai-collector app rotate coffee
  blindai-collector app rotate coffee --secret-key`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !api && !secret {
				api, secret = true, true
			}
			return o.do(cmd, func(apps collector.Apps) error {
				keys, err := apps.Rotate(cmd.Context(), args[0], api, secret)
				if err != nil {
					return err
				}
				return o.printKeys(cmd.OutOrStdout(), keys)
			})
		},
	}
	cmd.Flags().BoolVar(&api, "api-key", false, "a new API key; the secret key stays")
	cmd.Flags().BoolVar(&secret, "secret-key", false, "a new secret key; the API key stays")
	return cmd
}

func newAppRemoveCommand(o *appOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an app; what it has sent stays",
		Long: `remove takes an app out: nothing is taken in for it, and its keys stop working.

What it has sent stays in the store. Senders can still have theirs erased, and
adding an app of the same name with a plan that fits shows it again. App
"` + events.App + `" comes back at the next start.`,
		Example: "  blindai-collector app remove coffee",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.do(cmd, func(apps collector.Apps) error {
				if err := apps.Remove(cmd.Context(), args[0]); err != nil {
					return err
				}
				answer := struct {
					Removed string `json:"removed"`
				}{args[0]}
				return o.print(cmd.OutOrStdout(), answer, fmt.Sprintf("App %s is removed. What it has sent stays in the store.", args[0]))
			})
		},
	}
}

func newAppPublishCommand(o *appOptions) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "publish NAME",
		Short: "State who is responsible for an app's events, and why they are collected",
		Long: `publish takes what a program cannot know about an app, in JSON, and puts it on the
app's privacy page, /privacy/NAME. It replaces what was stated before. All of it
may be left out; the page says what is not stated.

  {
    "controller": "Example Ltd, 1 Example Street, Exampletown",
    "contact": "privacy@example.com",
    "joint_controller": "", "representative": "", "data_protection_officer": "",
    "purpose": "To see which features are used, and improve them.",
    "legal_basis": "Legitimate interest, Article 6(1)(f) GDPR.",
    "recipients": [
      {"name": "Hosting Ltd", "why": "runs the machine", "country": "", "safeguard": ""}
    ],
    "forwards_to_amplitude": false,
    "retention": {"events": "", "tombstones": "", "receipts": "", "logs": "", "backups": ""},
    "security": "TLS in front of the collector.",
    "publish_figures": false
  }

An empty list of recipients states that there are none; country is where a
recipient is, if that is outside the European Union. With publish_figures,
everyone can see at /figures/NAME what the events add up to, week by week; groups
of fewer than 5 sessions are folded into one. That hides each session from readers,
not from somebody who sends events: with four sessions of their own in a group they
see whether there is a fifth.`,
		Example: "  blindai-collector app publish coffee --facts coffee-facts.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := cli.ReadFile(file)
			if err != nil {
				return err
			}
			facts, err := privacy.ParseFacts(b)
			if err != nil {
				return err
			}
			return o.do(cmd, func(apps collector.Apps) error {
				if err := apps.Publish(cmd.Context(), args[0], facts); err != nil {
					return err
				}
				answer := struct {
					Published string `json:"published"`
				}{args[0]}
				return o.print(cmd.OutOrStdout(), answer, fmt.Sprintf("The facts are on the page /privacy/%s.", args[0]))
			})
		},
	}
	cmd.Flags().StringVar(&file, "facts", "", "file with the facts, in JSON")
	if err := cmd.MarkFlagRequired("facts"); err != nil {
		panic(err)
	}
	return cmd
}

func newAppRecordCommand(o *appOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "record NAME",
		Short: "Print an app's record of processing activities",
		Long: `record prints the record that Article 30(1) of the GDPR asks of who is responsible
for an app's events, as Markdown: made from the app's plan and from the facts that
were stated with app publish. It begins with what is missing.`,
		Example: "  blindai-collector app record coffee > record.md",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.do(cmd, func(apps collector.Apps) error {
				d, err := apps.Describe(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				record := privacy.Subject{Plan: d.Plan, Facts: d.Facts}.Record()
				answer := struct {
					Record string `json:"record"`
				}{string(record)}
				return o.print(cmd.OutOrStdout(), answer, strings.TrimSuffix(string(record), "\n"))
			})
		},
	}
}

func requirePlan(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "plan", "", "file with the app's plan, in JSON")
	if err := cmd.MarkFlagRequired("plan"); err != nil {
		panic(err)
	}
}

// do runs f on the apps of the collector that runs on the folder, or of the
// folder itself.
func (o *appOptions) do(cmd *cobra.Command, f func(collector.Apps) error) (err error) {
	apps, err := collector.OpenApps(cmd.Context(), o.data, duckdb.Open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, apps.Close()) }()
	return f(apps)
}

func (o *appOptions) print(out io.Writer, answer any, text string) error {
	if o.json {
		return json.NewEncoder(out).Encode(answer)
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

func (o *appOptions) printKeys(out io.Writer, keys collector.Keys) error {
	if o.json {
		return json.NewEncoder(out).Encode(keys)
	}
	if keys.API != "" {
		fmt.Fprintf(out, "API key     %s\n", keys.API)
	}
	if keys.Secret != "" {
		fmt.Fprintf(out, "Secret key  %s\n", keys.Secret)
	}
	return nil
}
