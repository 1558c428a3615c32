package collector

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Config configures a Collector. Folder and Store are required and stay the
// caller's to close, after Collector.Close.
type Config struct {
	Folder *Folder
	Store  store.Store
	Logger *slog.Logger // default: no log
	Limits Limits       // default: none

	// Commands are those of the apps' programs, by app, for their privacy pages.
	Commands map[string][]privacy.Command

	now func() time.Time
}

// A Collector takes events in and gives them out. It is safe for concurrent use.
type Collector struct {
	folder *Folder
	store  store.Store
	log    *slog.Logger
	now    func() time.Time
	writer *writer
	mux    *http.ServeMux
	bodies places

	uploads sync.Pool // of *upload

	metrics *metrics
	limiter *limiter

	forgets, shows bucket // for secrets that fit nothing
	mostTombstones int    // maxTombstones; less in tests
	showing        places // of sessions that are being shown
	erasures       erasures

	commands map[string][]privacy.Command
	figures  figures

	// reading is held by who reads records by an app's plan, from looking the
	// plan up to the first record: when a plan is extended, columns may move.
	reading sync.RWMutex

	mu     sync.RWMutex      // guards what follows
	guards map[string]*guard // by app

	// What the guards have turned away, by app; guarded by mu.
	refused map[string]*refusedCounts
}

// New makes a collector of the apps in the folder: it erases what tombstones name
// and the store has all the same, defines the apps in the store
// and learns what was seen of each, so that repeats are recognised across
// restarts.
func New(ctx context.Context, cfg Config) (*Collector, error) {
	c := &Collector{
		folder: cfg.Folder, store: cfg.Store, log: cfg.Logger, now: cfg.now,
		mux: http.NewServeMux(), guards: map[string]*guard{}, refused: map[string]*refusedCounts{},
		commands: cfg.Commands, figures: figures{making: make(chan struct{}, 1), pages: map[string]figuresPage{}, failed: map[string]time.Time{}},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.uploads.New = c.newUpload
	c.metrics = newMetrics(c)
	c.limiter = newLimiter(cfg.Limits, c.now)
	c.forgets.now, c.shows.now = c.now, c.now
	c.mostTombstones = maxTombstones
	c.bodies.most, c.bodies.slow = maxBodies, slowBody
	c.showing.most, c.showing.slow = maxShows, slowShow
	c.erasures = erasures{failed: map[sender]bool{}, owed: map[plan.ID][]ErasedApp{}, counts: map[string]int64{}}
	var err error
	if c.writer, err = newWriter(ctx, c.store, c.folder, c.metrics, c.log, c.now); err != nil {
		return nil, err
	}
	c.routes()
	return c, nil
}

// Close waits for the commits under way. Stop the HTTP server first: a request
// that comes after Close would find no writer.
func (c *Collector) Close() { c.writer.close() }

// Plans returns the plans of all apps, by the app's name.
func (c *Collector) Plans() []*plan.Plan {
	var plans []*plan.Plan
	for _, a := range c.folder.Apps() {
		plans = append(plans, a.Plan)
	}
	return plans
}

// PlansOf returns a function like Plans that knows one app only. It returns
// nothing while there is no app of that name.
func (c *Collector) PlansOf(app string) func() []*plan.Plan {
	return func() []*plan.Plan {
		if a := c.folder.App(app); a != nil {
			return []*plan.Plan{a.Plan}
		}
		return nil
	}
}

// guard returns the guard of an app's plan, made at the plan's first use.
func (c *Collector) guard(a *App) *guard {
	c.mu.RLock()
	g := c.guards[a.Name]
	c.mu.RUnlock()
	if g != nil && g.plan == a.Plan {
		return g
	}
	g = newGuard(a.Plan, c.refusedOf(a.Name))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guards[a.Name] = g
	return g
}
