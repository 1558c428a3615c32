package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// maxGroup bounds the events of one commit. With the store loading several
// hundred thousand rows a second, a group commits within a fraction of one.
const maxGroup = 100_000

// maxWaiting bounds the requests that wait for a commit; further ones are
// answered 503 and come back.
const maxWaiting = 1024

// A writer is the one goroutine that changes the store. Requests hand it their
// records and wait; what has come while one commit was under way goes into the
// next one together. Repeats are recognised here, at the commit, so that a
// repeat of an event that is just being stored waits for it; and an erasure is
// a step between two commits, so that nothing slips past it.
type writer struct {
	store      store.Store
	tombstones *tombstones
	identities *identities
	metrics    *metrics
	log        *slog.Logger
	now        func() time.Time
	dir        string // for what was seen
	apps       map[string]*written

	jobs chan job
	done chan struct{}

	ending sync.RWMutex // held by whoever hands a job over
	ended  bool         // guarded by ending: jobs is closed

	records []store.Record // of one commit; reused
}

// What the writer knows of an app.
type written struct {
	plan *plan.Plan // which the store has
	seen *dedup

	failing bool // what was seen could not be moved to disk at the last commit
}

// A job is what the writer is asked to do: keep what one request says, or run a step.
type job struct {
	app     *App
	guard   *guard // that the request was held against
	records []store.Record
	said    []identification
	step    func()
	result  chan error // buffered, so that the writer never waits for a sender
}

var (
	errBusy = errors.New("too many requests wait to be stored; send again later")

	// errEnding: a request outlives the server that was to finish it.
	errEnding = errors.New("the collector ends now; send again later")

	// errStale: since the records were checked the app has got a new version of
	// its plan, so that their columns may be others, or it was removed.
	errStale = errors.New("the plan that the records were held against is not the app's any more")
)

func newWriter(ctx context.Context, s store.Store, f *Folder, m *metrics, log *slog.Logger, now func() time.Time) (*writer, error) {
	w := &writer{
		store: s, tombstones: f.tombstones, metrics: m, log: log, now: now, dir: f.dir,
		apps: map[string]*written{}, jobs: make(chan job, maxWaiting), done: make(chan struct{}),
	}
	if err := f.settle(func(p *plan.Plan) error { return s.Define(ctx, p) }); err != nil {
		return nil, err
	}
	for _, name := range f.stored() {
		if err := w.sweep(ctx, name); err != nil {
			return nil, fmt.Errorf("erase what tombstones of app %s name: %w", name, err)
		}
	}
	for _, a := range f.Apps() {
		if err := w.define(ctx, a); err != nil {
			return nil, err
		}
	}
	var err error
	if w.identities, err = openIdentities(identitiesPath(f.dir), f.tombstones, f.Apps()); err != nil {
		return nil, err
	}
	go w.run()
	return w, nil
}

// sweep erases what tombstones name and the store has all the same: of an erasure
// that a stop has cut short, or because the store's files were put back from an
// older copy. It belongs to the start, before anything is asked or kept.
func (w *writer) sweep(ctx context.Context, app string) error {
	if w.tombstones.len() == 0 {
		return nil
	}
	var erased []plan.ID
	for id, err := range w.store.Senders(ctx, app) {
		switch {
		case errors.Is(err, store.ErrUnknownApp): // a stop came between the folder's note of it and the store's
			return nil
		case err != nil:
			return err
		case w.tombstones.has(app, id):
			erased = append(erased, id)
		}
	}
	total := ErasedApp{App: app}
	for ids := range slices.Chunk(erased, maxErasing) {
		counts, err := w.store.Erase(ctx, app, ids)
		if err != nil {
			return err
		}
		for _, n := range counts {
			total.Events += n.Events
			total.Sessions += n.Sessions
		}
	}
	if len(erased) > 0 {
		w.log.Info("erased what tombstones name and the store still had", "app", app, "senders", len(erased), "events", total.Events)
		w.metrics.countErased(total)
	}
	return nil
}

// define makes room for an app and learns what is stored of it. Once the writer
// runs, define and extend are for its steps.
func (w *writer) define(ctx context.Context, a *App) error {
	if err := w.store.Define(ctx, a.Plan); err != nil {
		return fmt.Errorf("define app %s: %w", a.Name, err)
	}
	d, err := newDedup(ctx, w.store, a.Name, w.dir, w.now())
	if err != nil {
		return fmt.Errorf("read what is stored of app %s: %w", a.Name, err)
	}
	if before := w.apps[a.Name]; before != nil { // an app of that name was removed
		before.seen.close()
	}
	w.apps[a.Name] = &written{plan: a.Plan, seen: d}
	return nil
}

// extend brings an app's new plan to the store.
func (w *writer) extend(ctx context.Context, p *plan.Plan) error {
	if err := w.store.Define(ctx, p); err != nil {
		return fmt.Errorf("extend app %s: %w", p.App, err)
	}
	w.apps[p.App].plan = p
	return nil
}

// append stores records, and keeps identifications, that were held against the
// plan of app by its guard. On nil they are durable, or were already. errStale:
// look for the app again, and check again.
func (w *writer) append(app *App, g *guard, records []store.Record, said []identification) error {
	if len(records) == 0 && len(said) == 0 {
		return nil
	}
	j := job{app: app, guard: g, records: records, said: said, result: make(chan error, 1)}
	err := w.hand(func() error {
		select {
		case w.jobs <- j:
			return nil
		default:
			return errBusy
		}
	})
	if err != nil {
		return err
	}
	return <-j.result
}

// do runs a step between two commits. An error means that it was not run.
func (w *writer) do(step func()) error {
	j := job{step: step, result: make(chan error, 1)}
	err := w.hand(func() error { w.jobs <- j; return nil })
	if err != nil {
		return err
	}
	return <-j.result
}

// hand has a job handed over, unless the writer has ended.
func (w *writer) hand(over func() error) error {
	w.ending.RLock()
	defer w.ending.RUnlock()
	if w.ended {
		return errEnding
	}
	return over()
}

// close ends the writer after the jobs that it has. Who comes later is refused.
func (w *writer) close() {
	w.ending.Lock()
	w.ended = true
	close(w.jobs)
	w.ending.Unlock()
	<-w.done
	for _, a := range w.apps {
		a.seen.close()
	}
	if err := w.identities.close(); err != nil {
		w.log.Warn("close what senders have said of themselves", "err", err)
	}
}

func (w *writer) run() {
	defer close(w.done)
	var held *job // a step that ended a group
	for {
		var first job
		if held != nil {
			first, held = *held, nil
		} else {
			var ok bool
			if first, ok = <-w.jobs; !ok {
				return
			}
		}
		if first.step != nil {
			first.step()
			first.result <- nil
			continue
		}
		group, n := []job{first}, len(first.records)
	collect:
		for n < maxGroup {
			select {
			case j, ok := <-w.jobs:
				if !ok {
					break collect // the next receive ends the loop
				}
				if j.step != nil {
					held = &j
					break collect
				}
				group = append(group, j)
				n += len(j.records)
			default:
				break collect
			}
		}
		w.commit(group)
	}
}

// commit stores a group, app by app, and answers each job. A group has no step
// in it, so an app's plan is one and the same for all of it.
func (w *writer) commit(group []job) {
	byApp := map[string][]job{}
	for _, j := range group {
		if a := w.apps[j.app.Name]; a == nil || a.plan != j.app.Plan {
			j.result <- errStale
			continue
		}
		byApp[j.app.Name] = append(byApp[j.app.Name], j)
	}
	for app, jobs := range byApp {
		jobs = w.identify(app, jobs)
		err := w.commitApp(app, jobs)
		for _, j := range jobs {
			j.result <- err
		}
	}
}

// identify keeps what the requests of a group say of their senders, and completes
// their records. If it cannot be made durable, the requests that say something
// are answered, and those that remain are returned.
func (w *writer) identify(app string, jobs []job) []job {
	said := 0
	for _, j := range jobs {
		w.identities.apply(app, j.guard, j.records, j.said)
		said += len(j.said)
	}
	if said == 0 {
		return jobs
	}
	err := w.identities.save()
	if err == nil {
		w.metrics.identifys.WithLabelValues(app).Add(float64(said))
		return jobs
	}
	w.metrics.commitsFailed.Inc()
	return slices.DeleteFunc(jobs, func(j job) bool {
		if len(j.said) > 0 {
			j.result <- err
		}
		return len(j.said) > 0
	})
}

func (w *writer) commitApp(app string, jobs []job) error {
	a := w.apps[app]
	d := a.seen
	records := w.records[:0]
	var sender plan.ID // of the record before: most of a request are of one
	dead := false
	erased, repeated := 0, 0
	defer func() {
		clear(records) // their values belong to the requests
		w.records = records[:0]
	}()
	for _, j := range jobs {
		for i := range j.records {
			r := &j.records[i]
			if i == 0 || r.ID != sender {
				sender, dead = r.ID, w.tombstones.has(app, r.ID)
			}
			if dead {
				erased++ // late events are acknowledged and thrown away
				continue
			}
			isNew, err := d.admit(r)
			if err != nil {
				d.rollback()
				w.metrics.commitsFailed.Inc()
				return err
			}
			if isNew {
				records = append(records, *r)
			} else {
				repeated++
			}
		}
	}
	if len(records) > 0 {
		begun := time.Now()
		if err := w.store.Append(context.Background(), app, records); err != nil {
			d.rollback()
			w.metrics.commitsFailed.Inc()
			return err
		}
		w.metrics.commitSeconds.Observe(time.Since(begun).Seconds())
		w.metrics.commitEvents.Observe(float64(len(records)))
	}
	if err := d.commit(w.now()); (err != nil) != a.failing {
		a.failing = err != nil
		if a.failing {
			w.log.Warn("what was seen of foreign insert ids stays in memory until it can be written", "err", err)
		}
	}
	w.metrics.events.WithLabelValues(app, "stored").Add(float64(len(records)))
	w.metrics.events.WithLabelValues(app, "repeated").Add(float64(repeated))
	w.metrics.events.WithLabelValues(app, "erased").Add(float64(erased))
	return nil
}
