package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
)

// TestMain fences the network: no name can be looked up, and what tests dial by
// number is loopback.
func TestMain(m *testing.M) {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("a test looked up a name")
	}}
	os.Exit(m.Run())
}

// bubble runs a test with a fake clock, in a year that plans take as a time: the
// clock of a bubble begins in 2000.
func bubble(t *testing.T, test func(*testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)))
		test(t)
	})
}

type size uint8

const (
	small size = iota
	large
)

// coffee is a program with a plan.
type coffee struct {
	*Client
	roast   Session[size]
	brewed  Event2[size, Count]
	spilled Event0
}

func newCoffee() coffee {
	c := New("coffee", 1)
	return coffee{
		Client:  c,
		roast:   NewSession(c, EnumField[size]("roast", "How dark the beans are.", "light", "dark")),
		brewed:  NewEvent2(c, "brewed", "A cup was brewed.", EnumField[size]("size", "Size of the cup.", "small", "large"), CountField("sugar", "Lumps of sugar.")),
		spilled: NewEvent(c, "spilled", "A cup was spilled."),
	}
}

// endpoint is a destination in memory. It keeps what it has acknowledged, and
// answers as the test says.
type endpoint struct {
	mu       sync.Mutex
	answer   func(req *http.Request, ids []string) (status int, body string, err error)
	requests []time.Time
	headers  http.Header
	bodies   []string
	stored   map[string]int // acknowledged insert_ids, and how often
}

func (e *endpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	var r struct {
		Events []struct {
			InsertID string `json:"insert_id"`
		} `json:"events"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		panic(err)
	}
	var ids []string
	for _, ev := range r.Events {
		ids = append(ids, ev.InsertID)
	}
	e.mu.Lock()
	e.requests = append(e.requests, time.Now())
	e.bodies = append(e.bodies, string(body))
	e.headers = req.Header
	answer := e.answer
	e.mu.Unlock()
	status, text := 200, string(amplitude.AppendOK(nil, len(ids), len(body), 0))
	if answer != nil {
		if status, text, err = answer(req, ids); err != nil {
			return nil, err
		}
	}
	if status == 200 {
		e.mu.Lock()
		if e.stored == nil {
			e.stored = map[string]int{}
		}
		for _, id := range ids {
			e.stored[id]++
		}
		e.mu.Unlock()
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
}

func (e *endpoint) count() int { e.mu.Lock(); defer e.mu.Unlock(); return len(e.requests) }

// check asserts that want events were stored, each once.
func (e *endpoint) check(t *testing.T, want int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.stored) != want {
		t.Errorf("%d events are stored, want %d", len(e.stored), want)
	}
	for id, n := range e.stored {
		if n != 1 {
			t.Errorf("event %s is stored %d times", id, n)
		}
	}
}

func (e *endpoint) config() Config {
	return Config{Version: "1.2.3", URL: "http://collector.test", APIKey: "key", Transport: e, Getenv: noEnv, listen: noSocket}
}

// noSocket keeps a session from opening a socket, which would stop the clock of a
// bubble.
func noSocket(string) (net.Listener, error) { return nil, nil }

func noEnv(string) string { return "" }

func mustOpen(t testing.TB, c *Client, cfg Config) {
	t.Helper()
	if err := c.Open(cfg); err != nil {
		t.Fatal(err)
	}
}

func TestEventAsItIsSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var e endpoint
		c := newCoffee()
		c.roast.Set(large)
		start := time.Now().UnixMilli()
		mustOpen(t, c.Client, e.config())
		secret, _, _ := c.Secret()
		time.Sleep(1500 * time.Millisecond)
		c.brewed.Record(large, 3)
		c.spilled.Record()
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		id := secret.ID().String()
		common := fmt.Sprintf(`"user_id":"%s","app_version":"1.2.3","device_id":"%s"`, id, system())
		want := fmt.Sprintf(`{"api_key":"key","events":[`+
			`{%[1]s,"event_type":"brewed","user_properties":{"roast":"dark"},"time":%[2]d,"insert_id":"%[3]s-0","event_properties":{"uptime":1,"size":"large","sugar":3}},`+
			`{%[1]s,"event_type":"spilled","user_properties":{"roast":"dark"},"time":%[2]d,"insert_id":"%[3]s-1","event_properties":{"uptime":1}}]}`,
			common, start+1500, id)
		if len(e.bodies) != 1 || e.bodies[0] != want {
			t.Errorf("got  %s\nwant %s", e.bodies, want)
		}
		for name, values := range e.headers {
			if name != "Content-Type" && (name != "User-Agent" || strings.Join(values, "") != "") {
				t.Errorf("the request carries the header %s", name)
			}
		}
	})
}

// TestHeadersOnTheWire looks at a real connection: the transport must not add
// headers of its own.
func TestHeadersOnTheWire(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan http.Header, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		h.Set("Host", r.Host)
		got <- h
		w.Write(amplitude.AppendOK(nil, 1, 1, 1))
	})}
	go srv.Serve(l)
	defer srv.Close()
	c := newCoffee()
	mustOpen(t, c.Client, Config{URL: "http://" + l.Addr().String(), APIKey: "k", Getenv: noEnv})
	c.spilled.Record()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := <-got
	for _, name := range amplitude.Headers {
		if h.Get(name) == "" {
			t.Errorf("the published header %s does not travel", name)
		}
		h.Del(name)
	}
	if len(h) != 0 {
		t.Errorf("headers travel that are not published: %v", h)
	}
}

func TestTwoSecondLook(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var e endpoint
		c := newCoffee()
		mustOpen(t, c.Client, e.config())
		defer c.Close(t.Context())
		time.Sleep(time.Hour)
		if n := e.count(); n != 0 {
			t.Errorf("%d requests without an event", n)
		}
		c.spilled.Record()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		e.check(t, 1)
		time.Sleep(time.Hour)
		if n := e.count(); n != 1 {
			t.Errorf("%d requests for one event", n)
		}
	})
}

func TestBacklogDrainsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var e endpoint
		c := newCoffee()
		mustOpen(t, c.Client, e.config())
		defer c.Close(t.Context())
		for range 100_000 {
			c.brewed.Record(small, 1)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		e.check(t, 100_000)
		if s := c.Stats(); s.Sent != 100_000 || s.Dropped != 0 || s.Waiting != 0 {
			t.Errorf("got %+v, want 100000 sent and none dropped", s)
		}
	})
}

func TestFullQueueDropsTheNewestAndCounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var e endpoint
		cfg := e.config()
		cfg.QueueSize = 64
		c := newCoffee()
		mustOpen(t, c.Client, cfg)
		for range 100 {
			c.spilled.Record()
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.check(t, 64)
		secret, _, _ := c.Secret()
		if e.stored[secret.ID().String()+"-63"] != 1 {
			t.Error("the oldest events are not the ones that are kept")
		}
		if s := c.Stats(); s.Recorded != 100 || s.Sent != 64 || s.Dropped != 36 {
			t.Errorf("got %+v, want 100 recorded, 64 sent, 36 dropped", s)
		}
	})
}

func TestRecordBeforeOpenAndAfterClose(t *testing.T) {
	var e endpoint
	c := newCoffee()
	c.spilled.Record()
	if err := c.Open(e.config()); err != nil {
		t.Fatal(err)
	}
	c.Close(context.Background())
	c.spilled.Record()
	e.check(t, 0)
	if s := c.Stats(); s.Recorded != 2 || s.Dropped != 2 {
		t.Errorf("got %+v, want 2 recorded and dropped", s)
	}
	if err := c.Open(e.config()); err == nil {
		t.Error("a second Open is accepted")
	}
}

func TestValuesThatDoNotFitAreMissing(t *testing.T) {
	var e endpoint
	c := newCoffee()
	mustOpen(t, c.Client, e.config())
	c.brewed.Record(size(7), -1)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(e.bodies[0], `"event_properties":{"uptime":0}`) {
		t.Errorf("got %s, want neither size nor sugar", e.bodies[0])
	}
	if n := c.Stats().Missing; n != 2 {
		t.Errorf("%d values are counted as missing, want 2", n)
	}
}

// TestAnswers is the table of what becomes of 10 events for an answer that the
// destination gives once, and good ones after that.
func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name     string
		status   int
		body     string
		err      error
		stored   int
		refused  int64
		requests int
		wait     time.Duration // at least, to the second request
	}{
		{name: "200 without code", status: 200, body: "{}", stored: 10, requests: 1},
		{name: "200 with garbage", status: 200, body: "<html>", stored: 10, requests: 1},
		{name: "400 naming two", status: 400, body: `{"code":400,"events_with_invalid_fields":{"time":[0,9]}}`, stored: 8, refused: 2, requests: 2},
		{name: "400 naming none", status: 400, body: `{"code":400,"error":"Invalid JSON request body"}`, refused: 10, requests: 1},
		{name: "400 for the key", status: 400, body: `{"code":400,"error":"Invalid API key: x"}`, stored: 10, requests: 2, wait: firstWait / 2},
		{name: "400 of a proxy", status: 400, body: `<html>`, stored: 10, requests: 2, wait: firstWait / 2},
		{name: "401", status: 401, stored: 10, requests: 2, wait: firstWait / 2},
		{name: "404", status: 404, stored: 10, requests: 2, wait: firstWait / 2},
		{name: "408", status: 408, stored: 10, requests: 2, wait: firstWait / 2},
		{name: "413", status: 413, stored: 10, requests: 3},
		{name: "429", status: 429, body: `{"code":429}`, stored: 10, requests: 2, wait: throttleWait},
		{name: "500", status: 500, stored: 10, requests: 2, wait: firstWait / 2},
		{name: "503", status: 503, stored: 10, requests: 2, wait: firstWait / 2},
		{name: "redirect", status: 307, stored: 10, requests: 2, wait: firstWait / 2},
		{name: "refused connection", err: errors.New("connection refused"), stored: 10, requests: 2, wait: firstWait / 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := endpoint{}
				first := true
				e.answer = func(_ *http.Request, ids []string) (int, string, error) {
					if first {
						first = false
						return test.status, test.body, test.err
					}
					return 200, `{"code":200}`, nil
				}
				c := newCoffee()
				mustOpen(t, c.Client, e.config())
				for range 10 {
					c.spilled.Record()
				}
				time.Sleep(10 * time.Minute)
				e.check(t, test.stored)
				if len(e.requests) != test.requests {
					t.Errorf("%d requests, want %d", len(e.requests), test.requests)
				} else if len(e.requests) == 2 && e.requests[1].Sub(e.requests[0]) < test.wait {
					t.Errorf("the second request comes after %v, want %v or more", e.requests[1].Sub(e.requests[0]), test.wait)
				}
				if s := c.Stats(); s.Refused != test.refused || s.Dropped != 0 || s.Waiting != 0 {
					t.Errorf("got %+v, want %d refused", s, test.refused)
				}
				c.Close(t.Context())
			})
		})
	}
}

func TestSingleEventTooLargeIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := endpoint{answer: func(*http.Request, []string) (int, string, error) { return 413, "", nil }}
		c := newCoffee()
		mustOpen(t, c.Client, e.config())
		for range 3 {
			c.spilled.Record()
		}
		time.Sleep(time.Minute)
		if s := c.Stats(); s.Refused != 3 || s.Waiting != 0 {
			t.Errorf("got %+v, want 3 refused and none waiting", s)
		}
		c.Close(t.Context())
	})
}

// TestOutage holds the endpoint down for an hour: few requests, one line in the
// log, and everything delivered once when it comes back.
func TestOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		var up atomic.Bool
		e := endpoint{answer: func(*http.Request, []string) (int, string, error) {
			if !up.Load() {
				return 503, "", nil
			}
			return 200, "", nil
		}}
		cfg := e.config()
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c := newCoffee()
		mustOpen(t, c.Client, cfg)
		for range 3600 {
			c.spilled.Record()
			time.Sleep(time.Second)
		}
		if n := e.count(); n > 25 {
			t.Errorf("%d requests in an hour of outage", n)
		}
		up.Store(true)
		time.Sleep(lastWait + 2*time.Second)
		synctest.Wait()
		e.check(t, 3600)
		if lines := strings.Count(log.String(), "\n"); lines != 2 {
			t.Errorf("%d lines in the log, want one when delivery stops and one when it works again:\n%s", lines, &log)
		}
		c.Close(t.Context())
	})
}

func TestCloseOnAStalledEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := endpoint{answer: func(req *http.Request, _ []string) (int, string, error) {
			<-req.Context().Done()
			return 0, "", req.Context().Err()
		}}
		c := newCoffee()
		mustOpen(t, c.Client, e.config())
		c.spilled.Record()
		time.Sleep(3 * time.Second) // a request is under way
		c.spilled.Record()
		before := time.Now()
		err := c.Close(context.Background())
		if took := time.Since(before); took > 2*time.Second {
			t.Errorf("Close took %v, want 2 s at most", took)
		}
		if err == nil || c.Stats().Dropped != 2 {
			t.Errorf("got error %v and %+v, want both events counted as dropped and said", err, c.Stats())
		}
	})
}

func TestCloseWithoutBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var e endpoint
		c := newCoffee()
		mustOpen(t, c.Client, e.config())
		c.spilled.Record()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before := time.Now()
		c.Close(ctx)
		if took := time.Since(before); took != 0 {
			t.Errorf("Close took %v", took)
		}
	})
}

func TestConcurrentRecord(t *testing.T) {
	var e endpoint
	cfg := e.config()
	cfg.Interval = time.Millisecond
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				c.brewed.Record(small, 1)
			}
		})
	}
	wg.Wait()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.check(t, 8000)
}

func TestRecordAllocatesNothing(t *testing.T) {
	var e endpoint
	c := newCoffee()
	mustOpen(t, c.Client, e.config())
	defer c.Close(t.Context())
	if n := testing.AllocsPerRun(1000, func() { c.brewed.Record(large, 2) }); n != 0 {
		t.Errorf("Record allocates %v times", n)
	}
}

func TestFaultsAreReportedAtOpen(t *testing.T) {
	c := New("Coffee", 0)
	NewEvent(c, "brewed", "")
	NewEvent1(c, "brewed", "", EnumField[size]("size", "", "a", "a"))
	err := c.Open(Config{Version: "not a version", Interval: -1, Getenv: noEnv})
	if err == nil {
		t.Fatal("a plan with faults is accepted")
	}
	for _, want := range []string{"app must", "version must be 1", "events[1].name is declared twice", "values[1] is declared twice", "Config.Version", "Config.Interval"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name the fault %q:\n%v", want, err)
		}
	}
	NewEvent(c, "late", "").Record() // must not panic
}

func TestSecretIsKept(t *testing.T) {
	var e endpoint
	dir := filepath.Join(t.TempDir(), "state")
	cfg := e.config()
	cfg.StateDir = dir
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	defer c.Close(t.Context())
	secret, kept, ok := c.Secret()
	if !kept || !ok {
		t.Fatal("the secret is not kept")
	}
	path := filepath.Join(dir, "sessions", secret.ID().String()+".json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Secret string }
	if err := json.Unmarshal(b, &file); err != nil || file.Secret != secret.Reveal() {
		t.Errorf("the file does not hold the secret: %v", err)
	}
	for path, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v (%v)", filepath.Base(path), info.Mode().Perm(), want, err)
		}
	}
}

func TestStateFolderThatCannotBeMade(t *testing.T) {
	var e endpoint
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := e.config()
	cfg.StateDir = filepath.Join(file, "state")
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	if _, kept, ok := c.Secret(); kept || !ok {
		t.Error("want a secret in memory only")
	}
	c.spilled.Record()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.check(t, 1)
}

func TestAmplitudeIsSentToSlowly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var e endpoint
		cfg := e.config()
		cfg.URL = AmplitudeURL
		c := newCoffee()
		mustOpen(t, c.Client, cfg)
		for range 1000 {
			c.spilled.Record()
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := len(e.stored); n == 0 || n > 30*30 {
			t.Errorf("%d events in 30 s, want some, and below 30 a second", n)
		}
		c.Close(t.Context())
	})
}
