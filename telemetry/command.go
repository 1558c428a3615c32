package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// A Command is the command with which the people who run a program see what it
// sends, switch it off, and erase it. A program mounts it under a name of its
// own, whole with Run, or method by method in a command-line library:
//
//	if len(os.Args) > 1 && os.Args[1] == "telemetry" {
//		os.Exit(telemetry.Command{Name: "coffee telemetry", Client: c, Config: cfg}.Run(ctx, os.Args[2:]))
//	}
//
// Client declares the plan and is not opened; Config is what the program would
// open it with, so that the command says what a start would do.
type Command struct {
	Name    string  // as people type it
	Client  *Client // with its events declared
	Config  Config
	Contact string    // whom to ask for erasure where events went to Amplitude itself
	Out     io.Writer // default os.Stdout
	Err     io.Writer // of Run; default os.Stderr
}

// commands lists what Run knows, for its help.
var commands = []struct{ name, args, help string }{
	{"status", "[-json]", "say whether a start here would send anything, and list past sessions"},
	{"preview", "", "print the next request as it would be sent"},
	{"plan", "[-json]", "print the exhaustive list of what can be sent"},
	{"on", "", "choose on; takes effect at the next start"},
	{"off", "", "choose off; takes effect within seconds, and deletes what waits to be sent"},
	{"test", "", "see whether the destination can be reached, without sending an event"},
	{"forget", "[-all | SECRET]", "erase what was sent"},
}

// Run carries out one command and returns the exit code: 0, 1 after an error, 2
// for words that are no command.
func (c Command) Run(ctx context.Context, args []string) int {
	if c.Err == nil {
		c.Err = os.Stderr
	}
	f := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	asJSON := f.Bool("json", false, "")
	all := f.Bool("all", false, "")
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	if err := f.Parse(args); err != nil || f.NArg() > 1 || f.NArg() == 1 && name != "forget" {
		name = ""
	}
	var err error
	switch name {
	case "status":
		err = c.Status(*asJSON)
	case "preview":
		err = c.Preview()
	case "plan":
		err = c.Plan(*asJSON)
	case "on":
		err = c.On()
	case "off":
		err = c.Off()
	case "test":
		err = c.Test(ctx)
	case "forget":
		err = c.Forget(ctx, f.Arg(0), *all)
	default:
		c.usage()
		return 2
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) { // more than one where errors were joined
			fmt.Fprintf(c.Err, "%s: %s\n", c.Name, strings.TrimSuffix(line, "\n"))
		}
		return 1
	}
	return 0
}

func (c Command) usage() {
	w := tabwriter.NewWriter(c.Err, 0, 0, 2, ' ', 0)
	for _, sub := range commands {
		fmt.Fprintf(w, "%s %s %s\t%s\n", c.Name, sub.name, sub.args, sub.help)
	}
	fmt.Fprintf(w, "For example: %s status\n", c.Name)
	w.Flush()
}

func (c Command) out() io.Writer {
	if c.Out == nil {
		return os.Stdout
	}
	return c.Out
}

// Status says whether a start with this Config would send anything, where to,
// and what decided that. It lists the sessions whose secrets are kept, and how
// many events wait.
func (c Command) Status(asJSON bool) error {
	d, err := Decide(c.Config)
	if err != nil {
		return err
	}
	kept, fault := Kept(c.Config.StateDir) // a damaged file must not hide the others
	waiting := 0
	for _, s := range readSpools(c.Config.StateDir, c.Client.plan.App) {
		waiting += len(s.left)
	}
	if asJSON {
		return errors.Join(c.statusJSON(d, kept, waiting), fault)
	}
	out := c.out()
	fmt.Fprintf(out, "Telemetry of a start here: %s.\n", d)
	if waiting > 0 {
		fmt.Fprintf(out, "Events that wait in the state folder: %d.\n", waiting)
	}
	if len(kept) == 0 {
		_, err := fmt.Fprintln(out, "No session is kept here.")
		return errors.Join(err, fault)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STARTED\tSESSION\tSENT TO\tSECRET")
	for _, k := range kept {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Started.Format("2006-01-02 15:04:05 UTC"), k.ID, k.URL, k.Secret.Reveal())
	}
	return errors.Join(w.Flush(), fault)
}

func (c Command) statusJSON(d Decision, kept []KeptSession, waiting int) error {
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
		Waiting  int       `json:"waiting"`
		Sessions []session `json:"sessions"`
	}{d.On, d.Source, d.Reason, d.URL, waiting, []session{}}
	for _, k := range kept {
		status.Sessions = append(status.Sessions, session{k.Started.Format(time.RFC3339), k.ID.String(), k.URL, k.Secret.Reveal()})
	}
	return json.NewEncoder(c.out()).Encode(status)
}

// Plan prints the exhaustive list of what can be sent.
func (c Command) Plan(asJSON bool) error {
	p, err := c.Client.Plan()
	if err != nil {
		return err
	}
	if asJSON {
		_, err := c.out().Write(p.JSON())
		return err
	}
	w := tabwriter.NewWriter(c.out(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIELD\tKIND\tIN\tWHAT IT SAYS")
	row := func(f plan.Field, in string) {
		kind := f.Kind.String()
		if labels := f.Labels(); len(labels) > 0 && f.Kind != plan.System {
			kind = strings.Join(labels, " or ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Name, kind, in, f.Doc)
	}
	var names []string
	for _, e := range p.Events {
		names = append(names, e.Name)
	}
	fmt.Fprintf(w, "event_type\t%s\tevery event\tWhat happened.\n", strings.Join(names, " or "))
	for _, f := range p.Fields {
		row(f, "every event")
	}
	for _, e := range p.Events {
		for _, f := range e.Fields {
			row(f, e.Name)
		}
	}
	for _, d := range p.Delivery {
		fmt.Fprintf(w, "%s\t\tdelivery\t%s\n", d.Name, d.Doc)
	}
	return w.Flush()
}

// On keeps the choice for on in the state folder, and says what else keeps
// telemetry off, if anything does.
func (c Command) On() error {
	if err := WriteChoice(c.Config.StateDir, On); err != nil {
		return err
	}
	d, err := Decide(c.Config)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out(), "The choice is on, from the next start. Telemetry of a start here: %s.\n", d)
	return nil
}

// Off keeps the choice for off in the state folder and deletes what waits there.
func (c Command) Off() error {
	if err := WriteChoice(c.Config.StateDir, Off); err != nil {
		return err
	}
	fmt.Fprintln(c.out(), "Telemetry is off for all programs that use this state folder, within seconds for those that run. What waited to be sent is deleted. The secrets that erase what was sent are kept.")
	return nil
}

// Test tries the destination with a request that holds no event. It connects
// also where telemetry is off: somebody has asked for it.
func (c Command) Test(ctx context.Context) error {
	cfg := c.Config.withDefaults()
	target, key := cfg.destination()
	if key == "" {
		return errors.New("no destination with an API key is configured, so there is nothing to test")
	}
	if target == "" {
		target = AmplitudeURL
	}
	endpoint, err := parseEndpoint(target)
	if err != nil {
		return err
	}
	r, err := tryDestination(ctx, endpoint, key, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out(), "%s answers %d within %v", endpoint, r.status, r.took.Round(time.Millisecond))
	if r.proxy != "" {
		fmt.Fprintf(c.out(), ", through the proxy %s", r.proxy)
	}
	fmt.Fprintln(c.out(), ".")
	switch {
	case r.status >= 200 && r.status < 300:
		fmt.Fprintln(c.out(), "It takes events with this API key. None was sent.")
		return nil
	case r.wrongKey:
		return errors.New("the destination does not know the API key; ask its owner for the right one")
	}
	return fmt.Errorf("the destination does not take events; check that the URL is that of an upload endpoint, like https://host/2/httpapi")
}

// Forget erases at the destination: the session of a secret, or with an empty
// secret the last session that is kept, or with all every one, each in a request
// of its own so that they are not linked. It prints the receipts.
func (c Command) Forget(ctx context.Context, secret string, all bool) error {
	if secret != "" {
		if all {
			return errors.New("give a secret or --all, not both")
		}
		return c.forgetSecret(ctx, secret)
	}
	kept, fault := Kept(c.Config.StateDir) // a damaged file must not keep the others
	if len(kept) == 0 && fault != nil {
		return fault
	}
	if len(kept) == 0 {
		return errors.New("no session is kept in the state folder, so there is nothing to erase from here; name the state folder in which the program ran, or give the secret that it printed")
	}
	if !all {
		kept = kept[len(kept)-1:]
	}
	faults := []error{fault}
	for _, k := range kept {
		receipt, err := k.Forget(ctx)
		if err != nil {
			faults = append(faults, c.forgetError(err))
			continue
		}
		fmt.Fprintf(c.out(), "%s\n", strings.TrimSpace(string(receipt)))
	}
	return errors.Join(faults...)
}

func (c Command) forgetSecret(ctx context.Context, secret string) error {
	target, _ := c.Config.destination()
	if target == "" {
		return errors.New("no destination is known; name the collector by its URL")
	}
	receipt, err := Forget(ctx, target, secret)
	if err != nil {
		return c.forgetError(err)
	}
	fmt.Fprintf(c.out(), "%s\n", strings.TrimSpace(string(receipt)))
	return nil
}

// forgetError adds to ErrAmplitude whom to ask.
func (c Command) forgetError(err error) error {
	if !errors.Is(err, ErrAmplitude) {
		return err
	}
	contact := c.Contact
	if contact == "" {
		contact = "whoever gave you this program"
	}
	return fmt.Errorf("%w; to have the events of that id erased, write to %s", err, contact)
}
