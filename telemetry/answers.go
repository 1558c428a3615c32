package telemetry

import (
	"bytes"
	"net/http"
	"sync"
	"time"
)

// answers is what a session remembers of its last requests, for the people who
// ask what was sent. It lives in memory only and goes with the session.
type answers struct {
	mu     sync.Mutex // guards what follows
	sent   []sentRequest
	bytes  int
	away   bool // the last request is under way
	status int  // of the last answer; 0 where none came
	fault  string
	reason string    // what a bad answer says, in our words
	when   time.Time // of the last answer, or of the failure to get one
	key    string    // the collector's, as last seen
	pinned bool      // key is the one that is pinned
}

// A sentRequest is one request as it was sent.
type sentRequest struct {
	body []byte
	when time.Time
	lost bool // no answer came
}

// The last requests that are remembered: ten, and 1 MiB in all, which holds two
// of the largest. 2026-11.
const (
	maxSent      = 10
	maxSentBytes = 1 << 20
)

// sends remembers the body of a request, which is not changed any more.
func (a *answers) sends(body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = true
	a.sent = append(a.sent, sentRequest{body: body, when: time.Now()})
	a.bytes += len(body)
	for len(a.sent) > maxSent || a.bytes > maxSentBytes && len(a.sent) > 1 {
		a.bytes -= len(a.sent[0].body)
		a.sent[0].body = nil
		a.sent = a.sent[1:]
	}
}

// note remembers how the last request was answered, or why it was not.
func (a *answers) note(status int, err error) {
	fault := ""
	if err != nil {
		fault = cause(err).Error()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away, a.status, a.fault, a.reason, a.when = false, status, fault, "", time.Now()
	a.sent[len(a.sent)-1].lost = err != nil
}

// because remembers why the last answer is no yes.
func (a *answers) because(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reason = reason
}

// wire returns the last requests, the oldest first, headers and all, byte for
// byte as they were sent. A line of its own after a request says if no answer came.
func (s *session) wire() ([]byte, error) {
	s.answers.mu.Lock()
	sent, away := append([]sentRequest(nil), s.answers.sent...), s.answers.away
	s.answers.mu.Unlock()
	var b bytes.Buffer
	for i, r := range sent {
		if err := s.write(&b, r.body); err != nil {
			return nil, err
		}
		switch {
		case r.lost:
			b.WriteString("# No answer came to this request.\n")
		case away && i == len(sent)-1:
			b.WriteString("# This request is under way.\n")
		}
	}
	return b.Bytes(), nil
}

// nextRequest returns the request that the next look would send, byte for byte,
// or nothing where nothing waits. It changes nothing, and belongs to the
// session's goroutine.
func (s *session) nextRequest() ([]byte, error) {
	d := &s.sender
	most := min(maxBatch, d.limit)
	if d.slow {
		most = min(most, int(amplitudeRate*max(s.cfg.Interval, time.Second).Seconds()))
	}
	from, events := &s.described, d.pending
	if len(events) == 0 || d.from != nil {
		events = nil
		for _, l := range d.leftovers { // as fill, but for what it changes
			if _, way, _ := l.passageTo(s.url, s.cfg.StateDir); way == open || way == unlisted {
				from, events = &l.described, l.left
				break
			}
		}
	}
	if len(events) == 0 {
		events = s.queue.peek(make([]slot, most))
	}
	if len(events) == 0 {
		return nil, nil
	}
	body, _ := s.encode(nil, from, events[:min(len(events), most)])
	var b bytes.Buffer
	err := s.write(&b, body)
	return b.Bytes(), err
}

// seeKey pins the key of a collector at the first good answer with one, and
// notes when a later one says another.
func (s *session) seeKey(resp *http.Response) {
	key := resp.Header.Get(keyHeader)
	if _, ok := parseKey(key); !ok || resp.StatusCode != http.StatusOK || s.cfg.StateDir == "" {
		return
	}
	a := &s.answers
	a.mu.Lock()
	same, pinned := a.key == key, a.pinned
	a.mu.Unlock()
	if same && pinned {
		return
	}
	pin, err := pinKey(s.cfg.StateDir, origin(s.url), key)
	if err != nil && !same {
		s.warn(err)
	}
	a.mu.Lock()
	a.key, a.pinned = key, err == nil && pin == key
	a.mu.Unlock()
	if err == nil && pin != key && !same {
		s.cfg.Logger.Warn("telemetry: " + sayKey(s.cfg.StateDir, origin(s.url)))
	}
}
