//go:build linux

package telemetry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// killSeed draws the points at which processes are killed. With another seed the
// tests must pass as well.
const killSeed = 20261123

const (
	lanes        = 4  // folders, with a chain of processes each
	killsPerLane = 25 // 100 in all
	killedCount  = 400
	killQueue    = 1 << 14 // the bound of the spool; a lane records fewer
)

// A point says when a process is killed.
type point struct {
	kind  int
	after time.Duration // for any time
	count int           // for recorded
}

const (
	anyTime       = iota // from before Open on
	afterRecords         // when so many calls of Record have returned
	beforeKept           // a request has come, and the destination has not kept it yet
	beforeAnswers        // the destination has kept a request, and has not answered it yet
	pointKinds
)

func (p point) String() string {
	return [...]string{
		fmt.Sprintf("%v after its start", p.after),
		fmt.Sprintf("after %d calls of Record", p.count),
		"before the destination has kept a request",
		"before the destination has answered",
	}[p.kind]
}

// A lane is one state folder and the processes that follow each other on it.
// It has a collector of its own.
type lane struct {
	*tally
	url, state string

	mu      sync.Mutex
	hold    int           // beforeKept or beforeAnswers while a process is to be killed there
	held    chan struct{} // gets a value when a request is held
	release chan struct{} // closed when the process is dead
}

// answer is the reply of the collector: it holds a request at the point where its sender is
// to be killed.
func (l *lane) answer(w http.ResponseWriter, r *http.Request, events []sentEvent) {
	l.mu.Lock()
	hold, held, release := l.hold, l.held, l.release
	l.mu.Unlock()
	wait := func() {
		select {
		case held <- struct{}{}:
		default:
		}
		<-release
	}
	if hold == beforeKept {
		wait()
	}
	l.count(events)
	if hold == beforeAnswers {
		wait()
	}
	w.WriteHeader(http.StatusOK)
}

// run starts a process that records, kills it at p, and returns the numbers
// whose Record had returned.
func (l *lane) run(t *testing.T, p point, from int64) (numbers []int64) {
	held, release := make(chan struct{}, 1), make(chan struct{})
	l.mu.Lock()
	l.hold, l.held, l.release = p.kind, held, release
	l.mu.Unlock()
	c := start(t, job{URL: l.url, State: l.state, Interval: 2 * time.Millisecond, Queue: killQueue, From: from, Count: killedCount})
	switch p.kind {
	case anyTime:
		time.Sleep(p.after) // real time: the point is a random one in a real process
	case afterRecords:
		for range p.count {
			n, ok := <-c.recorded
			if !ok {
				break
			}
			numbers = append(numbers, n)
		}
	default:
		select {
		case <-held:
		case <-time.After(time.Minute):
			t.Errorf("no request comes from the process that is to be killed %v", p)
		}
	}
	numbers = append(numbers, c.kill()...)
	close(release)
	return numbers
}

// killAtRandom is the row about SIGKILL.
func killAtRandom(t *testing.T) result {
	t.Logf("seed %d", killSeed)
	all := newTally()
	var mu sync.Mutex
	var recorded []int64
	var clients []*Client
	var group sync.WaitGroup
	for i := range lanes {
		l := &lane{tally: newTally(), state: filepath.Join(t.TempDir(), "state")}
		l.set(l.answer)
		l.url = l.serve(t)
		draw := rand.New(rand.NewPCG(killSeed, uint64(i)))
		group.Go(func() {
			var numbers []int64
			for k := range killsPerLane {
				p := point{kind: draw.IntN(pointKinds), after: time.Duration(draw.Int64N(int64(150 * time.Millisecond))), count: draw.IntN(killedCount)}
				numbers = append(numbers, l.run(t, p, int64(i*killsPerLane+k)*killedCount)...)
			}
			c := l.last(t)
			mu.Lock()
			defer mu.Unlock()
			recorded = append(recorded, numbers...)
			clients = append(clients, c)
			all.count(l.arrived)
			all.again += l.again
			all.requests += l.requests
		})
	}
	group.Wait()
	if len(recorded) < 1000 {
		t.Errorf("only %d events were recorded before the processes were killed: too few to mean anything", len(recorded))
	}
	for _, c := range clients {
		consistent(t, c)
		if st := c.Stats(); st.Dropped != 0 || st.Waiting != 0 || st.Failures != 0 {
			t.Errorf("the last start drops %d events, leaves %d, and %d of its requests fail", st.Dropped, st.Waiting, st.Failures)
		}
	}
	_, _, lost, doubled, again := all.sum(slices.Values(recorded))
	if lost != 0 {
		t.Errorf("%d events of %d are lost though their Record had returned", lost, len(recorded))
	}
	if doubled != 0 {
		t.Errorf("%d events are counted twice", doubled)
	}
	t.Logf("%d requests, %d events recorded, %d sent again", all.requests, len(recorded), again)
	return result{
		requests: atMost(t, all.requests, 2000), failed: 0, recorded: "1,000 or more", delivered: "all", refused: 0,
		lost: lost, again: atMost(t, again, lanes*killsPerLane*killedCount), doubled: doubled,
	}
}

func atMost(t *testing.T, n, most int) string {
	t.Helper()
	if n > most {
		t.Errorf("%d is more than the %d that the table says", n, most)
	}
	return fmt.Sprintf("at most %d", most)
}

// last is the start after all that were killed. It sends what is left, and no
// file stays.
func (l *lane) last(t *testing.T) *Client {
	l.mu.Lock()
	l.hold = anyTime
	l.mu.Unlock()
	c := newCoffee()
	cfg := Config{URL: l.url, APIKey: "key", StateDir: l.state, Interval: time.Hour, QueueSize: killQueue, Getenv: noEnv}
	cfg.now = func() time.Time { return wallShifted(t, time.Now(), 24*time.Hour) } // what was begun and never used is old by then
	if err := c.Open(cfg); err != nil {
		t.Error(err)
		return c.Client
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
	files, err := os.ReadDir(spoolDir(l.state))
	if err != nil {
		t.Error(err)
	}
	for _, f := range files {
		t.Errorf("%s stays in the spool", f.Name())
	}
	return c.Client
}

// twoProcesses is the row about two processes on one folder.
func twoProcesses(t *testing.T) result {
	const each = 2000
	l := &lane{tally: newTally(), state: filepath.Join(t.TempDir(), "state")}
	l.set(l.answer)
	l.url = l.serve(t)
	a := start(t, job{URL: l.url, State: l.state, Interval: 2 * time.Millisecond, From: 0, Count: each})
	b := start(t, job{URL: l.url, State: l.state, Interval: 2 * time.Millisecond, From: each, Count: each})
	var numbers []int64
	for range each / 2 { // b is in the middle of it
		numbers = append(numbers, <-b.recorded)
	}
	numbers = append(numbers, b.kill()...)
	others, r := a.end(t)
	numbers = append(numbers, others...)
	if len(others) != each || r.Stats.Dropped != 0 || r.Stats.Waiting != 0 || r.Err != "" {
		t.Errorf("the process that was not killed has recorded %d of %d events and says %+v", len(others), each, r)
	}
	c := l.last(t)
	failures := r.Stats.Failures + c.Stats().Failures
	if st := c.Stats(); st.Dropped != 0 || st.Waiting != 0 {
		t.Errorf("the last start drops %d events and leaves %d", st.Dropped, st.Waiting)
	}
	_, _, lost, doubled, again := l.sum(slices.Values(numbers))
	if lost != 0 || doubled != 0 {
		t.Errorf("of %d events %d are lost and %d are counted twice", len(numbers), lost, doubled)
	}
	t.Logf("%d requests, %d events recorded, %d sent again", l.requests, len(numbers), again)
	return result{
		requests: atMost(t, l.requests, 4000), failed: failures, recorded: fmt.Sprintf("%d or more", each+each/2), delivered: "all", refused: 0,
		lost: lost, again: atMost(t, again, 2*each), doubled: doubled,
	}
}

// TestSessionsThatStartTogether: while one session makes its file, others look
// for what is left. None may take the new file for a damaged one.
func TestSessionsThatStartTogether(t *testing.T) {
	y := newTally()
	url := y.serve(t)
	state := filepath.Join(t.TempDir(), "state")
	var number int64
	var clients []*Client
	for range 20 {
		var together sync.WaitGroup
		for range 8 {
			c := newCoffee()
			clients = append(clients, c.Client)
			from := number
			number += 10
			together.Go(func() {
				if err := c.Open(Config{URL: url, APIKey: "key", StateDir: state, Interval: time.Millisecond, QueueSize: 64, Getenv: noEnv}); err != nil {
					t.Error(err)
				}
				for i := range int64(10) {
					c.brewed.Record(small, Count(from+i))
				}
				if err := c.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		together.Wait()
	}
	_, _, lost, doubled, _ := y.sum(numbersTo(number))
	if lost != 0 || doubled != 0 {
		t.Errorf("%d events are lost and %d are counted twice", lost, doubled)
	}
	for _, c := range clients {
		if st := c.Stats(); st.Dropped != 0 || st.Waiting != 0 {
			t.Fatalf("a session drops %d events and leaves %d", st.Dropped, st.Waiting)
		}
	}
	files, err := os.ReadDir(spoolDir(state))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Errorf("%s stays in the spool", f.Name())
	}
}
