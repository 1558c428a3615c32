package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// waiting is what a spool file holds, of a live session or of one that has ended.
type waiting struct {
	described
	left []slot
}

// readSpools reads the spool files of an app without touching them, the oldest
// session first. What cannot be read is left out: a live session may be in the
// middle of a write. So is what belongs to a session that was forgotten.
func readSpools(stateDir, app string) []waiting {
	if stateDir == "" {
		return nil
	}
	paths, err := filepath.Glob(filepath.Join(globEscape(spoolDir(stateDir)), "*"+spoolEnding))
	if err != nil {
		return nil
	}
	var found []waiting
	for _, path := range paths {
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
			continue // as a start does
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		b, err := readSpool(f)
		f.Close()
		if err != nil {
			continue
		}
		d, _, left, _, err := parseSpool(b)
		if err != nil || d.App != app || len(left) == 0 {
			continue
		}
		if _, way, _ := d.passageTo("", stateDir); way != forgotten {
			found = append(found, waiting{d, left})
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Started < found[j].Started })
	return found
}

// globEscape protects the characters of a path that Glob would expand.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// Preview prints the next request as it would be sent, headers and body, byte
// for byte. A program that runs is asked; where none does, it is what a session
// that has ended has left. The same code makes it and sends it. With nothing that
// waits it says so, and shows a request with one event of each type and made-up
// values; so it does where there is no destination.
func (c Command) Preview(ctx context.Context) error {
	p, err := c.Client.Plan()
	if err != nil {
		return err
	}
	out := c.out()
	lines := findRunning(ctx, c.Config.StateDir, p.App)
	shown := false
	for _, l := range lines {
		b, err := l.ask(ctx, http.MethodGet, "next")
		if err != nil {
			return err
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
		shown = shown || len(b) > 0
	}
	if shown {
		return nil
	}
	cfg := c.Config.withDefaults()
	target, key := cfg.destination()
	like := "with made-up values"
	switch {
	case len(lines) > 0:
		target, cfg.APIKey, cfg.BuiltInAPIKey = lines[0].URL, "", ""
		like = "as the program that runs here would send it, with made-up values and without its API key"
	case target == "" && key != "":
		target = AmplitudeURL
	case target == "":
		fmt.Fprintln(out, "No destination is configured, so nothing would be sent anywhere. In what follows collector.example stands for one.")
		target = "https://collector.example"
	}
	if d, err := Decide(c.Config); len(lines) == 0 && err == nil && !d.On && d.Source != "destination" {
		fmt.Fprintf(out, "Telemetry of a start here is off (%s), so nothing would be sent.\n", d.Reason)
	}
	endpoint, err := parseEndpoint(target)
	if err != nil {
		return err
	}
	s := session{cfg: cfg, url: endpoint, hold: holdBack(cfg.StateDir, p)}
	var found []waiting
	if len(lines) == 0 {
		found = readSpools(cfg.StateDir, p.App)
	}
	if len(found) == 0 {
		fmt.Fprintf(out, "Nothing waits to be sent. This is what a request looks like, %s:\n\n", like)
		found = []waiting{s.example(p, c.Client.session)}
	}
	next := found[0]
	next.left = next.left[:min(len(next.left), maxBatch)]
	body, _ := s.encode(nil, &next.described, next.left)
	var b bytes.Buffer
	if err := s.write(&b, body); err != nil {
		return err
	}
	_, err = out.Write(b.Bytes())
	return err
}

// Sent prints the last requests of the programs that run, the oldest first,
// headers and body, byte for byte.
func (c Command) Sent(ctx context.Context) error {
	lines := findRunning(ctx, c.Config.StateDir, c.Client.plan.App)
	if len(findUnasked(c.Config.StateDir, c.Client.plan.App, lines)) > 0 {
		return errors.New("the program that runs on this state folder cannot be asked, because no socket of it answers, and what was sent is remembered by the program that sent it; what the collector has is shown by \"show --remote\"")
	}
	if len(lines) == 0 {
		return errors.New("no program runs on this state folder, and what was sent is remembered by the program that sent it, for as long as it runs; what the collector has is shown by \"show --remote\"")
	}
	none := true
	for _, l := range lines {
		b, err := l.ask(ctx, http.MethodGet, "sent")
		if err != nil {
			return err
		}
		if _, err := c.out().Write(b); err != nil {
			return err
		}
		none = none && len(b) == 0
	}
	if none {
		fmt.Fprintln(c.out(), "Nothing was sent yet.")
	}
	return nil
}

// example makes up a session with one event of each type.
func (s *session) example(p *plan.Plan, values []sessionValue) waiting {
	s.described = described{App: p.App, Started: time.Now().UnixMilli(), Plan: p}
	s.secret = plan.Secret{}
	s.ID = s.secret.ID().String()
	s.Held = s.hold.own
	s.Heads = s.makeHeads(values)
	w := waiting{described: s.described}
	for i := range p.Events {
		if s.hold.events[i] {
			continue
		}
		w.left = append(w.left, slot{where: uint64(i) | uint64(i)<<56, seq: int64(i)})
	}
	return w
}

// newRequest makes the request for a body. It is the one place that decides
// about headers.
func newRequest(ctx context.Context, endpoint string, body []byte, zip bool) (*http.Request, error) {
	if zip {
		body = compress(body)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["User-Agent"] = []string{""} // net/http then sends none
	if zip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	return req, nil
}

// hiddenCredentials stands in a preview for what the proxy gets to know the user
// by. It is sent to the proxy and to nobody else.
const hiddenCredentials = "Basic (user name and password of the proxy, not shown)"

// write writes the request for a body as it travels. A proxy is spoken to in
// another form where the destination is http; where it is https the proxy is only
// asked for a connection (CONNECT), and what travels in it is as without one.
func (s *session) write(b *bytes.Buffer, body []byte) error {
	req, err := newRequest(context.Background(), s.url, body, s.cfg.Gzip)
	if err != nil {
		return err
	}
	proxy, err := s.cfg.proxy(req)
	if err != nil {
		return err
	}
	write := req.Write
	if proxy != nil && req.URL.Scheme == "http" && (proxy.Scheme == "http" || proxy.Scheme == "https") {
		write = req.WriteProxy
		if proxy.User != nil {
			req.Header.Set("Proxy-Authorization", hiddenCredentials)
		}
	}
	if err := write(b); err != nil {
		return err
	}
	b.WriteByte('\n')
	return nil
}

// A trial is how a destination answered.
type trial struct {
	status   int
	took     time.Duration
	proxy    string // host of the proxy, if there is one
	takes    bool   // an upload endpoint's own yes
	wrongKey bool
}

// tryDestination sends a request without an event.
func tryDestination(ctx context.Context, endpoint, key string, cfg Config) (trial, error) {
	d, err := newSender(endpoint, cfg)
	if err != nil {
		return trial{}, err
	}
	defer d.close()
	req, err := newRequest(ctx, endpoint, amplitude.AppendTail(amplitude.AppendHead(nil, key)), cfg.Gzip)
	if err != nil {
		return trial{}, err
	}
	var t trial
	if proxy, err := cfg.proxy(req); err == nil && proxy != nil {
		t.proxy = proxy.Host // not its user name and password
	}
	start := time.Now()
	resp, err := d.client.Do(req)
	if err != nil {
		return trial{}, fmt.Errorf("the destination cannot be reached: %w", cause(err))
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	r := amplitude.ParseResponse(answer)
	t.status, t.took = resp.StatusCode, time.Since(start)
	t.takes = t.status == http.StatusOK && r.Code == http.StatusOK
	t.wrongKey = strings.HasPrefix(r.Error, "Invalid API key")
	return t, nil
}
