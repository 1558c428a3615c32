package telemetry

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
)

const (
	// maxBatch is the number of events in a request: at under 500 bytes an
	// event half of what Amplitude takes, by both of its limits.
	maxBatch = 1000

	// amplitudeRate is the number of events per second towards Amplitude's own
	// hosts, which throttle a device_id at 30 a second; a whole fleet shares
	// the device_id here, so one sender stays well below.
	amplitudeRate = 25

	// The first wait after a failure, doubled up to the ceiling. With the
	// shortest wait drawn each time that is 5 failing requests in the first
	// minute.
	firstWait = 4 * time.Second
	lastWait  = 5 * time.Minute

	// throttleWait is what Amplitude asks for after a 429.
	throttleWait = 30 * time.Second
)

// A sender keeps what delivery knows between two looks. Only the session's
// goroutine uses it, and close after that has ended.
type sender struct {
	client *http.Client
	slow   bool // towards Amplitude's own hosts

	pending []record // taken from the queue, not yet acknowledged, oldest first
	limit   int      // of events in the next request; halved by a 413
	wait    time.Duration
	next    time.Time // no request before this
	failing bool      // as last logged
	body    []byte
	event   []byte
}

func newSender(url string, cfg Config) sender {
	transport := cfg.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: cfg.Timeout,
			DisableCompression:  true, // no Accept-Encoding header
			MaxIdleConns:        1,
			IdleConnTimeout:     30 * time.Second,
			ForceAttemptHTTP2:   true,
		}
	}
	return sender{
		client: &http.Client{
			Transport: transport,
			Timeout:   cfg.Timeout,
			// A redirect would carry the events to a host that nobody configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		slow:    amplitudeHost(url),
		limit:   maxBatch,
		pending: make([]record, 0, maxBatch),
	}
}

func (d *sender) close() { d.client.CloseIdleConnections() }

// look sends what is new. While answers are good a backlog drains at once. The
// last look of a session does not wait out a back-off, but gives up at the
// first failure.
func (s *session) look(ctx context.Context, last bool) {
	d := &s.sender
	budget := maxBatch << 20 // no bound in practice
	if d.slow {
		budget = int(amplitudeRate * max(s.cfg.Interval, time.Second) / time.Second)
	}
	for ctx.Err() == nil && budget > 0 {
		if !last && time.Now().Before(d.next) {
			return
		}
		if len(d.pending) == 0 {
			d.pending = s.queue.take(d.pending[:min(maxBatch, budget)])
			s.inFlight.Store(int64(len(d.pending)))
		}
		n := min(len(d.pending), d.limit)
		if n == 0 {
			return
		}
		budget -= n
		o := s.post(ctx, d.pending[:n])
		s.settle(o, n)
		if o.verdict == later {
			return
		}
	}
}

// verdict is what becomes of the events of one request.
type verdict uint8

const (
	delivered verdict = iota
	refused           // those named, or all if none is named: they will never be taken
	smaller           // fewer events at a time
	later             // the same again, after a wait
)

// outcome is a verdict with its details.
type outcome struct {
	verdict verdict
	named   []int
	wait    time.Duration // at least this long, for later
	status  int           // 0 without an answer
	missing int           // values in the request that did not fit their kind
	err     error
}

// judge is the one place that decides about an answer. It looks at the HTTP
// status and takes the body as detail, because proxies and captive portals
// answer too. What may pass is tried again; only events that the destination
// names, or a request that it calls malformed, are given up.
func judge(status int, body []byte, n int) outcome {
	o := outcome{verdict: later, status: status}
	switch {
	case status >= 200 && status < 300:
		o.verdict = delivered
	case status == http.StatusBadRequest:
		r := amplitude.ParseResponse(body)
		switch {
		case strings.HasPrefix(r.Error, "Invalid API key"):
			// A key can be put right at the other end.
		case r.Code == http.StatusBadRequest:
			o.verdict, o.named = refused, r.Named(n)
		}
	case status == http.StatusRequestEntityTooLarge && n > 1:
		o.verdict = smaller
	case status == http.StatusRequestEntityTooLarge:
		o.verdict = refused
	case status == http.StatusTooManyRequests:
		o.wait = throttleWait
	}
	return o
}

// settle books the outcome of a request that held the n oldest pending events.
func (s *session) settle(o outcome, n int) {
	d := &s.sender
	gone := n
	switch o.verdict {
	case delivered:
		s.sent.Add(int64(n))
		s.missing.Add(int64(o.missing))
		d.limit = maxBatch
	case refused:
		s.failures.Add(1)
		if len(o.named) == 0 {
			s.refused.Add(int64(n))
			break
		}
		s.refused.Add(int64(len(o.named)))
		gone = 0
		kept := d.pending[:0]
		for i, r := range d.pending {
			if len(o.named) > 0 && o.named[0] == i {
				o.named = o.named[1:]
				continue
			}
			kept = append(kept, r)
		}
		d.pending = kept
	case smaller:
		s.failures.Add(1)
		d.limit, gone = n/2, 0
	case later:
		s.failures.Add(1)
		gone = 0
	}
	d.pending = append(d.pending[:0], d.pending[gone:]...)
	s.inFlight.Store(int64(len(d.pending)))

	if o.verdict == later {
		d.wait = min(max(2*d.wait, firstWait), lastWait)
		// Jitter keeps a fleet from coming back all at once.
		wait := max(o.wait, d.wait/2+rand.N(d.wait/2+1))
		d.next = time.Now().Add(wait)
		if !d.failing {
			d.failing = true
			s.cfg.Logger.Warn("telemetry: events cannot be delivered; they wait, and delivery is tried again", "status", o.status, "err", o.err)
		}
		return
	}
	d.wait, d.next = 0, time.Time{}
	if d.failing && o.verdict == delivered {
		d.failing = false
		s.cfg.Logger.Info("telemetry: events are delivered again")
	}
}

// abandon gives up all that waits and returns how much it was.
func (s *session) abandon() int64 {
	left := s.queue.clear() + s.inFlight.Swap(0)
	s.lost.Add(left)
	return left
}

// post sends one request.
func (s *session) post(ctx context.Context, records []record) outcome {
	s.requests.Add(1)
	d := &s.sender
	var missing int
	d.body, missing = s.encode(d.body[:0], records)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(d.body))
	if err != nil {
		return outcome{verdict: later, err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["User-Agent"] = []string{""} // net/http then sends none
	resp, err := d.client.Do(req)
	if err != nil {
		return outcome{verdict: later, err: err}
	}
	defer resp.Body.Close()
	// An answer that cannot be read whole still has its status. 64 KiB hold the
	// indexes of all events of a request.
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	o := judge(resp.StatusCode, answer, len(records))
	o.missing = missing
	return o
}

// encode appends the request that carries records, and counts the values in it
// that did not fit their kind.
func (s *session) encode(dst []byte, records []record) (body []byte, missing int) {
	_, key := s.cfg.destination()
	dst = amplitude.AppendHead(dst, key)
	for i := range records {
		var m int
		s.sender.event, m = s.encodeEvent(s.sender.event[:0], &records[i])
		dst = amplitude.AppendEvent(dst, i, s.sender.event)
		missing += m
	}
	return amplitude.AppendTail(dst), missing
}

func (s *session) encodeEvent(dst []byte, r *record) (event []byte, missing int) {
	dst = append(dst, s.heads[r.event]...)
	dst = strconv.AppendInt(dst, s.start.UnixMilli()+r.elapsed/int64(time.Millisecond), 10)
	dst = append(dst, `,"insert_id":"`...)
	dst = append(dst, s.id...)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, r.seq, 10)
	dst = append(dst, `","event_properties":{"uptime":`...)
	dst = strconv.AppendInt(dst, r.elapsed/int64(time.Second), 10)
	fields := s.plan.Events[r.event].Fields
	for i := range fields {
		f := &fields[i]
		v := fromInt(f, r.own[i])
		if !v.Set {
			missing++
			continue
		}
		dst = append(dst, ',')
		dst = amplitude.AppendString(dst, f.Name)
		dst = f.AppendJSON(append(dst, ':'), v)
	}
	return append(dst, `}}`...), missing
}
