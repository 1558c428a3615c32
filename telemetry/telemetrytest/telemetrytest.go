// Package telemetrytest opens a telemetry.Client that sends into memory, so that
// a program's tests can look at what it would have sent.
//
//	c := telemetry.New("coffee", 1)
//	brewed := telemetry.NewEvent(c, "brewed", "A cup was brewed.")
//	rec := telemetrytest.Open(t, c)
//	brewed.Record()
//	rec.Events() // [{brewed ...}]
//
// It refuses to run outside tests.
package telemetrytest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry"
	"github.com/blindai-go/blindai/telemetry/amplitude"
)

// An Event is one event as it stands in a request: the values as JSON has them,
// numbers as written.
type Event struct {
	Type            string
	Top             map[string]string // without event_type
	UserProperties  map[string]string
	EventProperties map[string]string
}

// A Recorder keeps what a client has sent. It is safe for concurrent use.
type Recorder struct {
	t      testing.TB
	client *telemetry.Client

	mu       sync.Mutex
	requests [][]byte
}

// Config returns a configuration that is on, whatever the environment says, and
// sends into rec. For programs that open their client themselves.
func (rec *Recorder) Config() telemetry.Config {
	return telemetry.Config{
		URL:       "http://telemetry.test",
		APIKey:    "test-key",
		Interval:  time.Millisecond,
		Transport: rec,
		Getenv:    func(string) string { return "" },
	}
}

// New returns a Recorder whose Config is still to be used.
func New(t testing.TB) *Recorder {
	if !testing.Testing() {
		panic("telemetrytest: used outside a test")
	}
	return &Recorder{t: t}
}

// Open opens c so that it sends into the Recorder it returns. The client is
// closed at the end of the test.
func Open(t testing.TB, c *telemetry.Client) *Recorder {
	t.Helper()
	rec := New(t)
	rec.client = c
	if err := c.Open(rec.Config()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return rec
}

// RoundTrip keeps the request and answers it as Amplitude does.
func (rec *Recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return nil, err
	}
	var d amplitude.Decoder
	r, err := d.Decode(body, amplitude.MaxEvents)
	if err != nil {
		rec.t.Errorf("telemetrytest: the client sent a request that cannot be decoded: %v", err)
	}
	rec.mu.Lock()
	rec.requests = append(rec.requests, body)
	rec.mu.Unlock()
	answer := amplitude.AppendOK(nil, len(r.Events), len(body), time.Now().UnixMilli())
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(answer)), Request: req,
	}, nil
}

// Events closes the client that Open opened, so that nothing waits any more, and
// returns all events in the order of sending.
func (rec *Recorder) Events() []Event {
	rec.t.Helper()
	if rec.client != nil {
		if err := rec.client.Close(context.Background()); err != nil {
			rec.t.Error(err)
		}
	}
	var events []Event
	var d amplitude.Decoder
	for _, body := range rec.Requests() {
		r, err := d.Decode(body, amplitude.MaxEvents)
		if err != nil {
			rec.t.Fatal(err)
		}
		for _, e := range r.Events {
			ev := Event{Top: members(e.Top), UserProperties: members(e.UserProperties), EventProperties: members(e.EventProperties)}
			ev.Type = ev.Top["event_type"]
			delete(ev.Top, "event_type")
			events = append(events, ev)
		}
	}
	return events
}

// Requests returns the bodies of all requests so far.
func (rec *Recorder) Requests() [][]byte {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([][]byte(nil), rec.requests...)
}

func members(ms []amplitude.Member) map[string]string {
	m := make(map[string]string, len(ms))
	for _, x := range ms {
		m[string(x.Name)] = string(x.Bytes)
	}
	return m
}
