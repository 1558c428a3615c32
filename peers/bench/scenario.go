package bench

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// CloseLimit is how long a program waits for a library to end before it is
	// killed: half of what orchestrators commonly grant. 2026-11.
	CloseLimit = 15 * time.Second

	// latency is that of a server in the next data centre. Without it a library
	// that sends one small batch after the other would look as fast as one that
	// does not.
	latency = 20 * time.Millisecond

	// faultEvents are recorded in the scenarios with a fault, in a few batches
	// of each library.
	faultEvents = 1000

	// faultTime is how long a fault lasts before the program ends or the fault
	// does: enough for every library to meet it, and for ours to look once.
	faultTime = 3 * time.Second

	// quietTime is longer than the interval after which the slowest library
	// (analytics-go, 10 s) sends what waits. When nothing has arrived for so
	// long, nothing will.
	quietTime = 12 * time.Second
)

// An Outcome is what became of the events of a scenario.
type Outcome struct {
	Recorded  int
	Delivered int
	Doubled   int

	Busy  time.Duration // of the program, in the calls that record
	Close time.Duration // how long the library took to end
	Hung  bool          // it took longer than CloseLimit
}

// Lost is the number of events that never arrived.
func (o Outcome) Lost() int { return o.Recorded - o.Delivered }

// Burst records n events at once and lets the library take its time.
func Burst(l Library, n int) (Outcome, error) {
	return run(l, n, latency, func(r *trial) error {
		r.record()
		r.endpoint.Await(n, quietTime)
		r.close()
		return nil
	})
}

// Refused records while nothing listens at the endpoint, which then comes up.
func Refused(l Library) (Outcome, error) {
	return run(l, faultEvents, latency, func(r *trial) error {
		r.endpoint.Stop()
		r.record()
		time.Sleep(faultTime)
		if err := r.endpoint.Start(); err != nil {
			return err
		}
		r.endpoint.Await(r.Recorded, quietTime)
		r.close()
		return nil
	})
}

// Stalled records to an endpoint that takes requests and answers none, ends the
// program, or kills it after CloseLimit, and starts it again with an endpoint
// that works.
func Stalled(l Library) (Outcome, error) {
	return run(l, faultEvents, Never, func(r *trial) error {
		r.record()
		time.Sleep(faultTime)
		r.close()
		r.endpoint.Stop() // a client that hangs cannot use the next one
		working, err := OpenEndpoint(latency)
		if err != nil {
			return err
		}
		defer working.Stop()
		again, err := l.Open(working.URL(), r.dir)
		if err != nil {
			return err
		}
		working.Await(r.Recorded, quietTime)
		r.Delivered, r.Doubled = working.Counts()
		return again.Close()
	})
}

// A trial is one run of a scenario.
type trial struct {
	Outcome
	dir      string
	endpoint *Endpoint
	client   Recorder
	closed   chan struct{}
}

func run(l Library, n int, delay time.Duration, scenario func(*trial) error) (_ Outcome, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return Outcome{}, fmt.Errorf("make a state folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t := trial{Outcome: Outcome{Recorded: n}, dir: dir, closed: make(chan struct{})}
	if t.endpoint, err = OpenEndpoint(delay); err != nil {
		return Outcome{}, err
	}
	if t.client, err = l.Open(t.endpoint.URL(), dir); err != nil {
		t.endpoint.Stop()
		return Outcome{}, err
	}
	err = scenario(&t)
	t.endpoint.Stop()
	// With its endpoint gone a client that hung comes to its end.
	select {
	case <-t.closed:
	case <-time.After(time.Minute):
		err = errors.Join(err, errors.New("the client does not end although its endpoint has"))
	}
	arrived, doubled := t.endpoint.Counts()
	t.Delivered += arrived
	t.Doubled += doubled
	return t.Outcome, err
}

func (t *trial) record() {
	start := time.Now()
	for size := range t.Recorded {
		t.client.Record(int64(size))
	}
	t.Busy = time.Since(start)
}

// close ends the client. The error is not looked at: what it lost is counted.
func (t *trial) close() {
	start := time.Now()
	go func() {
		defer close(t.closed)
		t.client.Close()
	}()
	select {
	case <-t.closed:
	case <-time.After(CloseLimit):
		t.Hung = true
	}
	t.Close = time.Since(start)
}
