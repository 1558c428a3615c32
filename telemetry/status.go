package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A status is what the command of that name says.
type status struct {
	// What a start with the same configuration would do.
	On     bool   `json:"on"`
	Source string `json:"source"`
	Reason string `json:"reason"`
	URL    string `json:"url,omitempty"`

	StateDir string `json:"state_dir"` // that all else is about

	Running []Running   `json:"running"` // sessions that are live
	Unasked []unasked   `json:"running_unasked,omitempty"`
	Waiting int         `json:"waiting"` // events in the state folder
	Held    []string    `json:"held_back"`
	Travel  []string    `json:"new_delivery,omitempty"` // what travels with each request and nobody has accepted
	Keys    []statusKey `json:"collector_keys"`

	Sessions []statusSession `json:"sessions"` // whose secrets are kept
	unread   bool            // whether there are some cannot be seen
}

// unasked is a session that is live and cannot be asked, see findUnasked.
type unasked struct {
	ID      string `json:"user_id"`
	Started string `json:"started,omitempty"`
}

type statusKey struct {
	Origin  string `json:"origin"`
	Pinned  string `json:"pinned,omitempty"`
	Seen    string `json:"seen,omitempty"` // by a program that runs
	Changed bool   `json:"changed"`
}

type statusSession struct {
	Started string `json:"started"`
	ID      string `json:"user_id"`
	keptDestination
	Further []keptDestination `json:"further,omitempty"` // where events of it may have gone too
	Secret  string            `json:"secret"`
}

// sentTo returns all destinations of a session.
func (k statusSession) sentTo() []keptDestination {
	return append([]keptDestination{k.keptDestination}, k.Further...)
}

// Status says what the programs that run on this state folder send and where to,
// as they say themselves, and what a start with this Config would do. It lists the
// sessions whose secrets are kept, the erasures that wait, and what of the plan
// nobody has accepted here.
func (c Command) Status(ctx context.Context, asJSON bool) error {
	p, err := c.plan()
	if err != nil {
		return err
	}
	d, unusable := Decide(c.Config) // a URL that cannot be used is no reason to hide what runs
	dir := c.Config.StateDir
	kept, fault := Kept(dir) // a damaged file must not hide the others
	unread := fault != nil && len(kept) == 0
	fault = errors.Join(unusable, fault)
	hold := holdBack(dir, p)
	s := status{
		unread: unread,
		On:     d.On, Source: d.Source, Reason: d.Reason, URL: d.URL, StateDir: dir,
		Running: []Running{}, Held: append([]string{}, hold.names...), Travel: hold.travel, Keys: []statusKey{}, Sessions: []statusSession{},
	}
	running := findRunning(ctx, dir, p.App)
	for _, l := range running {
		s.Running = append(s.Running, l.Running)
	}
	for _, u := range findUnasked(dir, p.App, running) {
		row := unasked{ID: u.ID}
		if u.Started != noTime {
			row.Started = time.UnixMilli(u.Started).UTC().Format(time.RFC3339)
		}
		s.Unasked = append(s.Unasked, row)
	}
	for _, w := range readSpools(dir, p.App) {
		s.Waiting += len(w.left)
	}
	for _, k := range kept {
		row := statusSession{Started: k.Started.UTC().Format(time.RFC3339), ID: k.ID.String(), Secret: k.Secret.Reveal()}
		for i, to := range k.SentTo {
			if i == 0 {
				row.keptDestination = to.kept()
			} else {
				row.Further = append(row.Further, to.kept())
			}
		}
		s.Sessions = append(s.Sessions, row)
	}
	pins, pinFault := readPins(dir)
	fault = errors.Join(fault, pinFault)
	s.addKeys(pins)
	if asJSON {
		return errors.Join(json.NewEncoder(c.out()).Encode(s), fault)
	}
	return errors.Join(c.printStatus(s, d), fault)
}

// addKeys says of the destination, and of those of programs that run, which key is
// pinned.
func (s *status) addKeys(pins map[string]string) {
	known := map[string]int{} // index in s.Keys
	add := func(url, seen string) {
		from := origin(url)
		if from == "" || pins[from] == "" && seen == "" {
			return
		}
		key := statusKey{from, pins[from], seen, seen != "" && pins[from] != "" && seen != pins[from]}
		if i, is := known[from]; !is {
			known[from] = len(s.Keys)
			s.Keys = append(s.Keys, key)
		} else if has := s.Keys[i]; key.Changed && !has.Changed || has.Seen == "" {
			s.Keys[i] = key // of several programs the one counts that has seen another key
		}
	}
	for _, r := range s.Running {
		add(r.URL, r.Key)
	}
	add(s.URL, "")
}

func (c Command) printStatus(s status, d Decision) error {
	out := c.out()
	for _, r := range s.Running {
		fmt.Fprintf(out, "A program that runs here: on (%s), sending to %s.\n", r.Reason, r.URL)
		fmt.Fprintf(out, "  session      %s, process %d, since %s\n", r.ID, r.Process, readable(r.Started))
		fmt.Fprintf(out, "  events       %d queued, %d sent, %d refused, %d dropped\n", r.Queued, r.Sent, r.Refused, r.Dropped)
		if len(r.Held) > 0 {
			fmt.Fprintf(out, "  held back    %s, at least until its next start\n", strings.Join(r.Held, ", "))
		}
		switch {
		case r.LastTime == "" && r.UnderWay:
			fmt.Fprintln(out, "  last answer  none yet; the first request is under way")
		case r.LastTime == "":
			fmt.Fprintln(out, "  last answer  none, because nothing was sent yet")
		case r.LastStatus == 0:
			fmt.Fprintf(out, "  last answer  none (%s), at %s\n", r.LastFault, readable(r.LastTime))
		case r.LastReason != "":
			fmt.Fprintf(out, "  last answer  %d (%s), at %s\n", r.LastStatus, r.LastReason, readable(r.LastTime))
		default:
			fmt.Fprintf(out, "  last answer  %d, at %s\n", r.LastStatus, readable(r.LastTime))
		}
	}
	for _, u := range s.Unasked {
		since := ""
		if u.Started != "" {
			since = ", since " + readable(u.Started)
		}
		fmt.Fprintf(out, "A program that runs here cannot be asked what it sends, because no socket of it answers: session %s%s.\n", u.ID, since)
	}
	fmt.Fprintf(out, "Telemetry of a start here: %s.\n", d)
	if s.StateDir == "" {
		fmt.Fprintln(out, "There is no state folder.")
	} else {
		fmt.Fprintf(out, "The state folder is %s.\n", s.StateDir)
	}
	said := map[string]bool{"": true}
	for _, to := range append(slices.Clone(s.Running), Running{URL: s.URL}) {
		if words := exposed(to.URL); !said[words] {
			said[words] = true
			fmt.Fprintln(out, words)
		}
	}
	if len(s.Running) == 0 && s.Waiting > 0 {
		fmt.Fprintf(out, "Events that wait in the state folder: %d.\n", s.Waiting)
	}
	for _, h := range s.Held {
		what := "New in this version, and off"
		if strings.HasPrefix(h, heldAll) { // nothing need be new
			what = "Off"
		}
		fmt.Fprintf(out, "%s until you accept it with the command \"on\": %s.\n", what, h)
	}
	if len(s.Travel) > 0 {
		fmt.Fprintf(out, "New in this version, and cannot be held back because it travels with each request: %s; \"plan\" says what it is.\n", strings.Join(s.Travel, ", "))
	}
	for _, k := range s.Keys {
		switch {
		case k.Changed:
			fmt.Fprintf(out, "The collector's key has changed: %s.\n", sayKey(c.Config.StateDir, k.Origin))
		case k.Pinned != "":
			fmt.Fprintf(out, "The key of %s is pinned: %s.\n", k.Origin, k.Pinned)
		}
	}
	for _, k := range s.Sessions {
		for _, to := range k.sentTo() {
			at := ""
			if len(k.Further) > 0 {
				at = " at " + origin(to.URL)
			}
			switch {
			case to.Erased:
				fmt.Fprintf(out, "Session %s was erased%s; its secret is kept for the rest.\n", k.ID, at)
			case to.Fault != "":
				fmt.Fprintf(out, "The erasure of session %s%s was asked for at %s and is not proven; \"forget\" tries it again: %s.\n", k.ID, at, readable(to.Asked), to.Fault)
			case to.Asked != "":
				fmt.Fprintf(out, "The erasure of session %s%s waits for the collector since %s.\n", k.ID, at, readable(to.Asked))
			}
		}
	}
	if len(s.Sessions) == 0 {
		words := "No session is kept here."
		if s.unread {
			words = "What sessions are kept here, and which run, cannot be seen."
		}
		_, err := fmt.Fprintln(out, words)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STARTED\tSESSION\tSENT TO\tSECRET")
	for _, k := range s.Sessions {
		var urls []string
		for _, to := range k.sentTo() {
			urls = append(urls, to.URL)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", readable(k.Started), k.ID, strings.Join(urls, " and "), k.Secret)
	}
	return w.Flush()
}

// readable turns a time of RFC 3339 in UTC into one for people.
func readable(s string) string {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return printable(s)
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
