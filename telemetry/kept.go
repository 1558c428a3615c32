package telemetry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// A KeptSession is a session whose secret is in a state folder.
type KeptSession struct {
	App     string
	ID      plan.ID
	Secret  plan.Secret
	Started time.Time

	// SentTo is every destination that events of the session may have gone to, that
	// of its run first. There are others where the session ended with events that
	// waited and a later start had another destination.
	SentTo []Destination

	path   string
	number int64 // one more than that of any session here at its start; 0 where an older version has begun it
}

// A Destination is one that events of a kept session may have gone to.
type Destination struct {
	URL string

	// Asked is when the erasure of the session was asked for there, if it could not
	// be had. Running programs try it again; Fault says why they do
	// not, in one sentence.
	Asked time.Time
	Fault string

	// Erased says that the session was erased there; it is kept for the others.
	Erased bool
}

// sameDestination reports whether two URLs are one to whoever erases: the
// collector's routes are those of the origin.
func sameDestination(a, b string) bool {
	from := origin(a)
	return a == b || from != "" && from == origin(b)
}

// at returns the index of a destination, or -1.
func (k KeptSession) at(url string) int {
	return slices.IndexFunc(k.SentTo, func(d Destination) bool { return sameDestination(d.URL, url) })
}

// begun reports whether somebody has asked for the session's erasure.
func (k KeptSession) begun() bool {
	return slices.ContainsFunc(k.SentTo, func(d Destination) bool { return d.Erased || !d.Asked.IsZero() })
}

// owes reports whether an erasure was asked for that a collector still owes.
func (k KeptSession) owes() bool {
	return k.begun() && slices.ContainsFunc(k.SentTo, func(d Destination) bool { return !d.Erased && !amplitudeHost(d.URL) })
}

// sessionFile is the path of a session's file.
func sessionFile(stateDir, id string) string {
	return filepath.Join(stateDir, "sessions", id+".json")
}

// Kept lists the sessions in a state folder in the order in which they began. It
// does not go by the clock, which may have been wrong. A folder that is not there
// holds none. Files that cannot be read as a session are left alone and named in the
// error, beside the sessions that could be read.
func Kept(stateDir string) ([]KeptSession, error) {
	if stateDir == "" {
		return nil, nil
	}
	dir := filepath.Join(stateDir, "sessions")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state folder; choose another one, or change its owner: %w", err)
	}
	var sessions []KeptSession
	var faults []error
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		s, err := readKept(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // erased in between
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		sessions = append(sessions, s)
	}
	slices.SortStableFunc(sessions, func(a, b KeptSession) int {
		return cmp.Or(cmp.Compare(a.number, b.number), a.Started.Compare(b.Started))
	})
	return sessions, errors.Join(faults...)
}

// keptSecret is the file that holds a session's secret in the state folder.
type keptSecret struct {
	App    string `json:"app"`
	ID     string `json:"user_id"`
	Secret string `json:"secret"`
	keptDestination
	Started string            `json:"started"`
	Number  int64             `json:"number,omitempty"`
	Further []keptDestination `json:"further,omitempty"`
}

// keptDestination is a Destination in that file, and in the status for machines.
type keptDestination struct {
	URL    string `json:"url"`
	Asked  string `json:"erase_asked,omitempty"`
	Fault  string `json:"erase_fault,omitempty"`
	Erased bool   `json:"erased,omitempty"`
}

func (d Destination) kept() keptDestination {
	k := keptDestination{URL: d.URL, Fault: d.Fault, Erased: d.Erased}
	if !d.Asked.IsZero() {
		k.Asked = d.Asked.UTC().Format(time.RFC3339)
	}
	return k
}

func (d keptDestination) read() (Destination, error) {
	out := Destination{URL: d.URL, Fault: d.Fault, Erased: d.Erased}
	var err error
	if d.Asked != "" {
		out.Asked, err = time.Parse(time.RFC3339, d.Asked)
	}
	return out, err
}

func readKept(path string) (KeptSession, error) {
	b, err := readFile(path, maxFile)
	if err != nil && !errors.Is(err, errTooLarge) {
		return KeptSession{}, fmt.Errorf("read a kept session: %w", err)
	}
	var k keptSecret
	if json.Unmarshal(b, &k) != nil {
		return KeptSession{}, fmt.Errorf("%s is not a kept session; move it away", path)
	}
	secret, err := plan.ParseSecret(k.Secret)
	if err != nil {
		return KeptSession{}, fmt.Errorf("%s does not hold a secret; move it away", path)
	}
	if k.ID != secret.ID().String() {
		// Whoever erased by such a secret would be told that nothing was there, and lose
		// the file.
		return KeptSession{}, fmt.Errorf("%s is damaged: its secret is not that of its user_id; move it away", path)
	}
	s := KeptSession{App: k.App, ID: secret.ID(), Secret: secret, path: path, number: k.Number}
	if s.Started, err = time.Parse(time.RFC3339, k.Started); err != nil {
		return KeptSession{}, fmt.Errorf("%s does not hold a time; move it away", path)
	}
	for _, d := range append([]keptDestination{k.keptDestination}, k.Further...) {
		to, err := d.read()
		if err != nil {
			return KeptSession{}, fmt.Errorf("%s does not hold a time; move it away", path)
		}
		if _, err := parseEndpoint(to.URL); err != nil {
			return KeptSession{}, fmt.Errorf("%s does not hold the URL of a destination; move it away", path)
		}
		s.SentTo = append(s.SentTo, to)
	}
	return s, nil
}

// write keeps the session in its file.
func (k KeptSession) write() error {
	file := keptSecret{App: k.App, ID: k.ID.String(), Secret: k.Secret.Reveal(), Started: k.Started.UTC().Format(time.RFC3339Nano), Number: k.number}
	for i, d := range k.SentTo {
		if i == 0 {
			file.keptDestination = d.kept()
		} else {
			file.Further = append(file.Further, d.kept())
		}
	}
	b, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	if err := makeDir(filepath.Dir(k.path)); err != nil {
		return err
	}
	return replaceFile(k.path, append(b, '\n'))
}

// update changes the session's file and returns what it holds then. Other
// processes may have changed the file since it was read, so it is read again under
// a lock. When every destination has erased the session the file goes; one that is
// gone already is fs.ErrNotExist.
func (k KeptSession) update(change func(*KeptSession)) (KeptSession, error) {
	unlock, err := lockDir(filepath.Dir(k.path))
	if err != nil {
		return k, err
	}
	defer unlock()
	now, err := readKept(k.path)
	if err != nil {
		return k, err
	}
	change(&now)
	if !slices.ContainsFunc(now.SentTo, func(d Destination) bool { return !d.Erased }) {
		return now, os.Remove(k.path)
	}
	return now, now.write()
}

// note keeps how a destination has answered the request to erase the session, and
// returns what the session's file holds then.
func (k KeptSession) note(url string, failed error) (KeptSession, error) {
	now, err := k.update(func(k *KeptSession) {
		i := k.at(url)
		if i < 0 {
			return // somebody has edited the file meanwhile
		}
		d := &k.SentTo[i]
		if failed == nil {
			*d = Destination{URL: d.URL, Erased: true}
			return
		}
		d.Fault = ""
		if later := (*laterError)(nil); !errors.As(failed, &later) {
			d.Fault = failed.Error()
		}
		if d.Asked.IsZero() {
			d.Asked = time.Now()
		}
	})
	switch {
	case errors.Is(err, fs.ErrNotExist): // another process has had the receipts
		return now, nil
	case err != nil && failed == nil:
		return now, fmt.Errorf("the session was erased, but its secret is still in the state folder: %w", err)
	case err != nil:
		return now, fmt.Errorf("the request cannot be kept in the state folder either: %w", err)
	}
	return now, nil
}

// errForgotten says of a session that it is to be erased, or was.
var errForgotten = errors.New("the session was forgotten")

// extend adds a destination to the session's file, so that the session can be erased
// there too. When it returns nil the file is on the disk.
func (k KeptSession) extend(url string) error {
	forgotten := false
	_, err := k.update(func(k *KeptSession) {
		if forgotten = k.begun(); !forgotten && k.at(url) < 0 {
			k.SentTo = append(k.SentTo, Destination{URL: url})
		}
	})
	if forgotten || errors.Is(err, fs.ErrNotExist) {
		return errForgotten
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(k.path))
}

// stateDir is the folder that the session is kept in.
func (k KeptSession) stateDir() string { return filepath.Dir(filepath.Dir(k.path)) }
