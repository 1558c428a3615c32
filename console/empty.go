package console

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"github.com/blindai-go/blindai/store"
)

// empty says why there is nothing to show, and what to do about it.
type empty struct {
	NoApp bool // the collector has no app yet

	// App has never received an event; Collector is this collector's URL.
	App       string
	Collector string
	BlindAI   bool // the app is BlindAI itself, whose command we know

	// Range has no event, but there are some: URL shows the Span they cover.
	Range, Span, URL string
}

// empty finds out whether there is any event at all.
func (c *console) empty(ctx context.Context, v *view, r *http.Request) (*empty, error) {
	var first, last time.Time
	one := func(newest bool, t *time.Time) error {
		return c.Store.List(ctx, store.Listing{App: v.plan.App, Limit: 1, Newest: newest}, func(r *store.Record) error {
			*t = time.UnixMilli(r.Time).UTC()
			return nil
		})
	}
	if err := one(true, &last); err != nil {
		return nil, err
	}
	if last.IsZero() {
		return &empty{App: v.plan.App, Collector: origin(r), BlindAI: v.plan.App == "blindai"}, nil
	}
	if err := one(false, &first); err != nil {
		return nil, err
	}
	// The listing goes by arrival, so an old event may have come last.
	if last.Before(first) {
		first, last = last, first
	}
	// A range has a greatest length; its end is more likely to be of interest.
	if oldest := last.Truncate(day).Add(-(maxDays - 1) * day); first.Before(oldest) {
		first = oldest
	}
	there := *v
	there.preset, there.from, there.to = "", first.Truncate(day), last.Truncate(day).Add(day)
	return &empty{Range: v.Name(), Span: there.Dates(), URL: there.URL()}, nil
}

// hosts are the names that a collector is reached by.
var hosts = regexp.MustCompile(`^[A-Za-z0-9._-]+(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$`)

// origin is the URL by which the visitor reached the collector: the one that a
// server can reach it by, too. A host that is none is not repeated.
func origin(r *http.Request) string {
	if !hosts.MatchString(r.Host) {
		return "https://collector.example"
	}
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
