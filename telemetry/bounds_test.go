//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// inOurTime sleeps, in a bubble, from the year 2000 to one whose times a plan
// takes.
func inOurTime() {
	time.Sleep(time.Until(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)))
}

// TestCountsAddUp: an event that was refused in the middle of a request is not
// counted as waiting as well while the others of the request wait.
func TestCountsAddUp(t *testing.T) {
	for _, folder := range []string{"", filepath.Join(t.TempDir(), "state")} {
		bubble(t, func(t *testing.T) {
			inOurTime()
			requests := 0
			e := endpoint{answer: func(*http.Request, []string) (int, string, error) {
				if requests++; requests == 1 {
					return 400, `{"code":400,"events_with_invalid_fields":{"time":[3,4,7]}}`, nil
				}
				return 503, "", nil
			}}
			cfg := e.config()
			cfg.StateDir = folder
			c := newCoffee()
			mustOpen(t, c.Client, cfg)
			for range 10 {
				c.spilled.Record()
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if s := c.Stats(); s.Refused != 3 || s.Waiting != 7 {
				t.Errorf("got %+v, want 3 events refused and 7 waiting", s)
			}
			consistent(t, c.Client)
			err := c.Close(t.Context())
			consistent(t, c.Client)
			if folder == "" {
				if err == nil || !strings.Contains(err.Error(), " 7 events") || c.Stats().Dropped != 7 {
					t.Errorf("Close says %v, and %+v; want 7 events lost", err, c.Stats())
				}
				return
			}
			// The next start gets those that wait, and not those that were refused.
			e.answer = nil
			next := newCoffee()
			mustOpen(t, next.Client, cfg)
			if err := next.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			e.check(t, 7)
			if s := next.Stats(); s.Recovered != 7 || s.Dropped != 0 {
				t.Errorf("the next start has %+v, want 7 events recovered", s)
			}
		})
	}
}

// TestLeftoversRefusedInTheMiddle is the same for events of a session that has
// ended.
func TestLeftoversRefusedInTheMiddle(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	bubble(t, func(t *testing.T) {
		inOurTime()
		refuse := false // the next request, and then 503 again
		e := endpoint{answer: func(*http.Request, []string) (int, string, error) {
			if !refuse {
				return 503, "", nil
			}
			refuse = false
			return 400, `{"code":400,"events_with_invalid_fields":{"time":[3,4,7]}}`, nil
		}}
		cfg := e.config()
		cfg.StateDir = state
		refused := int64(0)
		for i, want := range []Stats{
			{Recorded: 10, Waiting: 10, Requests: 1, Failures: 1},
			{Recorded: 10, Recovered: 10, Refused: 3, Waiting: 7, Requests: 3, Failures: 3},
			{Recorded: 7, Recovered: 7, Waiting: 7, Requests: 2, Failures: 2},
			{Recorded: 7, Recovered: 7, Sent: 7, Requests: 1},
		} {
			refuse = i == 1
			if i == 3 {
				e.answer = nil
			}
			c := newCoffee()
			mustOpen(t, c.Client, cfg)
			synctest.Wait() // a start sends at once what is left, and Close tries again
			if i == 0 {
				for range 10 {
					c.spilled.Record()
				}
			}
			c.Close(t.Context())
			if got := c.Stats(); got != want {
				t.Errorf("start %d: got %+v, want %+v", i+1, got, want)
			}
			refused += c.Stats().Refused
		}
		e.check(t, 7)
		if refused != 3 {
			t.Errorf("%d events are counted as refused, want 3", refused)
		}
	})
}

// TestAgeBoundDuringAnOutage: after a week an event is dropped and counted, also
// if it was in a request that failed, and also if an earlier session recorded it.
func TestAgeBoundDuringAnOutage(t *testing.T) {
	const day = 24 * time.Hour
	for _, earlier := range []bool{false, true} {
		state := filepath.Join(t.TempDir(), "state")
		bubble(t, func(t *testing.T) {
			inOurTime()
			e := endpoint{answer: func(*http.Request, []string) (int, string, error) { return 503, "", nil }}
			cfg := e.config()
			cfg.StateDir, cfg.Interval = state, time.Minute
			c := newCoffee()
			mustOpen(t, c.Client, cfg)
			for range 10 {
				c.spilled.Record()
			}
			if earlier {
				c.Close(t.Context())
				c = newCoffee()
				mustOpen(t, c.Client, cfg)
			}
			time.Sleep(6 * day)
			for range 5 {
				c.spilled.Record()
			}
			synctest.Wait()
			if s := c.Stats(); s.Dropped != 0 || s.Waiting != 15 {
				t.Errorf("after six days: got %+v, want 15 waiting", s)
			}
			time.Sleep(day + time.Hour)
			synctest.Wait()
			if s := c.Stats(); s.Dropped != 10 || s.Waiting != 5 {
				t.Errorf("after a week and an hour: got %+v, want 10 dropped and 5 waiting", s)
			}
			consistent(t, c.Client)
			e.mu.Lock()
			e.answer = nil
			e.mu.Unlock()
			time.Sleep(time.Hour)
			e.check(t, 5)
			c.Close(t.Context())
			consistent(t, c.Client)
		})
	}
}

// switchedOff opens a client on a state folder, plays, and asserts that from two
// seconds after the folder's owner said off no request was begun, and that
// nothing that waited is left.
func switchedOff(t *testing.T, answer time.Duration, play func(c coffee, off func())) {
	state := filepath.Join(t.TempDir(), "state")
	bubble(t, func(t *testing.T) {
		inOurTime()
		e := endpoint{answer: func(*http.Request, []string) (int, string, error) {
			time.Sleep(answer)
			return 200, `{"code":200}`, nil
		}}
		cfg := e.config()
		cfg.StateDir = state
		c := newCoffee()
		mustOpen(t, c.Client, cfg)
		secret, _, _ := c.Secret()
		var said time.Time
		play(c, func() {
			if err := WriteChoice(state, Off); err != nil {
				t.Fatal(err)
			}
			said = time.Now()
		})
		time.Sleep(time.Hour)
		c.spilled.Record()
		time.Sleep(time.Hour)
		c.Close(t.Context())
		synctest.Wait()
		for _, at := range e.requests {
			if at.Sub(said) > 2*time.Second {
				t.Errorf("a request begins %v after the owner has said off", at.Sub(said))
			}
		}
		if entries, err := os.ReadDir(spoolDir(state)); err != nil || len(entries) != 0 {
			t.Errorf("the spool holds %v (%v), want nothing", entries, err)
		}
		if _, err := os.Stat(filepath.Join(state, "sessions", secret.ID().String()+".json")); err != nil {
			t.Errorf("the secret, which erases what was sent, is gone: %v", err)
		}
		if s := c.Stats(); s != (Stats{}) {
			t.Errorf("got %+v, want nothing", s)
		}
	})
}

func TestSwitchedOffWhileItRuns(t *testing.T) {
	switchedOff(t, 0, func(c coffee, off func()) {
		c.spilled.Record()
		time.Sleep(3 * time.Second)
		c.spilled.Record() // waits
		off()
	})
}

func TestSwitchedOffBeforeClose(t *testing.T) {
	switchedOff(t, 0, func(c coffee, off func()) {
		c.spilled.Record()
		off()
		time.Sleep(time.Second)
		before := time.Now()
		c.Close(context.Background())
		if took := time.Since(before); took != 0 {
			t.Errorf("Close takes %v where there is nothing to do", took)
		}
	})
}

// A backlog of 100 requests, of which each takes a second, is not sent to its
// end.
func TestSwitchedOffInTheMiddleOfABacklog(t *testing.T) {
	switchedOff(t, time.Second, func(c coffee, off func()) {
		for range 100_000 {
			c.spilled.Record()
		}
		time.Sleep(5 * time.Second)
		off()
	})
}

// A slowReader is a transport that answers before it has read the request, as
// http.RoundTripper allows: it reads the body of one request when the next comes.
type slowReader struct {
	read  []string
	first io.ReadCloser
}

func (r *slowReader) RoundTrip(req *http.Request) (*http.Response, error) {
	answer := http.Response{StatusCode: 200, Body: http.NoBody, Request: req}
	if r.first == nil {
		r.first = req.Body
		answer.StatusCode = 400
		answer.Body = io.NopCloser(strings.NewReader(`{"code":400,"events_with_invalid_fields":{"time":[0]}}`))
		return &answer, nil
	}
	for _, body := range []io.ReadCloser{r.first, req.Body} {
		b, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		body.Close()
		r.read = append(r.read, string(b))
	}
	return &answer, nil
}

// TestRequestIsNotChangedOnItsWay: a request that is still being read must not
// become parts of the next one.
func TestRequestIsNotChangedOnItsWay(t *testing.T) {
	var r slowReader
	c := newCoffee()
	mustOpen(t, c.Client, Config{URL: "http://collector.test", APIKey: "key", Transport: &r, Getenv: noEnv})
	for range 100 {
		c.spilled.Record()
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.read) != 2 {
		t.Fatalf("%d requests, want 2", len(r.read))
	}
	for first, body := range r.read {
		var request struct{ Events []sentEvent }
		if err := json.Unmarshal([]byte(body), &request); err != nil {
			t.Fatalf("request %d is no longer JSON: %v", first+1, err)
		}
		for i, e := range request.Events {
			if want := fmt.Sprintf("%s-%d", e.UserID, first+i); e.InsertID != want || len(request.Events) != 100-first {
				t.Fatalf("event %d of the %d in request %d is %s, want %s", i, len(request.Events), first+1, e.InsertID, want)
			}
		}
	}
}

// TestRateTowardsAmplitude: whatever the interval, and Close too.
func TestRateTowardsAmplitude(t *testing.T) {
	for _, interval := range []time.Duration{time.Millisecond, 700 * time.Millisecond, 2 * time.Second, time.Minute} {
		bubble(t, func(t *testing.T) {
			var e endpoint
			cfg := e.config()
			cfg.URL, cfg.Interval = AmplitudeURL, interval
			c := newCoffee()
			mustOpen(t, c.Client, cfg)
			d := max(time.Minute, 10*interval)
			for range 100_000 {
				c.spilled.Record()
			}
			time.Sleep(d)
			synctest.Wait()
			c.Close(t.Context())
			n := len(e.stored)
			if rate := float64(n) / d.Seconds(); rate < 20 || rate >= 30 {
				t.Errorf("looking every %v, %.1f events are sent in a second, want 20 or more and below 30", interval, rate)
			}
			consistent(t, c.Client)
		})
	}
}

// TestLogSaysOnceThatTheFolderCannotBeUsed.
func TestLogSaysOnceThatTheFolderCannotBeUsed(t *testing.T) {
	var e endpoint
	var lines logBook
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := e.config()
	cfg.StateDir = filepath.Join(file, "state")
	cfg.Logger = lines.logger()
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	c.spilled.Record()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"secret", "memory only"} {
		if !strings.Contains(lines.text(), what) {
			t.Errorf("the log does not speak of %s", what)
		}
	}
	if n := strings.Count(lines.text(), "\n"); n > 2 {
		t.Errorf("%d lines in the log, want one about the secret and one about the events:\n%s", n, lines.text())
	}
}

// TestShortLivedCommands: each run records an event and ends at once, without a
// budget; the next one delivers it while it works.
func TestShortLivedCommands(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	bubble(t, func(t *testing.T) {
		inOurTime()
		var e endpoint
		cfg := e.config()
		cfg.StateDir = state
		now, cancel := context.WithCancel(t.Context())
		cancel()
		for run := range 5 {
			c := newCoffee()
			mustOpen(t, c.Client, cfg)
			c.spilled.Record()
			synctest.Wait() // it works for less than an interval
			if n := len(e.stored); n < run {
				t.Errorf("run %d: %d events of earlier runs are delivered, want %d", run, n, run)
			}
			if err := c.Close(now); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestTooManySpools: a program that crashes again and again before it can send
// takes no more than so much room; what comes then waits in memory.
func TestTooManySpools(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	if err := os.MkdirAll(spoolDir(state), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range maxSpools {
		if err := os.WriteFile(filepath.Join(spoolDir(state), fmt.Sprintf("%d%s", i, asideEnding)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var e endpoint
	var log bytes.Buffer
	cfg := e.config()
	cfg.StateDir, cfg.Logger = state, slog.New(slog.NewTextHandler(&log, nil))
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	c.spilled.Record()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.check(t, 1)
	if entries, _ := os.ReadDir(spoolDir(state)); len(entries) != maxSpools || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%d files, and the log %s, want %d files and one line", len(entries), &log, maxSpools)
	}
}
