package collector

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// recipients returns all who are given events of some apps, each name once.
func (c *Collector) recipients(apps []string) []privacy.Recipient {
	var all []privacy.Recipient
	for _, name := range apps {
		app := c.folder.storedApp(name)
		if app == nil {
			continue
		}
		for _, p := range app.Facts.All() {
			if !slices.ContainsFunc(all, func(q privacy.Recipient) bool { return q.Name == p.Name }) {
				all = append(all, p)
			}
		}
	}
	return all
}

// handlePrivacy answers GET /privacy/APP.
func (c *Collector) handlePrivacy(w http.ResponseWriter, r *http.Request) {
	a := c.folder.App(r.PathValue("app"))
	if a == nil {
		noPage(w)
		return
	}
	writePage(w, privacy.Subject{Plan: a.Plan, Facts: a.Facts, Commands: c.commands[a.Name]}.Page())
}

// figuresPatience bounds the time that the figures may spend asking the store.
const figuresPatience = 20 * time.Second

// figures keeps the pages of figures, which are for everyone, so that a crowd
// costs no more than one visitor. A page is good for an hour, and until anything
// is erased.
type figures struct {
	erased atomic.Int64 // erasures so far

	mu    sync.Mutex // guards pages; held while one is made
	pages map[string]figuresPage
}

// A figuresPage is what was made of a plan, in an hour, after so many erasures.
type figuresPage struct {
	plan   *plan.Plan
	hour   time.Time
	erased int64
	html   []byte
}

// handleFigures answers GET /figures/APP, where the maintainer wants it so. An app
// without figures is answered as one that is not there.
func (c *Collector) handleFigures(w http.ResponseWriter, r *http.Request) {
	a := c.folder.App(r.PathValue("app"))
	if a == nil || a.Facts == nil || !a.Facts.Figures {
		noPage(w)
		return
	}
	html, err := c.figuresOf(r.Context(), a)
	if err != nil {
		c.unavailable(w, "figures", err)
		return
	}
	writePage(w, html)
}

func (c *Collector) figuresOf(ctx context.Context, a *App) ([]byte, error) {
	f := &c.figures
	f.mu.Lock()
	defer f.mu.Unlock()
	want := figuresPage{plan: a.Plan, hour: c.now().Truncate(time.Hour), erased: f.erased.Load()}
	if p := f.pages[a.Name]; p.plan == want.plan && p.hour.Equal(want.hour) && p.erased == want.erased {
		return p.html, nil
	}
	// Whoever leaves meanwhile leaves the page to the next.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), figuresPatience)
	defer cancel()
	var err error
	if want.html, err = privacy.Figures(ctx, a.Plan, want.hour, c.store.Ask); err != nil {
		return nil, err
	}
	f.pages[a.Name] = want
	return want.html, nil
}

func noPage(w http.ResponseWriter) {
	writeError(w, &amplitude.Response{Code: http.StatusNotFound, Error: "there is no such page here"})
}

// writePage answers with a page of the privacy room, which changes with the plan,
// the facts and erasures: a browser asks again.
func writePage(w http.ResponseWriter, html []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", privacy.Policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.Write(html)
}
