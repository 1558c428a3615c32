package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

const (
	// maxBatch is the number of events in a request: at under 500 bytes an
	// event half of what Amplitude takes, by both of its limits.
	maxBatch = 1000

	// amplitudeRate is the number of events per second towards Amplitude's own
	// hosts, which throttle a device_id at 30 a second; a whole fleet shares
	// the device_id here, so one sender stays well below.
	amplitudeRate = 25

	// The first wait after a failure, doubled up to the ceiling.
	firstWait = 4 * time.Second
	lastWait  = 5 * time.Minute

	// throttleWait is what Amplitude asks for after a 429.
	throttleWait = 30 * time.Second

	// maxFailures is how many requests may fail in a minute. Waits keep below it
	// by far; it bounds answers that ask for another request at once, as a 400
	// that names one event at a time or a 413.
	maxFailures = 30
)

// A sender keeps what delivery knows between two looks. Only the session's
// goroutine uses it, and close after that has ended.
type sender struct {
	client *http.Client
	slow   bool // towards Amplitude's own hosts

	// What may be sent to a slow destination now, in events, and when that was
	// reckoned.
	allowance float64
	reckoned  time.Time

	leftovers []*leftover // sent before the session's own events, one session in a request

	pending []slot    // taken, not yet acknowledged, oldest first
	from    *leftover // where they are from; nil for the session's own
	end     uint64    // position behind the last one taken

	limit   int // of events in the next request; halved by a 413
	wait    time.Duration
	next    time.Time              // no request before this
	failed  [maxFailures]time.Time // the last failures, a ring
	at      int                    // of the oldest in failed
	failing bool                   // as last logged
	size    int                    // of the last request's body
	event   []byte
}

func newSender(url string, cfg Config) (sender, error) {
	transport := cfg.Transport
	if transport == nil {
		conf := &tls.Config{MinVersion: tls.VersionTLS12}
		if cfg.CAFile != "" {
			pem, err := readFile(cfg.CAFile, maxCAFile)
			if err != nil {
				return sender{}, fmt.Errorf("telemetry: read the CA file: %w", err)
			}
			conf.RootCAs = x509.NewCertPool()
			if !conf.RootCAs.AppendCertsFromPEM(pem) {
				return sender{}, errors.New("telemetry: the CA file holds no certificate in PEM")
			}
		}
		// HTTP/1.1 only: its requests are text, so what people are shown is what was
		// sent, byte for byte. HTTP/2 has other headers in another form, and one
		// request every few seconds gains nothing by it.
		var protocols http.Protocols
		protocols.SetHTTP1(true)
		transport = &http.Transport{
			Proxy:               cfg.proxy,
			ProxyConnectHeader:  http.Header{"User-Agent": {""}}, // net/http then sends none
			TLSClientConfig:     conf,
			TLSHandshakeTimeout: cfg.Timeout,
			DisableCompression:  true, // no Accept-Encoding header
			MaxIdleConns:        1,
			IdleConnTimeout:     30 * time.Second,
			Protocols:           &protocols,
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
		pending: make([]slot, 0, maxBatch),
	}, nil
}

func (d *sender) close() { d.client.CloseIdleConnections() }

// may reports whether a request is allowed now. The last look of a session does
// not wait out a back-off, but the bound on failures holds for it too.
func (d *sender) may(now time.Time, last bool) bool {
	oldest := d.failed[d.at]
	return (last || !now.Before(d.next)) && (oldest.IsZero() || now.Sub(oldest) >= time.Minute)
}

// allow returns how many events may be sent to a slow destination now: as many
// as one interval gains, and at the start no more than that.
func (d *sender) allow(now time.Time, interval time.Duration) int {
	most := amplitudeRate * max(interval, time.Second).Seconds()
	if d.reckoned.IsZero() {
		d.allowance = most
	} else {
		d.allowance = min(most, d.allowance+amplitudeRate*now.Sub(d.reckoned).Seconds())
	}
	d.reckoned = now
	return int(d.allowance)
}

// look sends what is new. While answers are good a backlog drains at once. The
// last look of a session does not wait out a back-off, but gives up at the
// first failure.
func (s *session) look(ctx context.Context, last bool) {
	d := &s.sender
	budget := maxBatch << 20 // no bound in practice
	if d.slow {
		budget = d.allow(time.Now(), s.cfg.Interval)
	}
	s.expire()
	for ctx.Err() == nil && budget > 0 && d.may(time.Now(), last) {
		s.attend()
		if s.saysOff() {
			return // run ends the session
		}
		if len(d.pending) == 0 || d.from != nil { // a leftover may have been forgotten since it was taken
			s.fill(min(maxBatch, budget))
		}
		n := min(len(d.pending), d.limit)
		if n == 0 {
			return
		}
		budget -= n
		d.allowance -= float64(n)
		o := s.post(ctx, d.pending[:n])
		if s.cut.Load() && o.verdict == later {
			return // it was cut off by the owner
		}
		s.settle(o, n)
		if o.verdict == later {
			return
		}
	}
}

// search looks for what ended sessions have left.
func (s *session) search(ctx context.Context) {
	if s.cfg.StateDir == "" {
		return
	}
	found, lost, unreadable, err := findLeftovers(ctx, s.cfg.StateDir, s.App, s.start, s.cfg.QueueSize)
	s.warn(err)
	if unreadable > 0 {
		s.cfg.Logger.Warn("telemetry: events of ended sessions are lost, because a spool file is damaged; it is kept for a week", "events", unreadable, "folder", spoolDir(s.cfg.StateDir))
	}
	s.sender.leftovers = found
	s.lost.Add(lost)
	n := lost
	for _, l := range found {
		s.old.Add(int64(len(l.left)))
		n += int64(len(l.left))
	}
	s.recovered.Add(n)
}

// expire drops what has waited for longer than maxAge, also what was in a
// request that failed. No request is under way here.
func (s *session) expire() {
	d := &s.sender
	since := time.Since(s.start)
	oldest := int64(since - maxAge)
	n := 0
	if d.from == nil {
		for n < len(d.pending) && d.pending[n].elapsed < oldest {
			n++
		}
		if n > 0 {
			s.lost.Add(int64(n))
			d.pending = append(d.pending[:0], d.pending[n:]...)
			s.acknowledge()
		}
	}
	s.queue.expire(oldest)
	kept := d.leftovers[:0]
	for _, l := range d.leftovers {
		n := l.expire(s.start.Add(since))
		s.lost.Add(n)
		s.old.Add(-n)
		if n > 0 && l == d.from {
			d.pending, d.from = d.pending[:0], nil // it is filled anew
		}
		if len(l.left) == 0 {
			s.warn(l.finish())
			continue
		}
		kept = append(kept, l)
	}
	d.leftovers = kept
}

// fill takes up to n events to send next, all of one session.
func (s *session) fill(n int) {
	d := &s.sender
	d.pending, d.from = d.pending[:0], nil
	for len(d.leftovers) > 0 {
		l := d.leftovers[0]
		if s.passes(l) {
			d.from = l
			n = min(n, len(l.left))
			d.pending = append(d.pending, l.left[:n]...)
			d.end = d.pending[n-1].position() + 1
			return
		}
		d.leftovers = d.leftovers[1:]
	}
	d.pending = s.queue.take(d.pending[:n])
	d.end = s.queue.taken()
}

// acknowledge frees what was settled. In the session's own queue that is all
// before the oldest event that is still pending.
func (s *session) acknowledge() {
	d := &s.sender
	if d.from == nil {
		end := d.end
		if len(d.pending) > 0 {
			end = d.pending[0].position()
		}
		s.queue.acknowledge(end, len(d.pending))
		return
	}
	l := d.from
	before, taken := len(l.left), 0
	for taken < before && l.left[taken].position() < d.end {
		taken++
	}
	l.left = l.left[taken-len(d.pending):]
	copy(l.left, d.pending) // without those that were refused in between
	s.old.Add(int64(len(l.left) - before))
	if len(l.left) == 0 {
		s.warn(l.finish())
		d.leftovers = d.leftovers[1:]
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
	reason  string        // what the answer says, in our words; the destination's may say anything
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
			o.reason = "wrong API key"
		case r.Code == http.StatusBadRequest:
			o.verdict, o.named, o.reason = refused, r.Named(n), "events refused"
		}
	case status == http.StatusRequestEntityTooLarge && n > 1:
		o.verdict, o.reason = smaller, "too many events in a request"
	case status == http.StatusRequestEntityTooLarge:
		o.verdict, o.reason = refused, "event too large"
	case status == http.StatusTooManyRequests:
		o.wait, o.reason = throttleWait, "too many requests"
	}
	return o
}

// settle books the outcome of a request that held the n oldest pending events.
func (s *session) settle(o outcome, n int) {
	d := &s.sender
	if o.verdict != delivered {
		s.failures.Add(1)
		d.failed[d.at] = time.Now()
		d.at = (d.at + 1) % maxFailures
	}
	switch o.verdict {
	case delivered:
		s.sent.Add(int64(n))
		s.missing.Add(int64(o.missing))
		// After a 413 a little more each time: a jump back to the full size would
		// make the halving begin anew.
		d.limit = min(maxBatch, d.limit+d.limit/8+1)
		d.pending = append(d.pending[:0], d.pending[n:]...)
	case refused:
		if len(o.named) == 0 {
			s.refused.Add(int64(n))
			d.pending = append(d.pending[:0], d.pending[n:]...)
			break
		}
		s.refused.Add(int64(len(o.named)))
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
		d.limit = n / 2
	}
	if o.verdict != later {
		s.acknowledge()
		d.wait, d.next = 0, time.Time{}
		if d.failing && o.verdict == delivered {
			d.failing = false
			s.cfg.Logger.Info("telemetry: events are delivered again")
		}
		return
	}
	d.wait = min(max(2*d.wait, firstWait), lastWait)
	// Jitter keeps a fleet from coming back all at once.
	d.next = time.Now().Add(max(o.wait, d.wait/2+s.cfg.jitter(d.wait/2)))
	if !d.failing {
		d.failing = true
		args := []any{"status", o.status}
		if o.reason != "" {
			args = append(args, "reason", o.reason)
		}
		if o.err != nil {
			args = append(args, "err", cause(o.err))
		}
		s.cfg.Logger.Warn("telemetry: events cannot be delivered; they wait, and delivery is tried again", args...)
	}
}

// post sends one request.
func (s *session) post(ctx context.Context, events []slot) outcome {
	s.requests.Add(1)
	d := &s.sender
	from := &s.described
	if d.from != nil {
		from = &d.from.described
	}
	// The memory is not used again for the next request: net/http may still read
	// it after an answer that came early.
	body, missing := s.encode(make([]byte, 0, d.size), from, events)
	d.size = len(body)
	ctx, done := s.cutWhenOff(ctx)
	defer done()
	req, err := newRequest(ctx, s.url, body, s.cfg.Gzip)
	if err != nil {
		return outcome{verdict: later, err: err}
	}
	s.answers.sends(body)
	resp, err := d.client.Do(req)
	if err != nil {
		s.answers.note(0, err)
		return outcome{verdict: later, err: err}
	}
	defer resp.Body.Close()
	s.answers.note(resp.StatusCode, nil)
	s.seeKey(resp)
	// An answer that cannot be read whole still has its status. 64 KiB hold the
	// indexes of all events of a request.
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	o := judge(resp.StatusCode, answer, len(events))
	o.missing = missing
	s.answers.because(o.reason)
	return o
}

// cutWhenOff returns a context for one request that ends when the owner says off
// meanwhile: an answer that takes its time must not make off take as long.
func (s *session) cutWhenOff(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if s.cfg.StateDir == "" {
		return ctx, cancel
	}
	pause := max(s.cfg.Interval/2, time.Millisecond)
	watch := time.AfterFunc(pause, func() { // most requests take less, and cost no goroutine
		for ctx.Err() == nil {
			if s.saysOff() {
				s.cut.Store(true)
				cancel()
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
	return ctx, func() { watch.Stop(); cancel() }
}

func compress(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b) // to memory: cannot fail
	z.Close()
	return out.Bytes()
}

// encode appends the request that carries events of a session, and counts the
// values in it that did not fit their kind.
func (s *session) encode(dst []byte, from *described, events []slot) (body []byte, missing int) {
	_, key := s.cfg.destination()
	dst = amplitude.AppendHead(dst, key)
	for i := range events {
		var m int
		s.sender.event, m = from.encodeEvent(s.sender.event[:0], &events[i])
		dst = amplitude.AppendEvent(dst, i, s.sender.event)
		missing += m
	}
	return amplitude.AppendTail(dst), missing
}

// encodeEvent appends one event as JSON. A time that the plan would refuse is
// left out: the clock was wrong, and what happened is worth more than when.
func (d *described) encodeEvent(dst []byte, e *slot) (event []byte, missing int) {
	head := d.Heads[e.event()]
	if t := d.Started + e.elapsed/int64(time.Millisecond); d.Started != noTime && t <= plan.MaxTime {
		dst = append(dst, head...)
		dst = strconv.AppendInt(dst, t, 10)
	} else {
		dst = append(dst, strings.TrimSuffix(head, timeKey)...)
	}
	dst = append(dst, `,"insert_id":"`...)
	dst = append(dst, d.ID...)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, e.seq, 10)
	dst = append(dst, `","event_properties":{`...)
	held := 0
	if d.Held != nil {
		held = d.Held[e.event()]
	}
	begin := len(dst)
	if held&(1<<uptimeBit) == 0 {
		dst = append(dst, `"uptime":`...)
		dst = strconv.AppendInt(dst, e.elapsed/int64(time.Second), 10)
	}
	fields := d.Plan.Events[e.event()].Fields
	for i := range fields {
		if held&(1<<i) != 0 {
			continue
		}
		f := &fields[i]
		v := fromInt(f, e.own[i])
		if !v.Set {
			missing++
			continue
		}
		if len(dst) > begin {
			dst = append(dst, ',')
		}
		dst = amplitude.AppendString(dst, f.Name)
		dst = f.AppendJSON(append(dst, ':'), v)
	}
	return append(dst, `}}`...), missing
}
