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
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry"
)

// An Event is one event as it stands in a request: texts without their quotes,
// numbers and flags as written.
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
	events, err := decode(body)
	if err != nil {
		rec.t.Errorf("telemetrytest: the client sent a request that cannot be decoded: %v", err)
	}
	rec.mu.Lock()
	rec.requests = append(rec.requests, body)
	rec.mu.Unlock()
	answer := fmt.Sprintf(`{"code":200,"events_ingested":%d,"payload_size_bytes":%d,"server_upload_time":%d}`,
		len(events), len(body), time.Now().UnixMilli())
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(answer)), Request: req,
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
	var all []Event
	for _, body := range rec.Requests() {
		events, err := decode(body)
		if err != nil {
			rec.t.Fatal(err)
		}
		all = append(all, events...)
	}
	return all
}

// Requests returns the bodies of all requests so far.
func (rec *Recorder) Requests() [][]byte {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([][]byte(nil), rec.requests...)
}

// decode reads a request with encoding/json, not with the code that wrote it.
func decode(body []byte) ([]Event, error) {
	var r struct {
		Events []map[string]json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	var events []Event
	for _, top := range r.Events {
		var e Event
		for name, in := range map[string]*map[string]string{"user_properties": &e.UserProperties, "event_properties": &e.EventProperties} {
			var m map[string]json.RawMessage
			if top[name] != nil {
				if err := json.Unmarshal(top[name], &m); err != nil {
					return nil, err
				}
			}
			*in = members(m)
			delete(top, name)
		}
		e.Top = members(top)
		e.Type = e.Top["event_type"]
		delete(e.Top, "event_type")
		events = append(events, e)
	}
	return events, nil
}

func members(raw map[string]json.RawMessage) map[string]string {
	m := make(map[string]string, len(raw))
	for name, v := range raw {
		var s string
		if json.Unmarshal(v, &s) != nil {
			s = string(v)
		}
		m[name] = s
	}
	return m
}
