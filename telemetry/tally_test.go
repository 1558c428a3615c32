package telemetry

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/blindai-go/blindai/telemetry/amplitude"
)

// A sentEvent is what a destination reads of an event. Tests number the events
// that they record, in the field sugar, so that an event is known whatever
// insert_id it comes with.
type sentEvent struct {
	InsertID   string `json:"insert_id"`
	UserID     string `json:"user_id"`
	Time       int64  `json:"time"`
	Properties struct {
		Sugar  int64 `json:"sugar"`
		Uptime int64 `json:"uptime"`
	} `json:"event_properties"`
}

// A reply answers a request. The nil reply counts its events and answers 200.
type reply func(w http.ResponseWriter, r *http.Request, events []sentEvent)

// A tally is the collector of the tests: an event whose insert_id it has seen
// is a repeat and is not counted again.
type tally struct {
	mu       sync.Mutex
	reply    reply
	counted  map[string]int64 // insert_id to number
	arrived  []sentEvent      // those counted, in order
	again    int              // events that came with an insert_id that was counted already
	refused  map[int64]bool   // numbers that were named as not acceptable
	requests int
}

func newTally() *tally { return &tally{counted: map[string]int64{}, refused: map[int64]bool{}} }

func (y *tally) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender has gone
	}
	var request struct{ Events []sentEvent }
	if err := json.Unmarshal(body, &request); err != nil {
		panic(err)
	}
	y.mu.Lock()
	y.requests++
	reply := y.reply
	y.mu.Unlock()
	if reply == nil {
		y.take(w, request.Events)
		return
	}
	reply(w, r, request.Events)
}

// set replaces how requests are answered from now on.
func (y *tally) set(r reply) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.reply = r
}

func (y *tally) received() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.requests
}

// take counts events and says so.
func (y *tally) take(w http.ResponseWriter, events []sentEvent) {
	y.count(events)
	w.Write(amplitude.AppendOK(nil, len(events), 0, 0))
}

func (y *tally) count(events []sentEvent) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, e := range events {
		if _, seen := y.counted[e.InsertID]; seen {
			y.again++
			continue
		}
		y.counted[e.InsertID] = e.Properties.Sugar
		y.arrived = append(y.arrived, e)
	}
}

// refuse notes that an event was named as not acceptable.
func (y *tally) refuse(e sentEvent) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.refused[e.Properties.Sugar] = true
}

// sum holds what was counted against the numbers that were recorded.
func (y *tally) sum(recorded func(yield func(int64) bool)) (delivered, refused, lost, doubled, again int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	times := map[int64]int{}
	for _, number := range y.counted {
		if times[number]++; times[number] == 2 {
			doubled++
		}
	}
	for number := range recorded {
		switch {
		case times[number] > 0:
			delivered++
		case y.refused[number]:
			refused++
		default:
			lost++
		}
	}
	return delivered, refused, lost, doubled, y.again
}

// serve puts the collector on a loopback port and returns its URL.
func (y *tally) serve(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: y}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "http://" + l.Addr().String()
}

// A wire is a network in memory, for tests with fake time: what runs over it is
// the real client and the real server of net/http.
type wire struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newWire() *wire { return &wire{conns: make(chan net.Conn), done: make(chan struct{})} }

func (n *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case n.conns <- there:
		return here, nil
	case <-n.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *wire) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *wire) Close() error   { n.once.Do(func() { close(n.done) }); return nil }
func (n *wire) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// A meter notes when requests fail.
type meter struct {
	next     http.RoundTripper
	answered chan bool // if not nil, gets a value when headers have come

	mu     sync.Mutex
	failed []time.Time
}

func (m *meter) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := m.next.RoundTrip(req)
	if err != nil || resp.StatusCode/100 != 2 {
		m.mu.Lock()
		m.failed = append(m.failed, time.Now())
		m.mu.Unlock()
	}
	if err == nil && m.answered != nil {
		m.answered <- true
	}
	return resp, err
}

// worstMinute returns the largest number of requests that failed within one
// minute.
func (m *meter) worstMinute() (worst int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := 0
	for i, at := range m.failed {
		for at.Sub(m.failed[first]) >= time.Minute {
			first++
		}
		worst = max(worst, i-first+1)
	}
	return worst
}

// noJitter draws the longest wait each time, so that requests can be counted.
func noJitter(d time.Duration) time.Duration { return d }

// wallShifted returns t with its wall clock moved and its monotonic reading as
// it was. A session that starts with it finds, at every later look at the clock,
// that the wall clock has jumped by -d since: no function of package time makes
// such a value, and the real clock cannot be set by a test.
func wallShifted(t testing.TB, at time.Time, d time.Duration) time.Time {
	t.Helper()
	const secondsShift = 30 // of the wall word: 1 bit hasMonotonic, 33 bits seconds, 30 bits nanoseconds
	shifted := at
	word := (*uint64)(unsafe.Pointer(&shifted))
	*word += uint64(d/time.Second) << secondsShift
	if !shifted.Round(0).Equal(at.Round(0).Add(d)) || shifted.Sub(at) != 0 {
		t.Fatalf("time.Time has another form than this helper thinks: %v became %v", at, shifted)
	}
	return shifted
}

// consistent asserts that every event is in just one of the counts.
func consistent(t testing.TB, c *Client) {
	t.Helper()
	if s := c.Stats(); s.Recorded != s.Sent+s.Refused+s.Dropped+s.Waiting {
		t.Errorf("%d events are recorded, and the other counts do not add up to that: %+v", s.Recorded, s)
	}
}

// A logBook is a log that tests can read.
type logBook struct {
	mu sync.Mutex
	b  []byte
}

func (w *logBook) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, b...)
	return len(b), nil
}

func (w *logBook) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.b)
}

func (w *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// numbersTo yields the numbers from 0 to below n.
func numbersTo(n int64) func(yield func(int64) bool) {
	return func(yield func(int64) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
