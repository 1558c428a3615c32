// Package console is the collector's face: one page that shows, for an app and
// a range of time, what a store answers, and the latest events as they arrive.
//
// The page is made from the app's plan, so it can show what the plan declares
// and nothing else. The URL holds the whole question, so a view can be shared
// and needs no state here. The console only reads, asks a bounded number of
// questions for a page, and refuses anything but GET. It does not know who is
// asking: whoever mounts it decides who may.
//
// Scripts and styles come from the bundle that `make build` writes to dist.
// Start from New.
package console

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Config says what a console shows. Store is required; every other field may
// be left out.
type Config struct {
	// Store answers the questions.
	Store store.Store

	// Apps returns the plans of the apps that can be chosen; the first is the
	// one shown to who chooses none. It is called for each request and must be
	// safe for concurrent use. nil means that there are no apps.
	Apps func() []*plan.Plan

	// Refused returns what was turned away of an app's events since the
	// collector's start, the most frequent first. It is called for each request
	// and must be safe for concurrent use. nil means that nobody counts.
	Refused func(app string) []Refused

	// Erased counts how often something of an app was erased that may have been
	// shown, so that pages that are open are made anew. It is called for each
	// request and must be safe for concurrent use. nil means that nothing ever is.
	Erased func(app string) int64

	// Logger is told what goes wrong here: pages never say it. nil discards.
	Logger *slog.Logger

	// Dev is the folder of this package's sources. If it is set, pages and
	// bundle are read from it for each request, so that a change shows on reload.
	Dev string

	now func() time.Time
}

// patience bounds the time that a page may spend asking the store.
const patience = 20 * time.Second

type console struct {
	Config
	files files
}

// New returns a handler for "/" and everything below "/console/". It fails if
// the bundle was not built.
func New(cfg Config) (http.Handler, error) {
	if cfg.Store == nil {
		return nil, errors.New("console: Config.Store must be set")
	}
	if cfg.Apps == nil {
		cfg.Apps = func() []*plan.Plan { return nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Erased == nil {
		cfg.Erased = func(string) int64 { return 0 }
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	files, err := openFiles(cfg.Dev)
	if err != nil {
		return nil, err
	}
	c := &console{Config: cfg, files: files}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.handlePage)
	mux.HandleFunc("GET /console/live", c.handleLive)
	mux.HandleFunc("GET /console/erased", c.handleErased)
	mux.HandleFunc("GET /console/assets/{name}", c.handleAsset)
	mux.HandleFunc("/", c.handleElse)
	return withPolicy(mux), nil
}

// policy lets a page load what this origin serves and nothing else: no inline
// script or style, no evaluated text, no frame around it, no other host.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func withPolicy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// A page is what the templates are given.
type page struct {
	Title   string
	Version string // of the bundle, for its URLs
	Erased  int64  // how often something was erased from the app, before the store was asked
	Apps    []choice
	View    *view   // nil if the question could not be read
	Report  *report // nil if there is nothing to report
	Empty   *empty  // nil if there is
	Live    *live   // the latest events
	Refused []Refused
	Problem *problem // nil if all is well
}

// A choice is one link of a picker, or one option of a select.
type choice struct {
	Name, URL string
	Current   bool
}

func (c *console) handlePage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	plans := c.Apps()
	if len(plans) == 0 {
		c.render(w, http.StatusOK, "page", &page{Title: "Console", Empty: &empty{NoApp: true}})
		return
	}
	v, err := parseView(r.URL.Query(), plans, c.now())
	if err != nil {
		c.fail(w, r, err)
		return
	}
	p := &page{Title: v.App() + ", " + v.Name(), View: v, Apps: apps(plans, v), Erased: c.Erased(v.App())}
	if p.Report, err = c.report(ctx, v); err != nil {
		c.fail(w, r, err)
		return
	}
	if p.Report == nil {
		if p.Empty, err = c.empty(ctx, v, r); err != nil {
			c.fail(w, r, err)
			return
		}
	}
	if p.Empty == nil || p.Empty.Range != "" {
		if p.Live, err = c.live(ctx, v.plan); err != nil {
			c.fail(w, r, err)
			return
		}
	}
	if c.Refused != nil {
		p.Refused = c.Refused(v.App())
	}
	c.render(w, http.StatusOK, "page", p)
}

// A Refused is one row of what was turned away.
type Refused struct {
	What  string // "value outside its kind", say
	Field string // as the plan declares it; empty if it is about what is not declared
	Count int64
}

// apps lists the app picker. Changing the app keeps the range, which every app
// has, and drops the grouping, which may be a field of this one only.
func apps(plans []*plan.Plan, v *view) []choice {
	var list []choice
	for _, p := range plans {
		list = append(list, choice{Name: p.App, Current: p == v.plan})
	}
	return list
}

func (c *console) handleLive(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	p, err := chooseApp(r.URL.Query(), c.Apps())
	if err != nil {
		c.fail(w, r, err)
		return
	}
	rows, err := c.live(ctx, p)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.render(w, http.StatusOK, "live-rows", rows)
}

// handleErased tells a page that is open whether it shows what is not there any
// more. It asks the store nothing.
func (c *console) handleErased(w http.ResponseWriter, r *http.Request) {
	p, err := chooseApp(r.URL.Query(), c.Apps())
	if err != nil {
		c.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(strconv.AppendInt(nil, c.Erased(p.App), 10)) // the visitor left: nobody to tell
}

func (c *console) handleElse(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		c.fail(w, r, &problem{Code: http.StatusMethodNotAllowed, Text: "The console only shows; it does not take anything in."})
		return
	}
	c.fail(w, r, &problem{Code: http.StatusNotFound, Text: "There is no page at this address."})
}

// home is the console's first page. Every link of it is made here.
func home(q url.Values) string {
	if len(q) == 0 {
		return "/"
	}
	return "/?" + q.Encode()
}
