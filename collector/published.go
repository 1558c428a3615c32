package collector

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// recipients returns all who are given events of some apps, each name once, and
// whether they are stated of each app.
func (c *Collector) recipients(apps []string) (all []privacy.Recipient, stated bool) {
	stated = true
	for _, name := range apps {
		app := c.folder.storedApp(name)
		if app == nil || app.Facts == nil || app.Facts.Recipients == nil {
			stated = false
		}
		if app == nil {
			continue
		}
		for _, p := range app.Facts.All() {
			if !slices.ContainsFunc(all, func(q privacy.Recipient) bool { return q.Name == p.Name }) {
				all = append(all, p)
			}
		}
	}
	return all, stated
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
// is erased; what the store could not answer is not asked for again for retryStore
// seconds.
type figures struct {
	making chan struct{} // holds one while a page is made; guards what follows
	pages  map[string]figuresPage
	failed map[string]time.Time
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
	switch {
	case err == nil:
		writePage(w, html)
	case r.Context().Err() == nil:
		w.Header().Set("Retry-After", strconv.Itoa(retryStore))
		writeError(w, &amplitude.Response{Code: http.StatusServiceUnavailable, Error: "the figures cannot be made now; ask again later"})
	}
}

var errFigures = errors.New("the store could not answer just now")

func (c *Collector) figuresOf(ctx context.Context, a *App) ([]byte, error) {
	f := &c.figures
	select {
	case f.making <- struct{}{}:
		defer func() { <-f.making }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	want := figuresPage{plan: a.Plan, hour: c.now().Truncate(time.Hour), erased: c.Erasures(a.Name)}
	if p := f.pages[a.Name]; p.plan == want.plan && p.hour.Equal(want.hour) && p.erased == want.erased {
		return p.html, nil
	}
	if since := c.now().Sub(f.failed[a.Name]); since >= 0 && since < retryStore*time.Second {
		return nil, errFigures
	}
	// Whoever leaves meanwhile leaves the page to the next.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), figuresPatience)
	defer cancel()
	var err error
	if want.html, err = privacy.Figures(ctx, a.Plan, want.hour, c.store.Ask); err != nil {
		c.log.Error("figures", "app", a.Name, "err", err)
		f.failed[a.Name] = c.now()
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
