package telemetry

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A trip is a transport made of a function.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestMemoryIsFlat records ten million events against a destination that takes
// none of them: the heap grows by less than 16 MiB, and every event is counted.
func TestMemoryIsFlat(t *testing.T) {
	const events = 10_000_000
	for name, answer := range map[string]trip{
		"down": func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"stalled": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"401": func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 401, Body: http.NoBody, Request: r}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCoffee()
			mustOpen(t, c.Client, Config{
				URL: "http://collector.test", APIKey: "key", Transport: answer, Interval: time.Millisecond, Getenv: noEnv,
				jitter: func(time.Duration) time.Duration { return 0 },
			})
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			before, most := m.HeapInuse, m.HeapInuse
			for range 100 {
				for range events / 100 {
					c.brewed.Record(large, 1)
				}
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
			if grown := most - before; grown > 16<<20 {
				t.Errorf("the heap has grown by %.1f MiB, want 16 or less", float64(grown)/(1<<20))
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			c.Close(ctx)
			s := c.Stats()
			if s.Recorded != events || s.Requests == 0 {
				t.Errorf("%d events are recorded in %d requests, want %d and some", s.Recorded, s.Requests, events)
			}
			consistent(t, c.Client)
			if s.Sent != 0 || s.Waiting != 0 {
				t.Errorf("%d events are sent and %d wait, want 0 and 0", s.Sent, s.Waiting)
			}
		})
	}
}

// TestBurst records as fast as it can over a real connection, at default settings
// and with a state folder: of 100,000 events in a row all arrive, of 1,000,000 each
// one arrives or is counted as dropped, and the gaps in the numbers show which.
func TestBurst(t *testing.T) {
	for _, test := range []struct {
		events int64
		all    bool
	}{{100_000, true}, {1_000_000, false}} {
		y := newTally()
		c := newCoffee()
		mustOpen(t, c.Client, Config{URL: y.serve(t), APIKey: "key", StateDir: t.TempDir(), Getenv: noEnv})
		for i := range test.events {
			c.brewed.Record(large, Count(i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		s := c.Stats()
		consistent(t, c.Client)
		delivered, _, lost, doubled, again := y.sum(numbersTo(test.events))
		if s.Recorded != test.events || int64(delivered) != s.Sent || int64(lost) != s.Dropped || doubled != 0 || again != 0 {
			t.Errorf("of %d events %d have arrived, %d have not, %d are counted twice, %d came again; the counts say %+v", test.events, delivered, lost, doubled, again, s)
		}
		if test.all && lost != 0 {
			t.Errorf("of %d events %d have not arrived", test.events, lost)
		}
		for _, e := range y.arrived {
			if !strings.HasSuffix(e.InsertID, "-"+itoa(e.Properties.Sugar)) {
				t.Fatalf("event %d arrives as %s: a drop leaves no gap", e.Properties.Sugar, e.InsertID)
			}
		}
	}
}
