package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// A KeptSession is a session whose secret is in a state folder.
type KeptSession struct {
	App     string
	ID      plan.ID
	Secret  plan.Secret
	URL     string // the destination at the time
	Started time.Time

	// Asked is when the erasure of the session was asked for, if the collector
	// could not be had. Running programs of the same app try it again; Fault says
	// why they do not, in one sentence.
	Asked time.Time
	Fault string

	path   string
	number int64 // one more than that of any session here at its start; 0 where an older version has begun it
}

// Kept lists the sessions in a state folder in the order in which they began. It
// does not go by the clock, which may have been wrong. A folder that is
// not there holds none. Files that cannot be read as a session are left alone
// and named in the error, beside the sessions that could be read.
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
	App     string `json:"app"`
	ID      string `json:"user_id"`
	Secret  string `json:"secret"`
	URL     string `json:"url"`
	Started string `json:"started"`
	Number  int64  `json:"number,omitempty"`
	Asked   string `json:"erase_asked,omitempty"`
	Fault   string `json:"erase_fault,omitempty"`
}

func readKept(path string) (KeptSession, error) {
	b, err := os.ReadFile(path)
	if err != nil {
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
	started, err := time.Parse(time.RFC3339, k.Started)
	if err != nil {
		return KeptSession{}, fmt.Errorf("%s does not hold a time; move it away", path)
	}
	s := KeptSession{App: k.App, ID: secret.ID(), Secret: secret, URL: k.URL, Started: started, Fault: k.Fault, path: path, number: k.Number}
	if k.Asked != "" {
		if s.Asked, err = time.Parse(time.RFC3339, k.Asked); err != nil {
			return KeptSession{}, fmt.Errorf("%s does not hold a time; move it away", path)
		}
	}
	return s, nil
}

// write keeps the session in its file.
func (k KeptSession) write() error {
	file := keptSecret{
		App: k.App, ID: k.ID.String(), Secret: k.Secret.Reveal(), URL: k.URL,
		Started: k.Started.UTC().Format(time.RFC3339Nano), Number: k.number, Fault: k.Fault,
	}
	if !k.Asked.IsZero() {
		file.Asked = k.Asked.UTC().Format(time.RFC3339)
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

// stateDir is the folder that the session is kept in.
func (k KeptSession) stateDir() string { return filepath.Dir(filepath.Dir(k.path)) }

// ErrAmplitude is returned by Forget where the events went to Amplitude itself:
// only the owner of the project there can erase them.
var ErrAmplitude = errors.New("the events went to Amplitude, where only the project's owner can erase them; nothing was erased")

// A laterError is an answer, or the lack of one, that may be another one later.
type laterError struct {
	err  error
	wait time.Duration // that the collector asks for
}

func (e *laterError) Error() string { return e.err.Error() }
func (e *laterError) Unwrap() error { return e.err }

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
	raw     []byte // the receipt as it came; also beside errors about its key
	receipt *receipt
	path    string // where it is kept; "" without a state folder
}

// erase asks for the erasure of a session, checks the receipt, pins the
// collector's key if there is none yet, and keeps the receipt in the state
// folder.
func (c Config) erase(ctx context.Context, endpoint string, secret plan.Secret) (erasure, error) {
	answer, err := c.ask(ctx, endpoint, "/v1/forget", secret)
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
	from := origin(endpoint)
	pinned, err := pinKey(c.StateDir, from, r.key)
	if err != nil {
		return e, err
	}
	if pinned != r.key {
		return e, fmt.Errorf("the receipt proves nothing: %s and forget again", sayKey(c.StateDir, from))
	}
	e.path, err = keepReceipt(c.StateDir, raw, r)
	return e, err
}

// maxShown bounds what is read of an answer to show: 64 MiB hold some 200,000
// events.
const maxShown = 64 << 20

// ask shows the secret to one of the collector's own routes, and returns the body
// of a 200.
func (c Config) ask(ctx context.Context, endpoint, route string, secret plan.Secret) ([]byte, error) {
	if amplitudeHost(endpoint) {
		return nil, fmt.Errorf("%w; the owner needs the user_id %s", ErrAmplitude, secret.ID())
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err // parseEndpoint has made it
	}
	u.Path, u.RawPath, u.RawQuery = route, "", ""
	body := append(append([]byte(`{"secret":"`), secret.Reveal()...), `"}`...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the collector: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["User-Agent"] = []string{""} // net/http then sends none
	d, err := newSender(endpoint, c.withDefaults())
	if err != nil {
		return nil, err
	}
	defer d.close()
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, &laterError{err: fmt.Errorf("the collector cannot be reached, so nothing was done: %w", err)}
	}
	defer resp.Body.Close()
	most := int64(maxReceipt)
	if route == "/v1/show" {
		most = maxShown
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case isLater(resp.StatusCode):
		return nil, &laterError{
			err:  fmt.Errorf("the collector answered %d, so nothing was done; try again later", resp.StatusCode),
			wait: retryAfter(resp.Header),
		}
	case err != nil:
		return nil, &laterError{err: errors.New("the collector's answer was cut off")}
	case resp.StatusCode != http.StatusOK && route == "/v1/forget":
		return nil, errNotErased(resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the destination answered %d; check that its URL is a collector's", resp.StatusCode)
	case int64(len(answer)) > most:
		return nil, errors.New("the destination's answer is too large; check that its URL is a collector's")
	}
	return answer, nil
}

func errNotErased(status int) error {
	return fmt.Errorf("the destination answered %d and gave no receipt, so count on nothing being erased; check that its URL is a collector's", status)
}

// isLater reports whether a status says that the same may go well later.
func isLater(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// retryAfter reads the header of that name, in seconds, an hour at most.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(h.Get("Retry-After"), 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, time.Hour)
}

// Forget erases the session as the function of that name does, keeps the receipt,
// and takes the session's secret, and what it had not sent, out of the state
// folder. If the collector cannot be had, the request is kept there instead; see
// Asked. A session that is still live goes on; see Command.Forget.
func (k KeptSession) Forget(ctx context.Context) (receipt []byte, err error) {
	e, err := k.forget(ctx, Config{})
	return e.raw, err
}

func (k KeptSession) forget(ctx context.Context, cfg Config) (erasure, error) {
	cfg.StateDir = k.stateDir()
	// What a session that has ended had not sent would be thrown away there. A
	// live session's file is its own.
	var unsent error
	if !amplitudeHost(k.URL) {
		unsent = deleteSpool(filepath.Join(spoolDir(cfg.StateDir), k.ID.String()+spoolEnding))
	}
	e, err := cfg.erase(ctx, k.URL, k.Secret)
	if err == nil && unsent == nil {
		if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return e, fmt.Errorf("the session was erased, but its secret is still in the state folder: %w", err)
		}
		return e, nil
	}
	if err != nil && !errors.Is(err, ErrAmplitude) {
		var later *laterError
		k.Fault = ""
		if !errors.As(err, &later) {
			k.Fault = err.Error()
		}
		if k.Asked.IsZero() {
			k.Asked = time.Now()
		}
		if _, gone := os.Stat(k.path); gone == nil { // another process may have had the receipt
			if kept := k.write(); kept != nil {
				err = errors.Join(err, fmt.Errorf("the request cannot be kept in the state folder either: %w", kept))
			}
		}
	}
	return e, errors.Join(err, unsent)
}
