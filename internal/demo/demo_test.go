package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// The tests here use the built programs as their users do: a server and a
// collector as processes, each with a folder of its own, and the commands that
// people type. What the server sends passes through a relay of the test.

// The network is fenced: this process talks to loopback only, and so do the
// programs, which get no other address.
func TestMain(m *testing.M) {
	http.DefaultTransport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil || !net.ParseIP(host).IsLoopback() {
			return nil, errors.New("a test dials something else than loopback")
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	os.Exit(m.Run())
}

const digitsDir = "../../testdata/digits"

var digitsModel = filepath.Join(digitsDir, "digits.onnx")

// programs returns the folder of the built programs.
func programs(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("BLINDAI_BIN")
	if bin == "" {
		bin = "../../bin"
	}
	for _, name := range []string{"blindai", "blindai-collector"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Fatalf("%s is missing; build it with: make build", filepath.Join(bin, name))
		}
	}
	return bin
}

func newCollector(t *testing.T, data, addr string) *collector {
	t.Helper()
	c, err := startCollector(t.Context(), programs(t), data, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ends(t, c.process) })
	return c
}

// ends is stop for what has to end well.
func ends(t *testing.T, p *process) {
	t.Helper()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

// restart ends a collector and starts it on the same folder and address.
func (c *collector) restart(t *testing.T, data string) *collector {
	t.Helper()
	ends(t, c.process)
	return newCollector(t, data, strings.TrimPrefix(c.url, "http://"))
}

// exported returns what the collector has.
func (c *collector) exported(t *testing.T) []event {
	t.Helper()
	events, err := c.export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// wait returns what the collector has as soon as that is n events.
func (c *collector) wait(t *testing.T, n int) []event {
	t.Helper()
	events, err := c.waitForEvents(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// post uploads one event that was put together by hand, and returns the status.
func (c *collector) post(t *testing.T, id string, seq int) int {
	t.Helper()
	body := fmt.Sprintf(`{"api_key":%q,"events":[{"user_id":%q,"insert_id":"%s-%d","event_type":"run_model","time":%d,
		"app_version":"1.0.0","device_id":"linux/amd64","user_properties":{"sgx_mode":"SW"},"event_properties":{"uptime":1}}]}`,
		apiKey, id, id, seq, time.Now().UnixMilli())
	resp, err := http.Post(c.url+"/2/httpapi", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// A session is one run of the server, with a state folder of its own.
type session struct {
	*server
	state string
	model string // id of the uploaded model
}

func newSession(t *testing.T, destination string, env []string, flags ...string) *session {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	s, err := startServer(t.Context(), programs(t), state, destination, env, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ends(t, s.process) })
	return &session{server: s, state: state}
}

// use uploads the digit model, if that was not done yet, and runs it n times.
func (s *session) use(t *testing.T, n int) {
	t.Helper()
	if s.model == "" {
		id, err := s.upload(t.Context(), digitsModel)
		if err != nil {
			t.Fatal(err)
		}
		s.model = id
	}
	all, err := readDigits(digitsDir)
	if err != nil {
		t.Fatal(err)
	}
	some := &digits{pixels: all.pixels[:n*perRun*pixelsPerDigit], labels: all.labels[:n*perRun]}
	if _, runs, err := s.classify(t.Context(), s.model, some, t.TempDir()); err != nil || runs != n {
		t.Fatalf("%d runs, want %d (%v)", runs, n, err)
	}
}

// secret returns what the state folder keeps of the session.
func (s *session) secret(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.state, "sessions", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the state folder keeps %d sessions, want 1 (%v)", len(files), err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var kept struct{ Secret string }
	if err := json.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	return kept.Secret
}

// idOf derives a session's id from its secret, as docs and collectors in other
// languages would.
func idOf(t *testing.T, secret string) string {
	t.Helper()
	b, err := hex.DecodeString(secret)
	if err != nil || len(b) != 32 {
		t.Fatal("the secret is not 64 hex digits")
	}
	sum := sha256.Sum256(append([]byte("blindai telemetry session v1\n"), b...))
	return hex.EncodeToString(sum[:16])
}

// blindai runs one of blindai's commands, with telemetry switched off as an
// operator who wants to erase may well have it.
func blindai(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs(t), "blindai"), args...)
	// What it pins and keeps is not to end up in the folder of whoever runs the tests.
	cmd.Env = append(cleanEnv(), "BLINDAI_DISABLE_TELEMETRY=1", "XDG_STATE_HOME="+t.TempDir())
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), log.String(), cmd.ProcessState.ExitCode()
}

// A relay stands between a server and its collector and keeps what passes.
type relay struct {
	url string

	mu          sync.Mutex // guards what follows
	connections int
	requests    []request
	cut         int // as many answers are still to be lost
}

type request struct {
	path   string
	header http.Header
	host   string
	length int64
	body   []byte
}

// events returns how many events the request carries.
func (r request) events() int { return bytes.Count(r.body, []byte(`"event_type"`)) }

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	r := new(relay)
	forward := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) },
		ModifyResponse: func(*http.Response) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.cut > 0 {
				r.cut--
				panic(http.ErrAbortHandler) // cuts the connection; the collector has answered
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.requests = append(r.requests, request{req.URL.Path, req.Header.Clone(), req.Host, req.ContentLength, body})
		r.mu.Unlock()
		req.Body = io.NopCloser(bytes.NewReader(body))
		forward.ServeHTTP(w, req)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.connections++
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

// seen returns the number of connections and the requests so far.
func (r *relay) seen() (connections int, requests []request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections, slices.Clone(r.requests)
}

// waitUntil waits for something that another process does.
func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// logged returns how many lines of the log hold text.
func (p *process) logged(text string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// published is what events/plan.json promises, by where it travels.
type published struct {
	top, user, own []string            // of every event
	event          map[string][]string // of one type
	delivery       []string
}

func readPublished(t *testing.T) published {
	t.Helper()
	b, err := os.ReadFile("../../events/plan.json")
	if err != nil {
		t.Fatal(err)
	}
	type field struct{ Name, In string }
	var p struct {
		Fields []field
		Events []struct {
			Name   string
			Fields []field
		}
		Delivery []field
	}
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	var list published
	for _, f := range p.Fields {
		to := map[string]*[]string{"top": &list.top, "user_properties": &list.user, "event_properties": &list.own}[f.In]
		*to = append(*to, f.Name)
	}
	list.event = map[string][]string{}
	for _, e := range p.Events {
		list.event[e.Name] = nil
		for _, f := range e.Fields {
			list.event[e.Name] = append(list.event[e.Name], f.Name)
		}
	}
	for _, d := range p.Delivery {
		list.delivery = append(list.delivery, d.Name)
	}
	return list
}

// same compares names without regard to their order.
func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func names(v any) []string {
	m, _ := v.(map[string]any)
	return slices.Collect(maps.Keys(m))
}

// number returns the number of an event in its session.
func number(t *testing.T, e event) int {
	t.Helper()
	_, digits, _ := strings.Cut(fmt.Sprint(e["insert_id"]), "-")
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// One run of the server, from its start to the collector's export: each thing
// that happened is there once, and says what is published and no more.
func TestOneRunOfTheServer(t *testing.T) {
	t.Parallel()
	c := newCollector(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	r := newRelay(t, c.url)
	before := time.Now()
	s := newSession(t, r.url, nil)
	d, err := readDigits(digitsDir)
	if err != nil {
		t.Fatal(err)
	}
	if s.model, err = s.upload(t.Context(), digitsModel); err != nil {
		t.Fatal(err)
	}
	correct, runs, err := s.classify(t.Context(), s.model, d, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if correct != d.reported {
		t.Errorf("%d digits are right, but the training script reported %d", correct, d.reported)
	}
	c.wait(t, 2+runs)
	ends(t, s.process)
	after := time.Now()
	events := c.exported(t) // again, for what the end might have added

	if err := checkSent(events, digitsModel, runs); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(digitsModel)
	if err != nil {
		t.Fatal(err)
	}
	id := idOf(t, s.secret(t))
	release, _, _ := blindai(t, "--version")
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(number(t, a), number(t, b)) })
	var order []string
	for i, e := range events {
		order = append(order, fmt.Sprint(e["event_type"]))
		user, _ := e["user_properties"].(map[string]any)
		props, _ := e["event_properties"].(map[string]any)
		for _, f := range []struct {
			name      string
			got, want any
		}{
			{"user_id", e["user_id"], id},
			{"insert_id", e["insert_id"], fmt.Sprintf("%s-%d", id, i)},
			{"app_version", "blindai version " + fmt.Sprint(e["app_version"]) + "\n", release},
			{"device_id", e["device_id"], runtime.GOOS + "/" + runtime.GOARCH},
			{"sgx_mode", user["sgx_mode"], "SW"},
		} {
			if f.got != f.want {
				t.Errorf("event %d: %s is %v, want %v", i, f.name, f.got, f.want)
			}
		}
		if e["event_type"] == "send_model" && props["model_size"] != float64(info.Size()) {
			t.Errorf("model_size is %v, want %d", props["model_size"], info.Size())
		}
		at, _ := e["time"].(float64)
		if at != float64(int64(at)) || int64(at) < before.UnixMilli() || int64(at) > after.UnixMilli() {
			t.Errorf("event %d: time is %.3f, want milliseconds from %d to %d", i, at, before.UnixMilli(), after.UnixMilli())
		}
		uptime, ok := props["uptime"].(float64)
		if !ok || uptime != float64(int64(uptime)) || uptime < 0 || uptime > after.Sub(before).Seconds() {
			t.Errorf("event %d: uptime is %v, want whole seconds up to %.0f", i, props["uptime"], after.Sub(before).Seconds())
		}
	}
	want := append([]string{"started", "send_model"}, slices.Repeat([]string{"run_model"}, runs)...)
	if !slices.Equal(order, want) {
		t.Errorf("the events are %q, want %q", order, want)
	}

	// What left the process is what events/plan.json lists.
	list := readPublished(t)
	sent := 0
	_, requests := r.seen()
	for _, req := range requests {
		if req.path != "/2/httpapi" {
			t.Errorf("a request goes to %s", req.path)
		}
		header := append(slices.Collect(maps.Keys(req.header)), "Host", "insert_id", "api_key")
		if !slices.Contains(header, "Content-Length") {
			header = append(header, "Content-Length") // net/http takes it out of the header
		}
		same(t, "headers, and what else is for delivery", header, list.delivery)
		if got := req.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type is %q", got)
		}
		if req.length != int64(len(req.body)) || "http://"+req.host != r.url {
			t.Errorf("Content-Length is %d for %d bytes, Host is %s", req.length, len(req.body), req.host)
		}
		var body map[string]any
		if err := json.Unmarshal(req.body, &body); err != nil {
			t.Fatal(err)
		}
		same(t, "the body", names(body), []string{"api_key", "events"})
		if body["api_key"] != apiKey {
			t.Errorf("api_key is %v", body["api_key"])
		}
		batch, _ := body["events"].([]any)
		sent += len(batch)
		for _, v := range batch {
			e, _ := v.(map[string]any)
			same(t, "an event", names(e), append([]string{"event_type", "insert_id", "user_properties", "event_properties"}, list.top...))
			same(t, "user_properties", names(e["user_properties"]), list.user)
			own, known := list.event[fmt.Sprint(e["event_type"])]
			if !known {
				t.Errorf("event_type %v is not published", e["event_type"])
			}
			same(t, "event_properties", names(e["event_properties"]), append(own, list.own...))
		}
	}
	if sent != len(events) {
		t.Errorf("%d events were sent and %d are there", sent, len(events))
	}
}

// The operator's list, the collector's and the repository's are one.
func TestOnePlan(t *testing.T) {
	t.Parallel()
	c := newCollector(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	file, err := os.ReadFile("../../events/plan.json")
	if err != nil {
		t.Fatal(err)
	}
	if printed, _, _ := blindai(t, "telemetry", "plan", "--json"); printed != string(file) {
		t.Errorf("blindai telemetry plan --json prints another plan than events/plan.json: %s", printed)
	}
	status, body, err := c.get(t.Context(), "/v1/plan/blindai")
	if err != nil || status != http.StatusOK || !bytes.Equal(body, file) {
		t.Errorf("the collector publishes another plan than events/plan.json (%d, %v): %s", status, err, body)
	}
}

// Off means nothing: no connection, no event, no file. The first case shows
// that the others would be seen.
// TestFilesAreForTheirOwner: whoever else has an account on the machine reads
// neither events nor secrets, also not out of a copy of a single file.
func TestFilesAreForTheirOwner(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	c := newCollector(t, data, "127.0.0.1:0")
	s := newSession(t, c.url, nil)
	s.use(t, 1)
	c.wait(t, 3)
	files := 0
	for _, dir := range []string{data, s.state} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", filepath.Base(path), info.Mode())
			}
			if !d.IsDir() {
				files++
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if files < 4 {
		t.Errorf("only %d files were looked at", files)
	}
}

func TestOff(t *testing.T) {
	t.Parallel()
	const runs = 2
	for _, tt := range []struct {
		name   string
		env    []string
		flags  []string
		reason string // "" is on
	}{
		{"nothing says off", nil, nil, ""},
		{"no is no", []string{"BLINDAI_DISABLE_TELEMETRY=0", "DO_NOT_TRACK=false"}, nil, ""},
		{"BLINDAI_DISABLE_TELEMETRY", []string{"BLINDAI_DISABLE_TELEMETRY=1"}, nil, "the environment variable BLINDAI_DISABLE_TELEMETRY is set"},
		{"DO_NOT_TRACK", []string{"DO_NOT_TRACK=1"}, nil, "the environment variable DO_NOT_TRACK is set"},
		{"--no-telemetry", nil, []string{"--no-telemetry"}, "--no-telemetry says off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCollector(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
			r := newRelay(t, c.url)
			s := newSession(t, r.url, tt.env, tt.flags...)
			s.use(t, runs)
			ends(t, s.process) // sends all that there is
			events := c.exported(t)
			connections, _ := r.seen()
			_, err := os.Stat(s.state)

			if tt.reason == "" {
				if len(events) != 2+runs || connections == 0 || err != nil {
					t.Errorf("%d events over %d connections, state folder: %v; want %d events", len(events), connections, err, 2+runs)
				}
				if want := "Telemetry is on: "; !strings.HasPrefix(s.printed(), want) {
					t.Errorf("the server prints %q, want %q", s.printed(), want)
				}
				return
			}
			if len(events) != 0 {
				t.Errorf("the collector has %d events", len(events))
			}
			if connections != 0 {
				t.Errorf("%d connections were opened", connections)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("there is a state folder (%v)", err)
			}
			if want := "Telemetry is off: " + tt.reason + ". Nothing is recorded or sent.\n"; !strings.HasPrefix(s.printed(), want) {
				t.Errorf("the server prints %q, want %q", s.printed(), want)
			}
		})
	}
}

// Whoever shows a session's secret has the session erased, for good, and
// nothing else with it.
func TestForget(t *testing.T) {
	t.Parallel()
	const runs, otherRuns = 2, 3
	for _, tt := range []struct {
		name  string
		args  func(c *collector, s *session, secret string) []string
		keeps bool // the secret's file
	}{
		{"by the secret", func(c *collector, _ *session, secret string) []string {
			return []string{"--telemetry-url", c.url, secret}
		}, true},
		{"by the state folder", func(_ *collector, s *session, _ string) []string {
			return []string{"--state-dir", s.state}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			c := newCollector(t, data, "127.0.0.1:0")
			first := newSession(t, c.url, nil)
			first.use(t, runs)
			ends(t, first.process)
			other := newSession(t, c.url, nil)
			other.use(t, otherRuns)
			ends(t, other.process)
			secret := first.secret(t)
			id, otherID := idOf(t, secret), idOf(t, other.secret(t))
			want := map[string]int{id: 2 + runs, otherID: 2 + otherRuns}
			has := func(when string) {
				t.Helper()
				got := map[string]int{}
				for _, e := range c.exported(t) {
					got[fmt.Sprint(e["user_id"])]++
				}
				if !maps.Equal(got, want) {
					t.Fatalf("%s, the collector has %v, want %v", when, got, want)
				}
			}
			has("before")
			if len(traces(t, data, id)) == 0 {
				t.Fatal("the id is not found in the collector's folder, where it must be before it is erased")
			}

			// A secret of no session erases nothing; the id is no secret.
			foreign := strings.Repeat("5a", 32)
			if out, _, code := blindai(t, "telemetry", "forget", "--json", "--telemetry-url", c.url, foreign); code != 0 || erased(t, out).Events != 0 {
				t.Errorf("for a secret of no session: exit code %d, %s", code, out)
			}
			if out, complaint, code := blindai(t, "telemetry", "forget", "--telemetry-url", c.url, id); code != 1 || out != "" || strings.Contains(complaint, id) {
				t.Errorf("for the id in place of the secret: exit code %d, %q, %q", code, out, complaint)
			}
			has("after attempts of others")

			out, complaint, code := blindai(t, append([]string{"telemetry", "forget", "--json"}, tt.args(c, first, secret)...)...)
			if code != 0 || complaint != "" {
				t.Fatalf("exit code %d: %s", code, complaint)
			}
			if got := erased(t, out); got.App != "blindai" || got.Events != 2+runs || got.Sessions != 1 || len(got.Session) != 64 {
				t.Errorf("the receipt is %s, want one session with %d events", out, 2+runs)
			}
			if strings.Contains(out, id) || strings.Contains(out, secret) {
				t.Errorf("the receipt names what was erased: %s", out)
			}
			delete(want, id)
			has("after the erasure")
			kept, err := filepath.Glob(filepath.Join(first.state, "sessions", "*"))
			if err != nil || (len(kept) == 1) != tt.keeps {
				t.Errorf("the state folder holds %q (%v)", kept, err)
			}

			// A late event is taken and dropped; one of somebody else is kept.
			late := func(seq int) {
				t.Helper()
				if status := c.post(t, id, seq); status != http.StatusOK {
					t.Errorf("a late event is answered %d, want 200", status)
				}
				stranger := strings.Repeat("7e", 16)
				if status := c.post(t, stranger, seq); status != http.StatusOK {
					t.Errorf("an event of somebody else is answered %d", status)
				}
				want[stranger]++
				has("after a late event")
			}
			late(100)
			c = c.restart(t, data)
			has("after a restart")
			late(101)
			ends(t, c.process)
			if len(traces(t, data, id)) > 0 {
				t.Error("the collector's folder still holds the id")
			}
		})
	}
}

// erased reads a receipt.
func erased(t *testing.T, receipt string) (app struct {
	App, Session     string
	Events, Sessions int
}) {
	t.Helper()
	var r struct{ Payload string }
	p := struct {
		Erased []*struct {
			App              string
			Events, Sessions int
		}
		Session string
		Time    time.Time
	}{}
	err := json.Unmarshal([]byte(receipt), &r)
	if err == nil {
		err = json.Unmarshal([]byte(r.Payload), &p)
	}
	if err != nil || len(p.Erased) > 1 || time.Since(p.Time).Abs() > time.Minute {
		t.Fatalf("%q is not a receipt of one app at most and of now (%v)", receipt, err)
	}
	app.Session = p.Session
	for _, e := range p.Erased {
		app.App, app.Events, app.Sessions = e.App, e.Events, e.Sessions
	}
	return app
}

// traces returns the files of a folder that hold an id, given in hex.
func traces(t *testing.T, dir, id string) []string {
	t.Helper()
	b, _, ok := plan.ParseID([]byte(id))
	if !ok {
		t.Fatalf("%q is no id", id)
	}
	return storetest.Traces(t, dir, b)
}

// once checks that a session's events are there from the first to the n-th,
// each once.
func once(t *testing.T, events []event, s *session, n int) {
	t.Helper()
	id := idOf(t, s.secret(t))
	var got, want []string
	for _, e := range events {
		got = append(got, fmt.Sprint(e["insert_id"]))
	}
	for i := range n {
		want = append(want, fmt.Sprintf("%s-%d", id, i))
	}
	same(t, "the events", got, want)
	if err := checkSent(events, digitsModel, n-2); err != nil {
		t.Error(err)
	}
}

// The collector goes away and comes back while models are run.
func TestCollectorRestarts(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	c := newCollector(t, data, "127.0.0.1:0")
	s := newSession(t, c.url, nil)
	s.use(t, 1)
	c.wait(t, 3)

	ends(t, c.process)
	s.use(t, 3)
	waitUntil(t, "the server notices", func() bool { return s.logged("events cannot be delivered") == 1 })
	s.use(t, 2)
	c = c.restart(t, data)
	s.use(t, 2)
	c.wait(t, 10)
	waitUntil(t, "the server says that delivery works again", func() bool { return s.logged("events are delivered again") == 1 })
	s.use(t, 1)
	ends(t, s.process)
	once(t, c.exported(t), s, 11)
}

// An answer is lost, so the server sends again what the collector has already;
// in between the collector is restarted and could forget what it has seen.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	c := newCollector(t, data, "127.0.0.1:0")
	r := newRelay(t, c.url)
	r.cut = 1
	s := newSession(t, r.url, nil)
	s.use(t, 1)
	waitUntil(t, "the server misses an answer", func() bool { return s.logged("events cannot be delivered") == 1 })
	_, requests := r.seen()
	repeated := requests[0].events()
	if stored := len(c.exported(t)); stored < repeated {
		t.Fatalf("the collector has stored %d events of the %d that it has answered", stored, repeated)
	}
	c = c.restart(t, data)
	s.use(t, 2)
	ends(t, s.process)
	once(t, c.exported(t), s, 5)

	_, requests = r.seen()
	sent := 0
	for _, req := range requests {
		sent += req.events()
	}
	if sent < 5+repeated {
		t.Errorf("%d events were sent, want %d or more, since %d had to go a second time", sent, 5+repeated, repeated)
	}
}

// A destination that takes nothing costs the server nothing: it serves, says
// once what is wrong, and ends in time.
func TestBadDestination(t *testing.T) {
	t.Parallel()
	const key = "demo-other-api-key"
	for _, tt := range []struct {
		name        string
		destination func(t *testing.T) http.Handler // nil is closed
		attempts    int64                           // to wait for
		log         string
	}{
		{"it does not know the key", func(t *testing.T) http.Handler {
			c := newCollector(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
			to, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			return httputil.NewSingleHostReverseProxy(to)
		}, 2, "status=400"},
		{"it is out of order", func(*testing.T) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		}, 2, "status=503"},
		{"it never answers", func(*testing.T) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				io.Copy(io.Discard, req.Body) // or else the end of the connection is not seen
				<-req.Context().Done()
			})
		}, 1, "status=0"},
		{"nobody listens", func(*testing.T) http.Handler { return nil }, 0, "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := tt.destination(t)
			var attempts atomic.Int64
			d := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				attempts.Add(1)
				h.ServeHTTP(w, req)
			}))
			t.Cleanup(d.Close)
			if h == nil {
				d.Close()
			}
			s := newSession(t, d.URL, nil, "--telemetry-api-key", key)
			s.use(t, 1)
			waitUntil(t, "the server has tried", func() bool { return attempts.Load() >= tt.attempts })
			s.use(t, 1)

			asked := time.Now()
			ends(t, s.process) // with 0
			// Runs under way have 15 s, but there are none; telemetry has 2 s.
			if took := time.Since(asked); took > 8*time.Second {
				t.Errorf("it took %v to end", took)
			}
			for _, line := range []string{"events cannot be delivered", tt.log} {
				if n := s.logged(line); n != 1 {
					t.Errorf("%d lines of the log say %q, want 1", n, line)
				}
			}
			if n := s.logged("telemetry: "); n != 1 {
				t.Errorf("%d lines of the log are about telemetry, want 1", n)
			}
			// Nothing is lost: the next start sends it.
			if status, _, _ := blindai(t, "telemetry", "status", "--json", "--state-dir", s.state); !strings.Contains(status, `"waiting":4`) {
				t.Errorf("the state folder does not keep the 4 events: %s", status)
			}
			if s.logged(key) > 0 || strings.Contains(s.printed(), key) {
				t.Error("the API key is shown")
			}
		})
	}
}

// checkSent is what `make run ARGS=--once` relies on, so it must be able to say no.
func TestCheckSent(t *testing.T) {
	const id = "00112233445566778899aabbccddeeff"
	info, err := os.Stat(digitsModel)
	if err != nil {
		t.Fatal(err)
	}
	made := func(seq int, eventType string, props map[string]any) event {
		return event{
			"user_id": id, "insert_id": fmt.Sprintf("%s-%d", id, seq), "event_type": eventType, "time": float64(time.Now().UnixMilli()),
			"app_version": "0.1.0-dev", "device_id": "linux/amd64", "user_properties": map[string]any{"sgx_mode": "SW"}, "event_properties": props,
		}
	}
	for _, tt := range []struct {
		name   string
		change func(events []event) []event
		want   string // "" is right
	}{
		{"right", func(e []event) []event { return e }, ""},
		{"nothing", func([]event) []event { return nil }, "want 1 started"},
		{"an event is missing", func(e []event) []event { return e[:3] }, "want 1 started, 1 send_model and 2 run_model"},
		{"an event is there twice", func(e []event) []event { return append(e, e[3]) }, "there twice"},
		{"an event too much", func(e []event) []event { return append(e, made(4, "run_model", map[string]any{"uptime": 1.0})) }, "want 1 started"},
		{"an unknown type", func(e []event) []event { return append(e, made(4, "ended", map[string]any{"uptime": 1.0})) }, "want 1 started"},
		{"a field that is not published", func(e []event) []event { e[0]["ip"] = "127.0.0.1"; return e }, "ip is not published"},
		{"a property that is not published", func(e []event) []event {
			e[2]["event_properties"].(map[string]any)["model_name"] = "digits"
			return e
		}, "event_properties has 2 fields"},
		{"a user property that is not published", func(e []event) []event {
			e[2]["user_properties"].(map[string]any)["host"] = "h"
			return e
		}, "not sgx_mode SW alone"},
		{"time in seconds", func(e []event) []event { e[0]["time"] = float64(time.Now().Unix()); return e }, "in milliseconds"},
		{"uptime in milliseconds", func(e []event) []event {
			e[3]["event_properties"].(map[string]any)["uptime"] = 5000.0
			return e
		}, "uptime"},
		{"another size", func(e []event) []event {
			e[1]["event_properties"].(map[string]any)["model_size"] = 1.0
			return e
		}, "model_size"},
		{"hardware mode", func(e []event) []event { e[0]["user_properties"] = map[string]any{"sgx_mode": "HW"}; return e }, "sgx_mode"},
		{"a name for an id", func(e []event) []event { e[0]["user_id"] = "root"; return e }, "user_id"},
		{"the insert_id of another", func(e []event) []event { e[0]["insert_id"] = strings.Repeat("0", 32) + "-0"; return e }, "insert_id"},
		{"a name for a version", func(e []event) []event { e[0]["app_version"] = "mine"; return e }, "app_version"},
		{"a name for a system", func(e []event) []event { e[0]["device_id"] = "laptop"; return e }, "device_id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events := tt.change([]event{
				made(0, "started", map[string]any{"uptime": 0.0}),
				made(1, "send_model", map[string]any{"uptime": 1.0, "model_size": float64(info.Size())}),
				made(2, "run_model", map[string]any{"uptime": 1.0}),
				made(3, "run_model", map[string]any{"uptime": 2.0}),
			})
			err := checkSent(events, digitsModel, 2)
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("the error is %v, want it to say %q", err, tt.want)
			}
		})
	}
}
