package duckdb

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

var _ store.Store = (*Store)(nil)

// Store is a store.Store in one folder. Use Open.
type Store struct {
	*database
	dir string
	log *slog.Logger

	gate gate

	// writer is held by Define, Append and Erase. It guards these and what the
	// apps keep for the writer.
	writer  sync.Mutex
	ids     *idsFile
	erasing *erasure // begun, and not ended yet
	unsure  *app     // whose last commit may or may not have happened
	number  int64    // of the next sender

	// mu guards apps and what they keep for readers.
	mu   sync.RWMutex
	apps map[string]*app

	// onStep, if set, is called between the steps of a write, so that tests can
	// stop there. An error of it is one of that step.
	onStep func(step string) error
}

// The steps of a write, after which tests stop it. See "When it stops half way".
const (
	stepIDsAppended = "ids appended"
	stepRowsLoaded  = "rows loaded"
	stepIDsWritten  = "ids written"
	stepIDsRenamed  = "ids renamed"
	stepIDsReplaced = "ids replaced"
	stepRowsDeleted = "rows deleted"
	stepCommitted   = "committed"
)

func (s *Store) step(name string) error {
	if s.onStep != nil {
		return s.onStep(name)
	}
	return nil
}

// An app is what is kept in memory of one app.
type app struct {
	*layout // replaced, not changed, when the plan is extended; guarded by Store.mu

	// Guarded by Store.mu.
	numbers map[plan.ID]int64
	ids     map[int64]plan.ID

	// For the writer only.
	sessions    map[string]int64 // by sessionKey
	nextSession int64
	nextRow     int64
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

// Close implements store.Store. It leaves no log behind unless the disk is
// full; then it returns the error, and what is stored is in the log.
func (s *Store) Close() error {
	if err := s.gate.shut(); err != nil {
		return err
	}
	defer release(s.dir)
	ctx := context.Background()
	err := s.read(func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "CHECKPOINT")
		return err
	})
	if e := s.database.close(); err == nil {
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
