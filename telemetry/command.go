package telemetry

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
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

	// How people name the state folder and the destination to this program, as
	// "--state-dir or COFFEE_STATE_DIR", for sentences that say what to do.
	StateDirFlag, URLFlag string
}

// A use is one way to use the command.
type use struct {
	name, args, help string
	flags            []string // of all uses of that name
	most             int      // arguments
}

// commands lists what Run knows, for its help: a line for each use.
var commands = []use{
	{"status", "[-json]", "say what a program that runs here sends, and what a start here would", []string{"json"}, 0},
	{"preview", "[-sent]", "print the next request as it would be sent, or the last ones as they were", []string{"sent"}, 0},
	{"plan", "[-json] [-diff OLD]", "print the exhaustive list of what can be sent, or how it differs from an older one", []string{"json", "diff"}, 0},
	{"on", "", "choose on, and accept the plan; takes effect at the next start", nil, 0},
	{"off", "", "choose off; takes effect at once, and deletes what waits to be sent", nil, 0},
	{"test", "", "see whether the destination can be reached, without sending an event", nil, 0},
	{"show", "-remote [-all | SECRET | -]", "print what the collector has of a session; - reads the secret from standard input", []string{"remote", "all"}, 1},
	{"forget", "[-json] [-all | SECRET | -]", "erase what was sent", []string{"json", "all", "verify", "key"}, 1},
	{"forget", "-verify FILE [-key KEY] [-json] [SECRET | -]", "check a receipt", []string{"json", "all", "verify", "key"}, 1},
}

// Run carries out one command and returns the exit code: 0, 1 after an error or
// for plans that differ, 2 for words that are no command. What is wrong with those is
// said without repeating them: people type secrets here.
func (c Command) Run(ctx context.Context, args []string) int {
	c.Err = c.errs()
	f := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	asJSON := f.Bool("json", false, "")
	all := f.Bool("all", false, "")
	sent := f.Bool("sent", false, "")
	f.Bool("remote", false, "") // misuse demands it
	old := f.String("diff", "", "")
	file := f.String("verify", "", "")
	key := f.String("key", "", "")
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch err := misuse(f, name, args); {
	case err == flag.ErrHelp:
		c.usage(c.out())
		return 0
	case err != nil:
		fmt.Fprintf(c.Err, "%s: %v\n", c.Name, err)
		c.usage(c.Err)
		return 2
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
	case name == "show":
		err = c.Show(ctx, f.Arg(0), *all)
	case name == "forget" && *file != "":
		err = c.Verify(*file, *key, f.Arg(0), *asJSON)
	default:
		err = c.Forget(ctx, f.Arg(0), *all, *asJSON)
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

// misuse parses the flags of a command, and says what is wrong with what was typed.
func misuse(f *flag.FlagSet, name string, args []string) error {
	switch name {
	case "":
		return errors.New("name a command")
	case "help", "-h", "-help", "--help":
		return flag.ErrHelp
	}
	at := slices.IndexFunc(commands, func(u use) bool { return u.name == name })
	if at < 0 {
		return errors.New("there is no such command")
	}
	sub := commands[at]
	if err := f.Parse(args); err != nil {
		switch {
		case err == flag.ErrHelp:
			return err
		case strings.HasPrefix(err.Error(), "flag provided but not defined"):
			return fmt.Errorf("%s has no such flag", name)
		}
		return fmt.Errorf("a flag of %s lacks its value, or has one that it does not take", name)
	}
	given := map[string]bool{}
	f.Visit(func(g *flag.Flag) { given[g.Name] = true })
	for other := range given {
		if !slices.Contains(sub.flags, other) {
			return fmt.Errorf("%s has no flag -%s", name, other)
		}
	}
	switch {
	case f.NArg() > 0 && sub.most == 0:
		return fmt.Errorf("%s takes no argument", name)
	case f.NArg() > sub.most:
		return fmt.Errorf("%s takes one argument, and flags come before it", name)
	case f.NArg() == 1 && f.Arg(0) == "":
		return errors.New("the secret is empty; it is 64 hex digits")
	case name == "show" && !given["remote"]:
		return errors.New("show asks the collector, so say -remote; what is here is shown by status and preview")
	case given["key"] && (!given["verify"] || f.Lookup("key").Value.String() == ""):
		return errors.New("-key goes with -verify, and takes a collector's key")
	case given["verify"] && given["all"]:
		return errors.New("-verify checks one receipt; leave -all out")
	}
	for _, name := range []string{"verify", "diff"} {
		if given[name] && f.Lookup(name).Value.String() == "" {
			return fmt.Errorf("-%s takes the name of a file", name)
		}
	}
	return nil
}

func (c Command) usage(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
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
// has programs that run carry it out at once. It says how many it has reached: one
// that runs on another folder goes on.
func (c Command) Off(ctx context.Context) error {
	dir := c.Config.StateDir
	running := findRunning(ctx, dir, "") // before the choice: some see it without being asked
	fault := writeChoice(dir, Off)
	if was, odd := readChoice(dir); fault != nil && dir != "" && (was.Says != Off || odd != "") {
		name := cmp.Or(c.Config.EnvVar, "DO_NOT_TRACK")
		return fmt.Errorf("%w; a program that runs on the state folder %s goes on until it is started anew with the environment variable %s=1", fault, dir, name)
	}
	if dir == "" {
		return fault
	}
	deleted := "What waited there to be sent is deleted. "
	if undeleted := deleteSpools(dir); undeleted != nil {
		fault, deleted = errors.Join(fault, undeleted), ""
	}
	for _, l := range running {
		l.ask(ctx, http.MethodPost, "look") // who does not answer sees it at the next look
	}
	silent := len(findRunning(ctx, dir, "")) // whoever has carried it out has closed its socket
	unasked := findUnasked(dir, "", running)
	asked := max(len(running)-silent, 0)
	fmt.Fprintf(c.out(), "Telemetry is off for all programs that use the state folder %s. %sThe secrets that erase what was sent are kept.\n", dir, deleted)
	switch {
	case asked+silent+len(unasked) == 0:
		fmt.Fprintf(c.out(), "No program was found that runs on it. One that runs on another folder goes on; to reach it, name its folder%s.\n", by(c.StateDirFlag))
	case asked > 0:
		fmt.Fprintf(c.out(), "Off is carried out by %s on it.\n", number(int64(asked), "program")+map[bool]string{true: " that runs", false: " that run"}[asked == 1])
	}
	if silent > 0 {
		fmt.Fprintf(c.out(), "%s on it did not answer, and will see it within seconds.\n", number(int64(silent), "program"))
	}
	for _, u := range unasked {
		fmt.Fprintf(c.out(), "A program that runs here cannot be asked, because no socket of it answers; it is to see the choice at its next look: session %s.\n", u.ID)
	}
	return fault
}

// by names a flag or a variable at the end of a sentence that says what to do.
func by(flag string) string {
	if flag == "" {
		return ""
	}
	return " with " + flag
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
	case r.takes:
		fmt.Fprintln(c.out(), "It takes events with this API key. None was sent.")
		return nil
	case r.status >= 200 && r.status < 300:
		return errors.New("something else answers in the destination's place: it says yes, but not as an upload endpoint does; check the URL, and that no login page of the network is in the way")
	case r.wrongKey:
		return errors.New("the destination does not know the API key; ask its owner for the right one")
	}
	if isLater(r.status) {
		return errors.New("the destination cannot take events now; try again later")
	}
	return errors.New("the destination does not take events; check that the URL is that of an upload endpoint, like https://host/2/httpapi")
}
