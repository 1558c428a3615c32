package telemetry

import (
	"bytes"
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
	"sort"
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

	path string
}

// Kept lists the sessions in a state folder, the oldest first. A folder that is
// not there holds none. Files that cannot be read as a session are left alone
// and named in the error, beside the sessions that could be read.
func Kept(stateDir string) ([]KeptSession, error) {
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
		if err != nil {
			faults = append(faults, err)
			continue
		}
		sessions = append(sessions, s)
	}
	sort.Slice(sessions, func(i, j int) bool { return sessions[i].Started.Before(sessions[j].Started) })
	return sessions, errors.Join(faults...)
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
	return KeptSession{App: k.App, ID: secret.ID(), Secret: secret, URL: k.URL, Started: started, path: path}, nil
}

// ErrAmplitude is returned by Forget where the events went to Amplitude itself:
// only the owner of the project there can erase them.
var ErrAmplitude = errors.New("the events went to Amplitude, where only the project's owner can erase them; nothing was erased")

// Forget asks the collector behind endpoint to erase the session that secret (64
// hex digits) belongs to, and returns the collector's receipt, a JSON object. It
// connects also where telemetry is off: somebody has asked for it.
func Forget(ctx context.Context, endpoint, secret string) (receipt []byte, err error) {
	s, err := plan.ParseSecret(secret)
	if err != nil {
		return nil, err
	}
	if endpoint, err = parseEndpoint(endpoint); err != nil {
		return nil, err
	}
	if amplitudeHost(endpoint) {
		return nil, fmt.Errorf("%w; the owner needs the user_id %s", ErrAmplitude, s.ID())
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err // parseEndpoint has made it
	}
	u.Path, u.RawQuery = "/v1/forget", ""
	body := append(append([]byte(`{"secret":"`), s.Reveal()...), `"}`...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask for the erasure: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["User-Agent"] = []string{""} // net/http then sends none
	d, err := newSender(endpoint, Config{}.withDefaults())
	if err != nil {
		return nil, err
	}
	defer d.close()
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for the erasure; nothing was erased, so try again when the collector can be reached: %w", err)
	}
	defer resp.Body.Close()
	receipt, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK || !json.Valid(receipt) {
		return nil, fmt.Errorf("the destination answered %d and gave no receipt, so count on nothing being erased; check that its URL is a collector's", resp.StatusCode)
	}
	return receipt, nil
}

// Forget erases the session as the function of that name does, and then takes
// its secret, and what it had not sent, out of the state folder.
func (k KeptSession) Forget(ctx context.Context) (receipt []byte, err error) {
	receipt, err = Forget(ctx, k.URL, k.Secret.Reveal())
	if err != nil {
		return nil, err
	}
	// What a session that has ended had not sent would be thrown away there. A
	// live session's file is its own.
	spool := filepath.Join(spoolDir(filepath.Dir(filepath.Dir(k.path))), k.ID.String()+spoolEnding)
	if err := deleteSpool(spool); err != nil {
		return receipt, err
	}
	if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return receipt, fmt.Errorf("the session was erased, but its secret is still in the state folder: %w", err)
	}
	return receipt, nil
}
