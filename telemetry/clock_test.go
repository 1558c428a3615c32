package telemetry

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestClockJumps: the wall clock is moved by a day, or by twenty years, while a
// session runs. The times of its events follow each other as they happened, from
// the start that the session saw, no uptime is negative, and it goes on looking.
// In real time: a bubble's clock has no monotonic reading, and cannot jump.
func TestClockJumps(t *testing.T) {
	const day = 24 * time.Hour
	for _, jump := range []time.Duration{-16 * 365 * day, -day, -time.Second, 0, time.Second, day, 20 * 365 * day} {
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
