package collector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// maxErasing bounds the erasures that wait for the writer; further ones are
// answered 503 and come back. One step takes them all: the store deletes what they
// have in one transaction, and so many take hardly longer than one (BenchmarkErase
// in store/duckdb). 2026-11.
const maxErasing = 1024

// erasures are those that wait for the writer, and what came of those that
// failed. Whatever waits at the same moment is served in one step between two
// commits, because what an erasure costs is the same for one and for many: a flood
// of them keeps neither the rightful asker nor the events that come waiting for
// long. It is safe for concurrent use.
type erasures struct {
	mu      sync.Mutex // guards what follows
	waiting []*erasing

	// failed are those that failed half way. The store may answer nothing about
	// them any more, and has yet to end them.
	failed map[sender]bool

	// owed is what was erased by requests that failed in another app, and so were
	// answered with no receipt. The next one of that sender tells it.
	owed map[plan.ID][]ErasedApp

	// counts are the steps that took away something that may have been shown, by
	// app.
	counts map[string]int64
}

// Erasures counts how often something of an app was erased, since the start. What
// was made for people before the last time may show what is not there any more. It
// is safe for concurrent use.
func (c *Collector) Erasures(app string) int64 {
	c.erasures.mu.Lock()
	defer c.erasures.mu.Unlock()
	return c.erasures.counts[app]
}

// An erasing is one sender that is to be erased from some apps.
type erasing struct {
	id   plan.ID
	apps []string

	// Set when done is closed. Beside an error erased holds the apps in which it
	// went well.
	erased []ErasedApp
	err    error
	done   chan struct{}
}

// erase erases senders from apps, from all or with an error from none or some; it
// is then ended by the same call again, or by the next start. It returns one
// list for each of ids, in their order: what was erased, also by requests before it
// that could not be answered so. resumed tells the latter.
//
// Once it has begun it does not depend on ctx: a tombstone keeps out what comes,
// so what is there must not stay because somebody did not wait for the answer.
func (c *Collector) erase(ctx context.Context, ids []plan.ID, apps []string) (erased [][]ErasedApp, resumed bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	es := &c.erasures
	all := make([]*erasing, len(ids))
	var more []*erasing // of all, those that the writer has to do with
	es.mu.Lock()
	for i, id := range ids {
		all[i] = &erasing{id: id, done: make(chan struct{})}
		resumed = resumed || len(es.owed[id]) > 0
		for _, app := range apps {
			// One that was erased before and has nothing stored does not trouble the
			// writer, who would end a commit for it.
			failed := es.failed[sender{app, id}]
			holds, e := false, error(nil)
			if c.folder.tombstones.has(app, id) && !failed {
				if holds, e = c.stores(ctx, app, id); e == nil && !holds {
					continue
				}
			}
			err = errors.Join(err, e)
			resumed = resumed || failed
			all[i].apps = append(all[i].apps, app)
		}
		if len(all[i].apps) > 0 {
			more = append(more, all[i])
		} else {
			close(all[i].done)
		}
	}
	if err == nil && len(es.waiting)+len(more) > maxErasing {
		err = errBusy
	}
	if err != nil {
		es.mu.Unlock()
		return nil, false, err
	}
	first := len(es.waiting) == 0 && len(more) > 0
	es.waiting = append(es.waiting, more...)
	es.mu.Unlock()
	if first { // whoever comes until the step begins is served by it too
		if err := c.writer.do(c.eraseWaiting); err != nil {
			for _, e := range es.take() {
				e.err = err
				close(e.done)
			}
		}
	}
	for _, e := range all {
		<-e.done
		err = errors.Join(err, e.err)
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	for _, e := range all {
		told := es.owed[e.id]
		for _, app := range e.erased {
			if !app.empty() {
				told = addErased(told, app)
			}
		}
		switch {
		case err == nil:
			delete(es.owed, e.id)
		case len(told) > 0:
			es.owed[e.id] = told
		}
		erased = append(erased, told)
	}
	return erased, resumed, err
}

// addErased returns what was erased, and more of it.
func addErased(all []ErasedApp, more ErasedApp) []ErasedApp {
	all = slices.Clone(all)
	if at := slices.IndexFunc(all, func(e ErasedApp) bool { return e.App == more.App }); at >= 0 {
		all[at].Events += more.Events
		all[at].Sessions += more.Sessions
		all[at].Properties += more.Properties
		return all
	}
	return append(all, more)
}

// take takes the erasures that wait.
func (es *erasures) take() []*erasing {
	es.mu.Lock()
	defer es.mu.Unlock()
	taken := es.waiting
	es.waiting = nil
	return taken
}

// eraseWaiting is a step of the writer.
func (c *Collector) eraseWaiting() {
	all := c.erasures.take()
	byApp, asked := map[string][]plan.ID{}, map[sender]bool{}
	for _, e := range all {
		for _, app := range e.apps {
			if who := (sender{app, e.id}); !asked[who] { // several may ask for one
				asked[who] = true
				byApp[app] = append(byApp[app], e.id)
			}
		}
	}
	type result struct {
		erased map[plan.ID]ErasedApp
		err    error
	}
	results := map[string]result{}
	for app, ids := range byApp {
		erased, err := c.writer.erase(app, ids)
		results[app] = result{erased, err}
	}
	c.erasures.mu.Lock()
	for app, ids := range byApp {
		changed := false
		for _, id := range ids {
			who := sender{app, id}
			changed = changed || c.erasures.failed[who] || !results[app].erased[id].empty()
			if results[app].err != nil {
				c.erasures.failed[who] = true
			} else {
				delete(c.erasures.failed, who)
			}
		}
		if changed {
			c.erasures.counts[app]++
		}
	}
	c.erasures.mu.Unlock()
	for _, e := range all {
		for _, app := range e.apps {
			r := results[app]
			if r.err != nil {
				e.err = errors.Join(e.err, r.err)
				continue
			}
			if n, ok := r.erased[e.id]; ok { // told to one of those who ask at the same moment
				delete(r.erased, e.id)
				e.erased = append(e.erased, n)
			}
		}
		close(e.done)
	}
}

// erase removes senders from an app, as a step: first the tombstones, so that
// nothing of them comes back whatever happens next, then the rows.
func (w *writer) erase(app string, ids []plan.ID) (map[plan.ID]ErasedApp, error) {
	hashes := make([]tombstone, len(ids))
	for i, id := range ids {
		hashes[i] = w.tombstones.of(app, id)
	}
	if err := w.tombstones.add(hashes...); err != nil {
		return nil, err
	}
	said, err := w.identities.forget(app, ids)
	if err != nil {
		return nil, err
	}
	counts, err := w.store.Erase(context.Background(), app, ids)
	switch {
	case w.apps[app] == nil && errors.Is(err, store.ErrUnknownApp): // it was removed before the store ever heard of it
		counts = make([]store.Erased, len(ids))
	case err != nil:
		return nil, fmt.Errorf("erase in app %s: %w", app, err)
	}
	erased := map[plan.ID]ErasedApp{}
	for i, id := range ids {
		erased[id] = ErasedApp{app, counts[i].Events, counts[i].Sessions, said[i]}
		w.metrics.countErased(erased[id])
		if a := w.apps[app]; a != nil {
			a.seen.forget(id)
		}
	}
	return erased, nil
}
