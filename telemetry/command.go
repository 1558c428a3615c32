package telemetry

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
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
	In      io.Reader // holds the secret where "-" is given for it; default os.Stdin
	Out     io.Writer // default os.Stdout
	Err     io.Writer // for what is said beside the output; default os.Stderr
}

// commands lists what Run knows, for its help.
var commands = []struct{ name, args, help string }{
	{"status", "[-json]", "say what a program that runs here sends, and what a start here would"},
	{"preview", "[-sent]", "print the next request as it would be sent, or the last ones as they were"},
	{"plan", "[-json] [-diff OLD]", "print the exhaustive list of what can be sent, or how it differs from an older one"},
	{"on", "", "choose on, and accept the plan; takes effect at the next start"},
	{"off", "", "choose off; takes effect at once, and deletes what waits to be sent"},
	{"test", "", "see whether the destination can be reached, without sending an event"},
	{"show", "-remote [-all | SECRET | -]", "print what the collector has of a session; - reads the secret from standard input"},
	{"forget", "[-json] [-all | SECRET | -]", "erase what was sent"},
	{"forget", "-verify FILE [-key KEY] [-json] [SECRET | -]", "check a receipt"},
}

// Run carries out one command and returns the exit code: 0, 1 after an error or
// for plans that differ, 2 for words that are no command.
func (c Command) Run(ctx context.Context, args []string) int {
	c.Err = c.errs()
	f := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	asJSON := f.Bool("json", false, "")
	all := f.Bool("all", false, "")
	sent := f.Bool("sent", false, "")
	remote := f.Bool("remote", false, "")
	old := f.String("diff", "", "")
	file := f.String("verify", "", "")
	key := f.String("key", "", "")
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	if err := f.Parse(args); err != nil || f.NArg() > 1 || f.NArg() == 1 && name != "forget" && name != "show" {
		name = ""
	}
	var err error
	differs := false
	switch {
	case name == "status":
		err = c.Status(ctx, *asJSON)
	case name == "preview" && *sent:
		err = c.Sent(ctx)
	case name == "preview":
		err = c.Preview(ctx)
	case name == "plan" && *old != "":
		differs, err = c.PlanDiff(*old, *asJSON)
	case name == "plan":
		err = c.Plan(*asJSON)
	case name == "on":
		err = c.On()
	case name == "off":
		err = c.Off(ctx)
	case name == "test":
		err = c.Test(ctx)
	case name == "show" && *remote:
		err = c.Show(ctx, f.Arg(0), *all)
	case name == "forget" && *file != "":
		err = c.Verify(*file, *key, f.Arg(0), *asJSON)
	case name == "forget":
		err = c.Forget(ctx, f.Arg(0), *all, *asJSON)
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
	if differs {
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

func (c Command) errs() io.Writer {
	if c.Err == nil {
		return os.Stderr
	}
	return c.Err
}

// plan returns what a start with this Config could send.
func (c Command) plan() (*plan.Plan, error) {
	p, err := c.Client.Plan()
	if err != nil {
		return nil, err
	}
	return deliveryOf(p, c.Config), nil
}

// Plan prints the exhaustive list of what can be sent.
func (c Command) Plan(asJSON bool) error {
	p, err := c.plan()
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

// On keeps the choice for on in the state folder, accepts the plan, and says what
// else keeps telemetry off, if anything does.
func (c Command) On() error {
	p, err := c.plan()
	if err != nil {
		return err
	}
	hold := holdBack(c.Config.StateDir, p)
	if err := WriteChoice(c.Config.StateDir, On); err != nil {
		return err
	}
	if err := AcceptPlan(c.Config.StateDir, p); err != nil {
		return err
	}
	d, err := Decide(c.Config)
	if err != nil {
		return err
	}
	if len(hold.names) > 0 {
		fmt.Fprintf(c.out(), "Accepted what was held back: %s.\n", strings.Join(hold.names, ", "))
	}
	if len(hold.travel) > 0 {
		fmt.Fprintf(c.out(), "Accepted what is new and travels with each request: %s.\n", strings.Join(hold.travel, ", "))
	}
	fmt.Fprintf(c.out(), "The choice is on, from the next start. Telemetry of a start here: %s.\n", d)
	return nil
}

// Off keeps the choice for off in the state folder, deletes what waits there, and
// has programs that run carry it out at once.
func (c Command) Off(ctx context.Context) error {
	if err := WriteChoice(c.Config.StateDir, Off); err != nil {
		return err
	}
	running := findRunning(ctx, c.Config.StateDir, "")
	for _, l := range running {
		l.ask(ctx, http.MethodPost, "look") // who does not answer sees it at the next look
	}
	unasked := findUnasked(c.Config.StateDir, "", running)
	fmt.Fprintln(c.out(), "Telemetry is off for all programs that use this state folder, within seconds for those that run. What waited to be sent is deleted. The secrets that erase what was sent are kept.")
	for _, u := range unasked {
		fmt.Fprintf(c.out(), "A program that runs here cannot be asked, because no socket of it answers; it is to see the choice at its next look: session %s.\n", u.ID)
	}
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
