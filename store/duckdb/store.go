package duckdb

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

var _ store.Store = (*Store)(nil)

// Store is a store.Store in one folder. Use Open.
type Store struct {
	*database
	dir string
	log *slog.Logger

	gate    gate
	journal *journal
	loader  *loader
	compact *compactor

	// writer is held by Define, Append and Erase. It guards these and what the
	// apps keep for the writer. Who needs the loader too takes it after writer.
	writer  sync.Mutex
	ids     *idsFile
	erasing *erasure // begun, and not ended yet
	number  int64    // of the next sender
	batch   batch    // of the last Append, kept for its memory
	block   []byte   // likewise

	// mu guards apps and what they keep for readers.
	mu   sync.RWMutex
	apps map[string]*app

	// onStep, if set, is called between the steps of a write, so that tests can
	// stop there. An error of it is one of that step.
	onStep atomic.Pointer[func(step string) error]
}

// The steps of a write, after which tests stop it. See "When it stops half way".
const (
	stepIDsAppended   = "ids appended"
	stepIDsSynced     = "ids synced"
	stepBlockWritten  = "block written"
	stepBlockSynced   = "block synced"
	stepRowsLoaded    = "rows loaded"
	stepLoadCommitted = "load committed"
	stepIDsWritten    = "ids written"
	stepIDsRenamed    = "ids renamed"
	stepIDsReplaced   = "ids replaced"
	stepRowsDeleted   = "rows deleted"
	stepCommitted     = "committed"
	stepCopied        = "database copied"
	stepReplaced      = "database replaced"
)

func (s *Store) step(name string) error {
	if fn := s.onStep.Load(); fn != nil {
		return (*fn)(name)
	}
	return nil
}

// An app is what is kept in memory of one app.
type app struct {
	*layout // replaced, not changed, when the plan is extended; guarded by Store.mu

	// Guarded by Store.mu.
	numbers map[plan.ID]int64
	ids     map[int64]plan.ID

	queue queue

	// For the writer only.
	sessions    map[string]int64 // by sessionKey
	nextSession int64
	nextRow     int64

	// untold holds what was erased of senders whose askers have not been told:
	// after an error another write ends an erasure, and they come again.
	untold map[plan.ID]store.Erased
}

func newApp(l *layout) *app {
	return &app{layout: l, numbers: map[plan.ID]int64{}, ids: map[int64]plan.ID{}, untold: map[plan.ID]store.Erased{}}
}

// all returns all apps.
func (s *Store) all() []*app {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.apps))
}

// app returns the app called name, and its layout.
func (s *Store) app(name string) (*app, *layout, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.apps[name]
	if a == nil {
		return nil, nil, fmt.Errorf("%w: add it with its plan first", store.ErrUnknownApp)
	}
	return a, a.layout, nil
}

// Close implements store.Store. It leaves no journal and no log behind unless
// the disk is full; then it returns the error, and what is stored is in these.
// It rids the database of what was erased, if that takes no more than 15 seconds.
func (s *Store) Close() error {
	if err := s.gate.shut(); err != nil {
		return err
	}
	defer release(s.dir)
	s.compact.end()
	s.loader.end()
	ctx := context.Background()
	var err error
	for _, a := range s.all() {
		if e := s.loader.catchUp(ctx, a); err == nil {
			err = e
		}
	}
	if err == nil && s.compact.marked() {
		ctx, cancel := context.WithTimeout(ctx, compactAtEnd)
		defer cancel()
		if e := s.compact.compact(ctx, cancel); e != nil {
			s.log.Warn("what was erased stays in free blocks of the database until the next start goes on", slog.Any("error", e))
		}
	}
	if e := s.read(func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "CHECKPOINT")
		return err
	}); err == nil {
		err = e
	}
	if e := s.database.close(); err == nil {
		err = e
	}
	if e := os.RemoveAll(filepath.Join(s.dir, tempName)); err == nil {
		err = e
	}
	if e := s.journal.close(); err == nil {
		err = e
	}
	if e := s.ids.close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// gate counts the calls under way and keeps new ones out after shut.
type gate struct {
	mu    sync.Mutex
	calls sync.WaitGroup
	ended bool
}

// enter returns ErrClosed, or nil, and then the caller must leave.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return store.ErrClosed
	}
	g.calls.Add(1)
	return nil
}

func (g *gate) leave() { g.calls.Done() }

// shut waits for the calls under way. It returns ErrClosed the second time.
func (g *gate) shut() error {
	g.mu.Lock()
	if g.ended {
		g.mu.Unlock()
		return store.ErrClosed
	}
	g.ended = true
	g.mu.Unlock()
	g.calls.Wait()
	return nil
}
