package telemetry

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestClockJumps: the wall clock is moved by a day, or by sixteen years, while a
// session runs. The times of its events follow each other as they happened, from
// the start that the session saw, no uptime is negative, and it goes on looking.
// In real time: a bubble's clock has no monotonic reading, and cannot jump.
func TestClockJumps(t *testing.T) {
	const day = 24 * time.Hour
	for _, jump := range []time.Duration{-16 * 365 * day, -day, -time.Second, 0, time.Second, day, 16 * 365 * day} {
		y := newTally()
		arrived := make(chan int, 100)
		y.set(func(w http.ResponseWriter, _ *http.Request, events []sentEvent) {
			y.take(w, events)
			arrived <- len(events)
		})
		// The session starts with a clock that is wrong by -jump; at every later
		// look it is right.
		began := time.Now()
		start := wallShifted(t, began, -jump)
		c := newCoffee()
		mustOpen(t, c.Client, Config{
			URL: y.serve(t), APIKey: "key", Interval: 5 * time.Millisecond, Getenv: noEnv,
			now: func() time.Time { return start },
		})
		const looks = 5
		for i := range looks {
			c.brewed.Record(small, Count(i))
			select {
			case <-arrived:
			case <-time.After(time.Minute):
				t.Fatalf("a jump by %v stalls the look", jump)
			}
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		last := start.UnixMilli()
		for i, e := range y.arrived {
			if e.Properties.Sugar != int64(i) {
				t.Errorf("jump by %v: event %d arrives as number %d", jump, e.Properties.Sugar, i)
			}
			if e.Time < last || e.Time > start.Add(took).UnixMilli() {
				t.Errorf("jump by %v: event %d comes with a time %d ms after the one before", jump, i, e.Time-last)
			}
			last = e.Time
			if e.Properties.Uptime < 0 || e.Properties.Uptime > int64(took.Seconds()) {
				t.Errorf("jump by %v: event %d comes with an uptime of %d s", jump, i, e.Properties.Uptime)
			}
		}
		if len(y.arrived) != looks || last == start.UnixMilli() {
			t.Errorf("jump by %v: %d events have arrived, the last %d ms after the start; want %d, and time to pass", jump, len(y.arrived), last-start.UnixMilli(), looks)
		}
	}
}

// TestOrderOfManyGoroutines: numbers and times rise together, whoever records.
func TestOrderOfManyGoroutines(t *testing.T) {
	y := newTally()
	c := newCoffee()
	mustOpen(t, c.Client, Config{URL: y.serve(t), APIKey: "key", Interval: time.Millisecond, Getenv: noEnv})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 2000 {
				c.spilled.Record()
			}
		})
	}
	group.Wait()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, e := range y.arrived {
		if want := e.UserID + "-" + itoa(int64(i)); e.InsertID != want {
			t.Fatalf("event %d arrives as %s, want %s", i, e.InsertID, want)
		}
		if i > 0 && e.Time < y.arrived[i-1].Time {
			t.Fatalf("event %d has a time %d ms before that of the one before", i, y.arrived[i-1].Time-e.Time)
		}
	}
	if len(y.arrived) != 16_000 {
		t.Errorf("%d events have arrived, want 16000", len(y.arrived))
	}
}

// TestClockThatIsWrong: a board without a battery starts in 1970, and one in
// the middle of the next century is broken too. A plan takes neither as a time, so events go
// without one and are not refused; what a session leaves is neither too old nor
// damaged for the next one, whose clock may be right again.
func TestClockThatIsWrong(t *testing.T) {
	right := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name        string
		first, next time.Time
		timed       bool // the events of the first session
	}{
		{"1970, then right", time.Unix(12, 0), right, false},
		{"1970 twice", time.Unix(12, 0), time.Unix(7, 0), false},
		{"2009-12-31, then right", time.UnixMilli(plan.MinTime - 1000), right, false},
		{"2101, then right", time.UnixMilli(plan.MaxTime + 1000), right, false},
		{"2150, then right", time.Date(2150, 1, 1, 0, 0, 0, 0, time.UTC), right, false},
		{"right, then 1970", right, time.Unix(12, 0), true},
		{"right, then 2150", right, time.Date(2150, 1, 1, 0, 0, 0, 0, time.UTC), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var e endpoint
			cfg := e.config()
			cfg.StateDir, cfg.Interval = t.TempDir(), time.Hour
			cfg.now = func() time.Time { return wallShifted(t, time.Now(), time.Until(test.first).Round(time.Second)) }
			c := newCoffee()
			mustOpen(t, c.Client, cfg)
			c.brewed.Record(small, 1)
			done, cancel := context.WithCancel(t.Context())
			cancel()
			if err := c.Close(done); err != nil {
				t.Fatal(err)
			}
			cfg.now = func() time.Time { return wallShifted(t, time.Now(), time.Until(test.next).Round(time.Second)) }
			c = newCoffee()
			mustOpen(t, c.Client, cfg)
			if err := c.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			e.check(t, 1)
			if s := c.Stats(); s.Sent != 1 || s.Dropped != 0 {
				t.Errorf("got %+v, want the event sent", s)
			}
			if got := strings.Contains(e.bodies[0], `"time":`); got != test.timed || !strings.Contains(e.bodies[0], `"event_type":"brewed"`) {
				t.Errorf("the request is %s, want an event whose time is given: %v", e.bodies[0], test.timed)
			}
		})
	}
	t.Run("a session that lives beyond 2100", func(t *testing.T) {
		p, err := newCoffee().Plan()
		if err != nil {
			t.Fatal(err)
		}
		d := described{ID: "id", Started: plan.MaxTime - 1, Plan: p, Heads: []string{`{"a":1` + timeKey, `{"a":2` + timeKey}}
		for elapsed, want := range map[time.Duration]string{
			time.Millisecond: `{"a":2,"time":4102444800000,"insert_id":"id-0","event_properties":{"uptime":0}}`,
			time.Second:      `{"a":2,"insert_id":"id-0","event_properties":{"uptime":1}}`,
		} {
			if got, _ := d.encodeEvent(nil, &slot{where: 1 << 56, elapsed: int64(elapsed)}); string(got) != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})
}
