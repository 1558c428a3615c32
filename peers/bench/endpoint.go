package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// An Endpoint is a destination on loopback that counts the events it has
// acknowledged. It speaks enough of Amplitude's and PostHog's upload formats for
// their libraries to be content: a 200 with the documented body.
//
// It tells events apart by their model_size, which a run draws from 0 upwards,
// because that is the one thing that all libraries send in the same form.
type Endpoint struct {
	addr  string
	delay time.Duration // before each answer
	bufs  sync.Pool
	serve sync.WaitGroup

	mu       sync.Mutex // guards what follows
	srv      *http.Server
	arrived  []uint64 // a bit for each event
	distinct int
	doubled  int
	last     time.Time // when a new event arrived
}

// Never is the delay of an endpoint that answers no request.
const Never time.Duration = math.MaxInt64

// OpenEndpoint listens on a free port. It waits for delay before each answer.
func OpenEndpoint(delay time.Duration) (*Endpoint, error) {
	e := &Endpoint{addr: "127.0.0.1:0", delay: delay, bufs: sync.Pool{New: func() any { return new(bytes.Buffer) }}}
	return e, e.Start()
}

// URL returns the endpoint's address, without a path.
func (e *Endpoint) URL() string { return "http://" + e.addr }

// Start listens, after Stop on the same address again.
func (e *Endpoint) Start() error {
	l, err := net.Listen("tcp", e.addr)
	if err != nil {
		return fmt.Errorf("open the endpoint: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addr = l.Addr().String()
	e.last = time.Now()
	srv := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	e.srv = srv
	e.serve.Go(func() { srv.Serve(l) })
	return nil
}

// Stop cuts all connections. Whoever connects then is refused.
func (e *Endpoint) Stop() {
	e.mu.Lock()
	srv := e.srv
	e.mu.Unlock()
	srv.Close()
	e.serve.Wait()
}

// ServeHTTP counts the events of a request.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	buf := e.bufs.Get().(*bytes.Buffer)
	defer e.bufs.Put(buf)
	buf.Reset()
	if _, err := buf.ReadFrom(r.Body); err != nil {
		return // the sender went away
	}
	if e.delay > 0 {
		select {
		case <-time.After(e.delay):
		case <-r.Context().Done(): // the sender gave up, or the endpoint was stopped
			return
		}
	}
	n := e.count(buf.Bytes())
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == postHogPath {
		io.WriteString(w, `{"status":1}`)
		return
	}
	fmt.Fprintf(w, `{"code":200,"events_ingested":%d,"payload_size_bytes":%d,"server_upload_time":%d}`, n, buf.Len(), time.Now().UnixMilli())
}

// count looks for sizes by hand: decoding JSON would take more time than the
// libraries that are measured beside it.
func (e *Endpoint) count(body []byte) (events int) {
	marker := []byte(`"` + sizeField + `":`)
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		at := bytes.Index(body, marker)
		if at < 0 {
			return events
		}
		body = body[at+len(marker):]
		size := 0
		for len(body) > 0 && '0' <= body[0] && body[0] <= '9' {
			size = size*10 + int(body[0]-'0')
			body = body[1:]
		}
		events++
		e.note(size)
	}
}

// note marks one event. The caller holds mu.
func (e *Endpoint) note(size int) {
	word, bit := size/64, uint64(1)<<(size%64)
	for word >= len(e.arrived) {
		e.arrived = append(e.arrived, make([]uint64, max(1024, len(e.arrived)))...)
	}
	if e.arrived[word]&bit != 0 {
		e.doubled++
		return
	}
	e.arrived[word] |= bit
	e.distinct++
	e.last = time.Now()
}

// Counts returns how many events were acknowledged, each counted once, and how
// many came again after that.
func (e *Endpoint) Counts() (arrived, doubled int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.distinct, e.doubled
}

// Await waits until n events have arrived in all, or none has for the given
// time. It reports whether all did.
func (e *Endpoint) Await(n int, quiet time.Duration) bool {
	since := time.Now()
	for {
		e.mu.Lock()
		arrived, last := e.distinct, e.last
		e.mu.Unlock()
		if arrived >= n {
			return true
		}
		if last.Before(since) {
			last = since
		}
		if time.Since(last) > quiet {
			return false
		}
		time.Sleep(time.Millisecond)
	}
}

// Fence keeps the process on this machine: connections of http.DefaultTransport,
// which the other libraries use, go to loopback or nowhere, and no name can be
// looked up.
func Fence() {
	refused := errors.New("only loopback may be reached from here")
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, refused
	}}
	t := http.DefaultTransport.(*http.Transport)
	t.Proxy = nil
	var d net.Dialer
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if to, err := netip.ParseAddrPort(addr); err != nil || !to.Addr().IsLoopback() {
			return nil, refused
		}
		return d.DialContext(ctx, network, addr)
	}
}
