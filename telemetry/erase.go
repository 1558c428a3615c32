package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// The commands for what a collector has: show, forget, and the check of a receipt.
// And the comparison of two plans.

// choose returns the sessions that a command is about: the one of a secret, or
// all that are kept, or the one that runs, or the last one. In place of a session
// that is not kept here it makes one up, with the configured destination. The errors
// name what is done with it, as "erase".
func (c Command) choose(ctx context.Context, secret string, all bool, what string) (chosen, rest []KeptSession, fault error) {
	kept, fault := Kept(c.Config.StateDir) // a damaged file must not keep the others
	if secret != "" {
		if all {
			return nil, nil, errors.New("give a secret or --all, not both")
		}
		s, err := c.readSecret(ctx, secret)
		if err != nil {
			return nil, nil, err
		}
		if at := slices.IndexFunc(kept, func(k KeptSession) bool { return k.ID == s.ID() }); at >= 0 {
			return kept[at : at+1], nil, nil
		}
		target, key := c.Config.destination()
		if target == "" && key != "" {
			target = AmplitudeURL
		}
		if target == "" {
			return nil, nil, errors.New("no destination is known; name the collector by its URL" + by(c.URLFlag))
		}
		if target, err = parseEndpoint(target); err != nil {
			return nil, nil, err
		}
		return []KeptSession{{ID: s.ID(), Secret: s, SentTo: []Destination{{URL: target}}}}, nil, nil
	}
	if len(kept) == 0 && fault == nil {
		fault = fmt.Errorf("no session is kept in the state folder, so there is nothing to %s from here; name the state folder in which the program ran%s, or give the secret that it printed", what, by(c.StateDirFlag))
	}
	if len(kept) == 0 || all {
		return kept, nil, fault
	}
	at := c.lastOf(ctx, kept)
	if at < 0 {
		return nil, nil, errors.Join(fault, fmt.Errorf("the sessions that are kept in the state folder are of other programs, so there is nothing to %s from here; to mean them too, say all, or give a secret", what))
	}
	return []KeptSession{kept[at]}, slices.Delete(slices.Clone(kept), at, at+1), fault
}

// lastOf returns the index of the session that people mean who name none: the last
// one of this program that runs, or else its last one; -1 if it has none here.
func (c Command) lastOf(ctx context.Context, kept []KeptSession) int {
	running := findRunning(ctx, c.Config.StateDir, c.Client.plan.App)
	unasked := findUnasked(c.Config.StateDir, c.Client.plan.App, running)
	for at, k := range slices.Backward(kept) {
		id := k.ID.String()
		if slices.ContainsFunc(running, func(l line) bool { return l.ID == id }) ||
			slices.ContainsFunc(unasked, func(d described) bool { return d.ID == id }) {
			return at
		}
	}
	for at, k := range slices.Backward(kept) {
		if k.App == c.Client.plan.App {
			return at
		}
	}
	return -1
}

// sayExposed says, before it happens, where secrets can be read on the way.
func (c Command) sayExposed(chosen []KeptSession) {
	said := map[string]bool{"": true}
	for _, k := range chosen {
		for _, to := range k.SentTo {
			if words := exposed(to.URL); !said[words] && !to.Erased && !amplitudeHost(to.URL) { // nothing goes there
				said[words] = true
				fmt.Fprintln(c.errs(), words)
			}
		}
	}
}

// Forget erases: the session of a secret, or with an empty secret the one that runs
// here or else the last one that is kept, or with all every one, each in a request of
// its own so that they are not linked, at every destination that its events may have
// gone to. Erasures that wait are tried again. A session that runs ends, and the
// program takes a new one. It says what was erased and prints the receipts; asJSON
// prints the receipts only. The secret "-" is read from In, a line of it.
func (c Command) Forget(ctx context.Context, secret string, all, asJSON bool) error {
	chosen, rest, fault := c.choose(ctx, secret, all, "erase")
	if len(chosen) == 0 {
		return fault
	}
	for _, k := range rest {
		if k.owes() {
			chosen = append(chosen, k)
		}
	}
	c.sayExposed(chosen)
	faults := []error{fault}
	running := findRunning(ctx, c.Config.StateDir, "")
	waits := false
	said := sayer(chosen)
	for _, k := range chosen {
		for _, l := range running {
			if l.ID != k.ID.String() || !slices.ContainsFunc(k.SentTo, func(d Destination) bool { return !amplitudeHost(d.URL) }) {
				continue
			}
			_, err := l.ask(ctx, http.MethodPost, "renew")
			if gone := errors.Is(err, errEnded) || errors.Is(err, errSilent); err != nil && !gone || gone && slices.ContainsFunc(findRunning(ctx, c.Config.StateDir, l.App), func(now line) bool { return now.ID == l.ID }) {
				// It was not ended by somebody else who asked at the same moment. If it
				// goes on, what it records is thrown away by the collector.
				faults = append(faults, said(k, "", err))
			}
		}
		var findings []finding
		if k.path == "" {
			a := finding{url: k.SentTo[0].URL}
			a.erasure, a.err = c.Config.erase(ctx, a.url, k.Secret)
			findings = []finding{a}
		} else {
			findings, fault = k.forget(ctx, c.Config, nil)
			faults = append(faults, said(k, "", fault))
		}
		erased := false
		for _, a := range findings {
			erased = erased || a.receipt != nil

			err := a.err
			var later *laterError
			if errors.As(err, &later) && k.path != "" {
				waits = true
				err = fmt.Errorf("%w; the request is kept, and a program that runs here with telemetry on tries it again, or else the next \"forget\"", err)
			}
			if err != nil {
				faults = append(faults, said(k, a.url, c.forgetError(err)))
			}
			if a.raw == nil {
				continue
			}
			if !asJSON && !a.doubtful {
				from := ""
				if len(k.SentTo) > 1 {
					from = origin(a.url) + ": "
				}
				fmt.Fprintln(c.out(), from+a.receipt.words())
				if a.path != "" && err == nil {
					fmt.Fprintf(c.out(), "The receipt is kept in %s:\n", a.path)
				}
			}
			fmt.Fprintf(c.out(), "%s\n", a.raw)
		}
		if erased && runsUnasked(c.Config.StateDir, k.ID.String(), running) {
			faults = append(faults, said(k, "", errors.New("the session was erased, but the program that runs it cannot be asked and goes on with it; the collector throws away what it records from now on, until the program is started anew")))
		}
	}
	if waits {
		for _, l := range findRunning(ctx, c.Config.StateDir, "") {
			l.ask(ctx, http.MethodPost, "look") // who does not answer tries it at the next start
		}
	}
	return errors.Join(faults...)
}

// sayer returns a function that adds to an error which session it is about, where a
// command is about several, and which destination, where the session went to several.
// A session is named by its start: its secret is nobody's business, and people know
// when they started a program.
func sayer(chosen []KeptSession) func(k KeptSession, url string, err error) error {
	return func(k KeptSession, url string, err error) error {
		if err != nil && url != "" && len(k.SentTo) > 1 {
			err = fmt.Errorf("%s: %w", origin(url), err)
		}
		if err != nil && len(chosen) > 1 {
			err = fmt.Errorf("the session of %s UTC: %w", k.Started.UTC().Format(time.DateTime), err)
		}
		return err
	}
}

// runsUnasked reports whether a process that cannot be asked runs the session.
func runsUnasked(stateDir, id string, running []line) bool {
	return slices.ContainsFunc(findUnasked(stateDir, "", running), func(d described) bool { return d.ID == id })
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

// Show prints what the collector has of a session, as JSON: every stored field of
// every event, and who else may have got them. The session is chosen as by
// Forget; there is one JSON object for each session and destination. It connects
// also where telemetry is off: somebody has asked for it.
func (c Command) Show(ctx context.Context, secret string, all bool) error {
	chosen, _, fault := c.choose(ctx, secret, all, "show")
	if len(chosen) == 0 {
		return fault
	}
	c.sayExposed(chosen)
	faults := []error{fault}
	said := sayer(chosen)
	for _, k := range chosen {
		for _, to := range k.SentTo {
			if to.Erased {
				continue // a secret is shown to nobody without need
			}
			body, err := c.Config.ask(ctx, to.URL, "/v1/show", k.Secret)
			if err == nil {
				err = copyShown(c.out(), body)
				body.Close()
			}
			if later := (*laterError)(nil); errors.As(err, &later) {
				err = fmt.Errorf("%w; try again later", err)
			}
			if errors.Is(err, ErrAmplitude) {
				err = fmt.Errorf("the events went to Amplitude, where only the project's owner can see them; the owner needs the user_id %s", k.ID)
			}
			faults = append(faults, said(k, to.URL, err))
		}
	}
	return errors.Join(faults...)
}

// Verify checks a receipt that was kept, without asking anybody: that it was
// signed by the key of a collector that is pinned in the state folder, or by the
// given one where key is not empty, and not changed since; and with a secret that it
// is about the session of that secret. It says what was erased.
func (c Command) Verify(path, key, secret string, asJSON bool) error {
	var s plan.Secret
	if secret != "" {
		var err error
		if s, err = c.readSecret(context.Background(), secret); err != nil {
			return err
		}
	}
	if _, ok := parseKey(key); key != "" && !ok {
		return errors.New("the key is not a collector's: it has 43 letters and digits, as \"status\" and the collector's /v1/key show it")
	}
	b, err := readFile(path, maxReceipt)
	if errors.Is(err, errTooLarge) {
		err = nil // parseReceipt says what it is not
	}
	if err != nil {
		return fmt.Errorf("read the receipt: %w", err)
	}
	r, err := parseReceipt(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	from := ""
	switch {
	case key == "":
		if from, err = c.pinnedBy(path, r); err != nil {
			return err
		}
	case key != r.key:
		return fmt.Errorf("%s is signed by another key than the given one, so it proves nothing", path)
	}
	if secret != "" && !r.of(s) {
		return fmt.Errorf("%s is a genuine receipt, but about another session than that of the secret", path)
	}
	if asJSON {
		var about *bool
		if yes := true; secret != "" {
			about = &yes
		}
		return json.NewEncoder(c.out()).Encode(struct {
			Valid   bool            `json:"valid"`
			Origin  string          `json:"origin,omitempty"`
			Key     string          `json:"key"`
			Session *bool           `json:"session_matches,omitempty"`
			Receipt json.RawMessage `json:"receipt"`
		}{true, from, r.key, about, json.RawMessage(r.payload)})
	}
	fmt.Fprintf(c.out(), "The receipt is genuine: signed by %s, and not changed since.\n%s\n", cmp.Or(from, "the given key"), r.words())
	if secret != "" {
		fmt.Fprintln(c.out(), "It is about the session of this secret.")
	}
	return nil
}

// pinnedBy returns the origin whose pinned key has signed a receipt.
func (c Command) pinnedBy(path string, r *receipt) (origin string, err error) {
	pins, err := readPins(c.Config.StateDir)
	if err != nil {
		return "", err
	}
	if len(pins) == 0 {
		return "", errors.New("no collector's key is pinned in this state folder, so the receipt cannot be checked; name the folder of the program that was in contact with the collector, or give the collector's key")
	}
	for _, o := range slices.Sorted(maps.Keys(pins)) {
		if pins[o] == r.key {
			return o, nil
		}
	}
	return "", fmt.Errorf("%s is signed by a key that is not pinned in this state folder, so it proves nothing: it is another collector's, or the collector has a new key, or somebody has made it up", path)
}

// PlanDiff says how the plan differs from an older one in a file, and whether it
// does.
func (c Command) PlanDiff(path string, asJSON bool) (differs bool, err error) {
	p, err := c.plan()
	if err != nil {
		return false, err
	}
	b, err := readFile(path, maxPlanFile)
	if err != nil && !errors.Is(err, errTooLarge) {
		return false, fmt.Errorf("read the older plan: %w", err)
	}
	old, err := plan.Parse(b)
	if err != nil {
		return false, fmt.Errorf("%s is not a plan; give a file as printed by \"plan\" as JSON", path)
	}
	changes := plan.Diff(old, p)
	if asJSON {
		return len(changes) > 0, json.NewEncoder(c.out()).Encode(struct {
			Old     int           `json:"old"`
			New     int           `json:"new"`
			Changes []plan.Change `json:"changes"`
		}{old.Version, p.Version, append([]plan.Change{}, changes...)})
	}
	if len(changes) == 0 {
		_, err := fmt.Fprintln(c.out(), "The plans say the same.")
		return false, err
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHANGE\tEVENT\tFIELD\tWHAT")
	for _, d := range changes {
		event, field := d.Event, d.Field
		switch {
		case d.In != "":
			event = d.In
		case event == "":
			event = "every event"
		case field == "":
			field = "(the event)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.What, event, field, d.Detail)
	}
	w.Flush() // to memory: cannot fail
	for row := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(c.out(), strings.TrimRight(row, " \n")); err != nil { // not every row says what
			return true, err
		}
	}
	return true, nil
}
