package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/telemetry"
)

func newTelemetryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "telemetry",
		Short: "See what is sent, and erase it",
		Long: `telemetry shows what a server started here would send and where, the exhaustive
list of what can be sent, and erases what was sent. To switch telemetry off, set
` + events.DisableVar + `=1 or start the server with --no-telemetry.`,
		Example: "  blindai telemetry status\n  blindai telemetry plan",
	}
	cmd.AddCommand(newStatusCommand(), newPlanCommand(), newForgetCommand())
	return cmd
}

func newStatusCommand() *cobra.Command {
	var o telemetryOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether a server started here would send anything, and list past sessions",
		Long: `status says whether a server that is started with the same environment and flags
would send anything, where to, and what decided that. It lists the sessions whose
secrets are kept here; "telemetry forget" erases what they sent.`,
		Example: "  blindai telemetry status --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := telemetry.Decide(o.config())
			if err != nil {
				return err
			}
			kept, fault := telemetry.Kept(o.state()) // a damaged file must not hide the others
			if asJSON {
				return errors.Join(printStatusJSON(cmd.OutOrStdout(), d, kept), fault)
			}
			return errors.Join(printStatus(cmd.OutOrStdout(), d, kept), fault)
		},
	}
	o.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for machines")
	return cmd
}

func printStatus(out io.Writer, d telemetry.Decision, kept []telemetry.KeptSession) error {
	fmt.Fprintf(out, "Telemetry of a server started here: %s.\n", d)
	if len(kept) == 0 {
		_, err := fmt.Fprintln(out, "No past session is kept here.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STARTED\tSESSION\tSENT TO\tSECRET")
	for _, k := range kept {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Started.Format("2006-01-02 15:04:05 UTC"), k.ID, k.URL, k.Secret.Reveal())
	}
	return w.Flush()
}

func printStatusJSON(out io.Writer, d telemetry.Decision, kept []telemetry.KeptSession) error {
	type session struct {
		Started string `json:"started"`
		ID      string `json:"user_id"`
		URL     string `json:"url"`
		Secret  string `json:"secret"`
	}
	status := struct {
		On       bool      `json:"on"`
		Source   string    `json:"source"`
		Reason   string    `json:"reason"`
		URL      string    `json:"url,omitempty"`
		Sessions []session `json:"sessions"`
	}{d.On, d.Source, d.Reason, d.URL, []session{}}
	for _, k := range kept {
		status.Sessions = append(status.Sessions, session{k.Started.Format("2006-01-02T15:04:05Z"), k.ID.String(), k.URL, k.Secret.Reveal()})
	}
	return json.NewEncoder(out).Encode(status)
}

func newPlanCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "plan",
		Short:   "Print the exhaustive list of what can be sent",
		Example: "  blindai telemetry plan --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				_, err := cmd.OutOrStdout().Write(events.Plan().JSON())
				return err
			}
			return printPlan(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for machines")
	return cmd
}

func printPlan(out io.Writer) error {
	p := events.Plan()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIELD\tKIND\tIN\tWHAT IT SAYS")
	kind := func(kind fmt.Stringer, words []string) string {
		if len(words) > 0 {
			return strings.Join(words, " or ")
		}
		return kind.String()
	}
	var names []string
	for _, e := range p.Events {
		names = append(names, e.Name)
	}
	fmt.Fprintf(w, "event_type\t%s\tevery event\tWhat happened.\n", strings.Join(names, " or "))
	for _, f := range p.Fields {
		fmt.Fprintf(w, "%s\t%s\tevery event\t%s\n", f.Name, kind(f.Kind, f.Values), f.Doc)
	}
	for _, e := range p.Events {
		for _, f := range e.Fields {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Name, kind(f.Kind, f.Values), e.Name, f.Doc)
		}
	}
	for _, d := range p.Delivery {
		fmt.Fprintf(w, "%s\t\tdelivery\t%s\n", d.Name, d.Doc)
	}
	return w.Flush()
}

func newForgetCommand() *cobra.Command {
	var o telemetryOptions
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
			if len(args) == 1 {
				if all {
					return errors.New("give a secret or --all, not both")
				}
				return forgetSecret(cmd, &o, args[0])
			}
			kept, fault := telemetry.Kept(o.state()) // a damaged file must not keep the others
			if len(kept) == 0 && fault != nil {
				return fault
			}
			if len(kept) == 0 {
				return errors.New("no session is kept in the state folder, so there is nothing to erase from here; name the folder with --state-dir, or give the secret that the server printed")
			}
			if !all {
				kept = kept[len(kept)-1:]
			}
			faults := []error{fault}
			for _, k := range kept {
				receipt, err := k.Forget(cmd.Context())
				if err != nil {
					faults = append(faults, forgetError(err))
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", strings.TrimSpace(string(receipt)))
			}
			return errors.Join(faults...)
		},
	}
	o.add(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "erase every session that is kept here")
	return cmd
}

func forgetSecret(cmd *cobra.Command, o *telemetryOptions, secret string) error {
	c := o.config()
	url := c.URL
	if url == "" {
		url = c.BuiltInURL
	}
	if url == "" {
		return errors.New("no destination is known; name the collector with --telemetry-url")
	}
	receipt, err := telemetry.Forget(cmd.Context(), url, secret)
	if err != nil {
		return forgetError(err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s\n", strings.TrimSpace(string(receipt)))
	return nil
}

// forgetError adds to ErrAmplitude whom to ask.
func forgetError(err error) error {
	if !errors.Is(err, telemetry.ErrAmplitude) {
		return err
	}
	contact := telemetryContact
	if contact == "" {
		contact = "whoever gave you this build"
	}
	return fmt.Errorf("%w; to have the events of that id erased, write to %s", err, contact)
}
