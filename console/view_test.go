package console

import (
	"net/url"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// The URL of a view asks for that view again.
func TestViewURL(t *testing.T) {
	p := blindai(t)
	other := &plan.Plan{App: "other", Fields: p.Fields, Identity: p.Identity, Events: p.Events}
	for _, tt := range []struct{ query, url string }{
		{"", "/?app=blindai&range=30d"},
		{"app=other", "/?app=other&range=30d"},
		{"range=24h&measure=sessions", "/?app=blindai&measure=sessions&range=24h"},
		{"from=2026-01-01&to=2026-01-01&by=sgx_mode", "/?app=blindai&by=sgx_mode&from=2026-01-01&to=2026-01-01"},
		{"measure=events&by=event_type", "/?app=blindai&range=30d"},
	} {
		t.Run(tt.query, func(t *testing.T) {
			parse := func(query string) *view {
				q, err := url.ParseQuery(query)
				if err != nil {
					t.Fatal(err)
				}
				v, err := parseView(q, []*plan.Plan{p, other}, noon)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			v := parse(tt.query)
			if v.URL() != tt.url {
				t.Errorf("URL is %s, want %s", v.URL(), tt.url)
			}
			if again := parse(v.URL()[2:]); *again != *v {
				t.Errorf("asks for %+v, want %+v", again, v)
			}
		})
	}
}

func TestViewRange(t *testing.T) {
	p := blindai(t)
	at := func(s string) time.Time {
		v, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct {
		query          string
		from, to       string
		priorFrom      string
		priorTo        string
		name, compared string
	}{
		{"range=24h", "2026-11-22 13:00:00", "2026-11-23 13:00:00", "2026-11-21 13:00:00", "2026-11-22 12:30:00", "the last 24 hours", "the 24 hours before"},
		{"range=7d", "2026-11-17 00:00:00", "2026-11-24 00:00:00", "2026-11-10 00:00:00", "2026-11-16 12:30:00", "the last 7 days", "the 7 days before"},
		{"from=2026-10-30&to=2026-11-02", "2026-10-30 00:00:00", "2026-11-03 00:00:00", "2026-10-26 00:00:00", "2026-10-30 00:00:00", "30 Oct – 2 Nov 2026", "the 4 days before"},
		{"from=2025-12-31&to=2026-01-01", "2025-12-31 00:00:00", "2026-01-02 00:00:00", "2025-12-29 00:00:00", "2025-12-31 00:00:00", "31 Dec 2025 – 1 Jan 2026", "the 2 days before"},
		{"from=2026-01-05&to=2026-01-05", "2026-01-05 00:00:00", "2026-01-06 00:00:00", "2026-01-04 00:00:00", "2026-01-05 00:00:00", "5 Jan 2026", "the day before"},
	} {
		t.Run(tt.query, func(t *testing.T) {
			q, _ := url.ParseQuery(tt.query)
			v, err := parseView(q, []*plan.Plan{p}, noon)
			if err != nil {
				t.Fatal(err)
			}
			if !v.from.Equal(at(tt.from)) || !v.to.Equal(at(tt.to)) {
				t.Errorf("range is %v to %v", v.from, v.to)
			}
			from, to, ok := v.before()
			if !ok || !from.Equal(at(tt.priorFrom)) || !to.Equal(at(tt.priorTo)) {
				t.Errorf("compared with %v to %v, %v", from, to, ok)
			}
			if v.Name() != tt.name || v.Before() != tt.compared {
				t.Errorf("called %q, compared with %q", v.Name(), v.Before())
			}
		})
	}
	q := url.Values{"from": {"2027-01-01"}, "to": {"2027-01-02"}}
	v, err := parseView(q, []*plan.Plan{p}, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := v.before(); ok {
		t.Error("a range to come is compared with something")
	}
}

func FuzzParseView(f *testing.F) {
	f.Add("app=blindai&range=7d&measure=sessions&by=sgx_mode")
	f.Add("from=2026-01-01&to=2099-12-31")
	f.Add("range=90d&from=x")
	p := blindai(f)
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		v, err := parseView(q, []*plan.Plan{p}, noon)
		if err != nil {
			if p := problemOf(err); p.Code != 400 && p.Code != 404 {
				t.Errorf("a bad query is answered %d", p.Code)
			}
			return
		}
		steps := v.to.Sub(v.from) / v.Step()
		if !v.from.Before(v.to) || steps > 1000 || steps > store.MaxSteps {
			t.Errorf("%v to %v in %d steps", v.from, v.to, steps)
		}
	})
}
