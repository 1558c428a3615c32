package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// The commands for what a collector has: show, forget, and the check of a receipt.
// And the comparison of two plans.

// choose returns the sessions that a command is about: the one of a secret, or
// all that are kept, or the one that runs, or the last one. In place of a session
// that is not kept here it makes one up, with the configured destination.
func (c Command) choose(ctx context.Context, secret string, all bool) (chosen, rest []KeptSession, fault error) {
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
			return nil, nil, errors.New("no destination is known; name the collector by its URL")
		}
		if target, err = parseEndpoint(target); err != nil {
			return nil, nil, err
		}
		return []KeptSession{{ID: s.ID(), Secret: s, URL: target}}, nil, nil
	}
	if len(kept) == 0 && fault == nil {
		fault = errors.New("no session is kept in the state folder, so there is nothing to erase from here; name the state folder in which the program ran, or give the secret that it printed")
	}
	if len(kept) == 0 || all {
		return kept, nil, fault
	}
	at := c.lastOf(ctx, kept)
	return []KeptSession{kept[at]}, slices.Delete(slices.Clone(kept), at, at+1), fault
}

// lastOf returns the index of the session that people mean who name none: the last
// one of this program that runs, or else the last one.
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
	return len(kept) - 1
}

// sayExposed says, before it happens, where secrets can be read on the way.
func (c Command) sayExposed(chosen []KeptSession) {
	said := map[string]bool{"": true}
	for _, k := range chosen {
		if words := exposed(k.URL); !said[words] && !amplitudeHost(k.URL) { // nothing goes there
			said[words] = true
			fmt.Fprintln(c.errs(), words)
		}
	}
}

// Forget erases at the destination: the session of a secret, or with an empty
// secret the one that runs here or else the last one that is kept, or with all every
// one, each in a request of its own so that they are not linked. Erasures that wait
// are tried again. A session that runs ends, and the program takes a new one. It says
// what was erased and prints the receipts; asJSON prints the receipts only. The secret
// "-" is read from In, a line of it.
func (c Command) Forget(ctx context.Context, secret string, all, asJSON bool) error {
	chosen, rest, fault := c.choose(ctx, secret, all)
	if len(chosen) == 0 {
		return fault
	}
	for _, k := range rest {
		if !k.Asked.IsZero() {
			chosen = append(chosen, k)
		}
	}
	c.sayExposed(chosen)
	faults := []error{fault}
	running := findRunning(ctx, c.Config.StateDir, "")
	waits := false
	for _, k := range chosen {
		for _, l := range running {
			if l.ID != k.ID.String() || amplitudeHost(k.URL) {
				continue
			}
			if _, err := l.ask(ctx, http.MethodPost, "renew"); err != nil {
				// What it records from now on is thrown away by the collector.
				faults = append(faults, err)
			}
		}
		var e erasure
		var err error
		if k.path == "" {
			e, err = c.Config.erase(ctx, k.URL, k.Secret)
		} else {
			e, err = k.forget(ctx, c.Config)
		}
		var later *laterError
		if errors.As(err, &later) && k.path != "" {
			waits = true
			err = fmt.Errorf("%w; the request is kept, and a program that runs here with telemetry on tries it again, or else the next \"forget\"", err)
		}
		if err != nil {
			faults = append(faults, c.forgetError(err))
		}
		if err == nil && len(running) == 0 && k.path != "" && spoolIsLive(k) {
			faults = append(faults, errors.New("the session was erased, but the program that runs it has no socket and goes on with it; the collector throws away what it records from now on, until the program is started anew"))
		}
		if e.raw == nil {
			continue
		}
		if !asJSON && err == nil {
			fmt.Fprintln(c.out(), e.receipt.words())
			if e.path != "" {
				fmt.Fprintf(c.out(), "The receipt is kept in %s:\n", e.path)
			}
		}
		fmt.Fprintf(c.out(), "%s\n", e.raw)
	}
	if waits {
		for _, l := range findRunning(ctx, c.Config.StateDir, "") {
			l.ask(ctx, http.MethodPost, "look") // who does not answer tries it at the next start
		}
	}
	return errors.Join(faults...)
}

// spoolIsLive reports whether a process has the session's spool.
func spoolIsLive(k KeptSession) bool {
	return isLocked(filepath.Join(spoolDir(k.stateDir()), k.ID.String()+spoolEnding))
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
// Forget; with all there is one JSON object for each. It connects also where
// telemetry is off: somebody has asked for it.
func (c Command) Show(ctx context.Context, secret string, all bool) error {
	chosen, _, fault := c.choose(ctx, secret, all)
	if len(chosen) == 0 {
		return fault
	}
	c.sayExposed(chosen)
	faults := []error{fault}
	for _, k := range chosen {
		b, err := c.Config.ask(ctx, k.URL, "/v1/show", k.Secret)
		var shown struct{ Apps []json.RawMessage }
		switch {
		case errors.Is(err, ErrAmplitude):
			err = fmt.Errorf("the events went to Amplitude, where only the project's owner can see them; the owner needs the user_id %s", k.ID)
		case err == nil && (json.Unmarshal(b, &shown) != nil || shown.Apps == nil):
			err = errors.New("the destination's answer does not show a session; check that its URL is a collector's")
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if _, err := fmt.Fprintf(c.out(), "%s\n", bytes.TrimSpace(b)); err != nil {
			return err
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
	b, err := readRegular(path, maxReceipt+1)
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

// maxOldPlan is more than any plan has.
const maxOldPlan = 16 << 20

// readRegular reads the first bytes of a file, as many as most says. What is not a
// regular file is not opened: a pipe to which nobody writes would never let go.
func readRegular(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; keep what it holds in one, and name that", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// PlanDiff says how the plan differs from an older one in a file, and whether it
// does.
func (c Command) PlanDiff(path string, asJSON bool) (differs bool, err error) {
	p, err := c.plan()
	if err != nil {
		return false, err
	}
	b, err := readRegular(path, maxOldPlan)
	if err != nil {
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
