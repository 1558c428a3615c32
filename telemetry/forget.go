package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// ErrAmplitude is returned by Forget where the events went to Amplitude itself:
// only the owner of the project there can erase them.
var ErrAmplitude = errors.New("the events went to Amplitude, where only the project's owner can erase them; nothing was erased there")

// Forget asks the collector behind endpoint to erase the session that secret (64
// hex digits) belongs to, and returns the collector's receipt, a JSON object whose
// signature was checked. It connects also where telemetry is off: somebody has
// asked for it.
func Forget(ctx context.Context, endpoint, secret string) (receipt []byte, err error) {
	s, err := plan.ParseSecret(secret)
	if err != nil {
		return nil, err
	}
	if endpoint, err = parseEndpoint(endpoint); err != nil {
		return nil, err
	}
	e, err := Config{}.erase(ctx, endpoint, s)
	return e.raw, err
}

// An erasure is what came of asking for one.
type erasure struct {
	raw      []byte // the receipt as it came; also beside errors about its key or the state folder
	receipt  *receipt
	path     string // where it is kept; "" without a state folder
	doubtful bool   // its key is not the one that is pinned, or that cannot be told
}

// erase asks for the erasure of a session, checks the receipt, pins the
// collector's key if there is none yet, and keeps the receipt in the state
// folder.
func (c Config) erase(ctx context.Context, endpoint string, secret plan.Secret) (erasure, error) {
	answer, err := c.askToForget(ctx, endpoint, secret)
	if err != nil {
		return erasure{}, err
	}
	raw := bytes.TrimSpace(answer)
	r, err := parseReceipt(raw)
	switch {
	case errors.Is(err, errChanged):
		return erasure{}, errors.New("the answer of the destination is a receipt whose signature does not fit, so count on nothing being erased; ask the collector's owner")
	case err != nil:
		return erasure{}, errNotErased(http.StatusOK)
	case !r.of(secret):
		return erasure{}, errors.New("the destination's receipt is about another session, so count on nothing being erased; ask the collector's owner")
	}
	e := erasure{raw: raw, receipt: r}
	if c.StateDir == "" {
		return e, nil
	}
	// Whatever is wrong with the folder or the key: the erasure has happened, and this
	// may be the only proof of it that there will ever be.
	from := origin(endpoint)
	pinned, unpinned := pinKey(c.StateDir, from, r.key)
	path, unkept := keepReceipt(c.StateDir, raw, r)
	e.path = path
	where := "its receipt is kept in " + path
	if unkept != nil {
		where = "its receipt is nowhere but here, because it cannot be kept"
	}
	switch {
	case unpinned == nil && pinned != r.key:
		e.doubtful = true
		return e, fmt.Errorf("the destination says that the session was erased, and %s, but it proves nothing until its key is accepted: %s", where, sayKey(c.StateDir, from))
	case unkept != nil:
		return e, fmt.Errorf("the session was erased, but %s: %w", where, unkept)
	case unpinned != nil:
		if pins, err := readPins(c.StateDir); err == nil && pins[from] == "" { // the first contact
			return e, fmt.Errorf("the session was erased, and %s, but the collector's key cannot be pinned: %w", where, unpinned)
		}
		e.doubtful = true
		return e, fmt.Errorf("the destination says that the session was erased, and %s, but whether its key is the collector's cannot be told: %w", where, unpinned)
	}
	return e, nil
}

// Forget erases the session as the function of that name does, at every destination
// that its events may have gone to and that has not erased it yet, and keeps the
// receipts. When all have erased it the secret goes from the state folder; what it
// had not sent is deleted at once. What cannot be had is noted there; see
// Destination. A session that is still live goes on; see Command.Forget.
func (k KeptSession) Forget(ctx context.Context) (receipts [][]byte, err error) {
	findings, fault := k.forget(ctx, Config{}, nil)
	faults := []error{fault}
	for _, a := range findings {
		if a.raw != nil {
			receipts = append(receipts, a.raw)
		}
		faults = append(faults, a.err)
	}
	return receipts, errors.Join(faults...)
}

// A finding is what came of asking one destination for an erasure.
type finding struct {
	erasure
	url string
	err error
}

// forget asks, one after another, the destinations that have not erased the session
// yet, all of them or those that ask names. fault is beside their answers.
func (k KeptSession) forget(ctx context.Context, cfg Config, ask func(Destination) bool) (findings []finding, fault error) {
	cfg.StateDir = k.stateDir()
	// What a session that has ended had not sent would be thrown away there. A
	// live session's file is its own.
	if slices.ContainsFunc(k.SentTo, func(d Destination) bool { return !amplitudeHost(d.URL) }) {
		fault = deleteSpool(filepath.Join(spoolDir(cfg.StateDir), k.ID.String()+spoolEnding))
	}
	asked := map[string]bool{}
	for {
		// A program that runs may add a destination meanwhile, so the list is looked at
		// anew for each.
		i := slices.IndexFunc(k.SentTo, func(d Destination) bool {
			return !d.Erased && !asked[d.URL] && (ask == nil || ask(d))
		})
		if i < 0 {
			return findings, fault
		}
		a := finding{url: k.SentTo[i].URL}
		asked[a.url] = true
		a.erasure, a.err = cfg.erase(ctx, a.url, k.Secret)
		if !errors.Is(a.err, ErrAmplitude) {
			var unkept error
			k, unkept = k.note(a.url, a.err)
			switch {
			case unkept == nil:
			case a.err != nil && a.receipt != nil: // that the folder cannot be written is said already
				a.err = fmt.Errorf("%w; the session's secret is still there", a.err)
			case a.err == nil:
				a.err = unkept
			default:
				a.err = fmt.Errorf("%w; %w", a.err, unkept)
			}
		}
		findings = append(findings, a)
	}
}
