package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// rowGroup is how many rows DuckDB keeps together. What is loaded in whole
// groups goes straight to the file: it neither passes through DuckDB's log nor
// is it written again by a checkpoint. Measured for BlindAI's plan, CPU for a row
// and its checkpoint: 230 ns in whole groups, 540 ns in loads of 64,000. 2026-11.
const rowGroup = 122_880

const (
	// loadRows is how many rows one transaction loads when there are enough of
	// them: two groups take 20 % less disk than one and one.
	loadRows = 2 * rowGroup

	// loadDelay is how long a row may wait if nobody asks and few come.
	loadDelay = time.Second

	// maxWaiting bounds the rows that wait while loading works: an Append that
	// finds more helps first. So the first question never waits long.
	maxWaiting = 4 * loadRows
)

// A loader moves what the journal holds into the database. Everything that
// changes the database holds it: it is the only one who does.
type loader struct {
	store *Store
	held  chan struct{} // full while somebody holds the loader
	wake  chan struct{}
	stop  chan struct{}
	done  chan struct{} // closed when run has ended; nil before it has begun

	failing atomic.Bool // the last load has failed
	buffer  []byte      // of the last load, kept for its memory
}

// A waiting block is one that is in the journal and not in the database.
type waiting struct {
	place
	first int64 // the number of its first event
	rows  int
}

// A queue is the blocks of an app that wait. It is empty when loaded is end.
type queue struct {
	loaded atomic.Int64 // the number of the next event to load; the loader's
	end    atomic.Int64 // the number of the next event to come; the writer's

	unsure bool      // loaded is to be read from the database; the loader's
	blocks []waiting // guarded by journal.mu
}

// start makes row the next event both to come and to load.
func (q *queue) start(row int64) {
	q.loaded.Store(row)
	q.end.Store(row)
}

func (q *queue) rows() int64 { return q.end.Load() - q.loaded.Load() }

func newLoader(s *Store) *loader {
	return &loader{
		store: s, held: make(chan struct{}, 1), wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
}

// hold takes the loader, unless ctx is done first. Then release must be called.
func (d *loader) hold(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case d.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *loader) release() { <-d.held }

// put says that a block waits.
func (d *loader) put(a *app, w waiting) {
	j := d.store.journal
	j.mu.Lock()
	a.queue.blocks = append(a.queue.blocks, w)
	j.mu.Unlock()
	a.queue.end.Store(w.first + int64(w.rows))
	// Wake run for the first that waits, so that it sets its timer, and when
	// there is enough. If run has not yet seen off those before, it will see
	// this one when it has.
	if a.queue.loaded.Load() == w.first || a.queue.rows() >= loadRows {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// start lets the loader work on its own.
func (d *loader) start() {
	d.done = make(chan struct{})
	go d.run()
}

// end stops what start has begun, if it has.
func (d *loader) end() {
	if d.done != nil {
		close(d.stop)
		<-d.done
		d.done = nil
	}
}

// run loads when there is enough, or when what there is has waited long enough.
func (d *loader) run() {
	defer close(d.done)
	ctx := context.Background()
	timer := time.NewTimer(loadDelay)
	timer.Stop()
	isSet := false
	for {
		due := false
		select {
		case <-d.stop:
			return
		case <-d.wake:
		case <-timer.C:
			due, isSet = true, false
		}
		for _, a := range d.store.all() {
			d.loadSome(ctx, a, due) // it logs its error, and is tried again
		}
		if !isSet && d.waits() {
			timer.Reset(loadDelay)
			isSet = true
		}
	}
}

func (d *loader) waits() bool {
	for _, a := range d.store.all() {
		if a.queue.rows() > 0 {
			return true
		}
	}
	return false
}

// loadSome loads what fills groups, or all if it is due and fills none.
func (d *loader) loadSome(ctx context.Context, a *app, due bool) {
	if n := a.queue.rows(); n < loadRows && (!due || n == 0) || d.failing.Load() && !due {
		return
	}
	if err := d.hold(ctx); err != nil {
		return
	}
	defer d.release()
	for n := a.queue.rows(); n >= loadRows || due && n > 0; n = a.queue.rows() {
		if d.load(ctx, a, portion(n)) != nil || n < loadRows {
			return
		}
		select {
		case <-d.stop:
			return
		default:
		}
	}
}

// portion returns how many of n rows to load at once.
func portion(n int64) int64 {
	if n < rowGroup {
		return n
	}
	return min(n, loadRows) / rowGroup * rowGroup
}

// catchUp loads what the journal holds of a at this moment, so that a reader
// sees it.
func (d *loader) catchUp(ctx context.Context, a *app) error {
	end := a.queue.end.Load()
	if a.queue.loaded.Load() == end {
		return nil
	}
	if err := d.hold(ctx); err != nil {
		return err
	}
	defer d.release()
	return d.loadUpTo(ctx, a, end)
}

// loadUpTo does the work of catchUp. The caller holds the loader.
func (d *loader) loadUpTo(ctx context.Context, a *app, end int64) error {
	for {
		n := end - a.queue.loaded.Load()
		if n <= 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.load(ctx, a, portion(n)); err != nil {
			return err
		}
	}
}

// help is called by an Append. It loads if the loader is behind, unless loading
// fails or the database is being compacted: then the journal grows.
func (d *loader) help(ctx context.Context, a *app) error {
	for a.queue.rows() >= maxWaiting && !d.failing.Load() && !d.store.compact.working() {
		if err := d.hold(ctx); err != nil {
			return err
		}
		if n := a.queue.rows(); n >= maxWaiting {
			d.load(ctx, a, portion(n)) // the error is not this Append's
		}
		d.release()
	}
	return nil
}

// load loads the next n rows of a. The caller holds the loader.
func (d *loader) load(ctx context.Context, a *app, n int64) error {
	to := min(a.queue.loaded.Load()+n, a.queue.end.Load())
	err := d.loadOnce(ctx, a, to)
	if fatal(err) {
		// The database has ended, maybe in the middle of the commit. Only it
		// knows which way that went; it is restarted and asked.
		err = d.loadOnce(ctx, a, to)
	}
	log := d.store.log
	switch failed := d.failing.Swap(err != nil); {
	case err == nil && failed:
		log.Info("events are loaded into the database again")
	case err != nil && !failed:
		log.Error("events cannot be loaded into the database; they wait in the journal", slog.Any("error", err))
	}
	if err != nil {
		return fmt.Errorf("load the journal: %w", err)
	}
	d.store.checkpoint(ctx, maxWAL)
	return nil
}

// settle restarts the database if an error has ended it, and reads how far it
// is with a if that is in doubt.
func (d *loader) settle(ctx context.Context, a *app) error {
	if err := d.store.revive(); err != nil {
		return err
	}
	q := &a.queue
	if !q.unsure {
		return nil
	}
	loaded, err := d.store.readLoaded(context.WithoutCancel(ctx), a.plan.App)
	if err != nil {
		return err
	}
	q.unsure = false
	d.advance(q, loaded)
	return nil
}

// loadOnce loads the rows before the one called to, in one transaction.
func (d *loader) loadOnce(ctx context.Context, a *app, to int64) error {
	if err := d.settle(ctx, a); err != nil {
		return err
	}
	_, l, err := d.store.app(a.plan.App)
	if err != nil {
		return err
	}
	q := &a.queue
	first := q.loaded.Load()
	blocks := d.next(q, to)
	length := 0
	for _, w := range blocks {
		length += w.length
	}
	d.buffer = slices.Grow(d.buffer[:0], length)
	pieces := make([]piece, len(blocks))
	for i, w := range blocks {
		at := len(d.buffer)
		d.buffer = d.buffer[:at+w.length]
		if pieces[i], err = readPiece(l, w, d.buffer[at:], first, to); err != nil {
			return err
		}
	}
	if len(pieces) == 0 { // settle has found that they are loaded
		return nil
	}
	q.unsure = true
	err = d.store.write(ctx, func(ctx context.Context, conn *sql.Conn) error {
		if err := loadPieces(conn, l, pieces); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, query("update_loaded.sql", nil), l.plan.App, to); err != nil {
			return err
		}
		return d.store.step(stepRowsLoaded)
	})
	if err == nil {
		err = d.store.step(stepLoadCommitted)
	}
	if err != nil {
		return err
	}
	q.unsure = false
	d.advance(q, to)
	return nil
}

// next returns the first blocks of q, with all events before the one called to.
func (d *loader) next(q *queue, to int64) []waiting {
	j := d.store.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for n < len(q.blocks) && q.blocks[n].first < to {
		n++
	}
	return q.blocks[:n:n] // put appends behind these
}

// advance says that the database has the events before the one called loaded.
func (d *loader) advance(q *queue, loaded int64) {
	j := d.store.journal
	var gone []place
	j.mu.Lock()
	for len(q.blocks) > 0 && q.blocks[0].first+int64(q.blocks[0].rows) <= loaded {
		gone = append(gone, q.blocks[0].place)
		q.blocks = q.blocks[1:]
	}
	j.mu.Unlock()
	q.loaded.Store(loaded)
	if len(gone) > 0 {
		j.drop(gone...)
	}
}

// A piece is the rows of one block that one transaction loads.
type piece struct {
	sessions, events []stored
	sessionCount     int // 0 if another piece of the block was loaded before
	rows             int
}

// readPiece reads the events of w that are not before the one called from, and
// before the one called to. The piece lies in b, which is as long as w.
func readPiece(l *layout, w waiting, b []byte, from, to int64) (piece, error) {
	x, err := w.read(b)
	if err != nil {
		return piece{}, err
	}
	if x.app != l.plan.App || x.shape != l.shape || x.first != w.first || x.rows != w.rows {
		return piece{}, damaged(w.segment.file.Name(), errors.New("a block does not fit the tables that it is for"))
	}
	var p piece
	if p.sessions, p.events, err = x.read(l); err != nil {
		return piece{}, damaged(w.segment.file.Name(), err)
	}
	first := w.first
	p.rows, p.sessionCount = w.rows, x.sessionCount
	if skip := from - w.first; skip > 0 {
		// The sessions of a block are loaded with its first event.
		p.sessionCount = 0
		for i := range p.events {
			p.events[i].skip(int(skip))
		}
		first, p.rows = from, p.rows-int(skip)
	}
	p.rows = min(p.rows, int(to-first))
	return p, nil
}
