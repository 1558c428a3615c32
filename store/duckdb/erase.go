package duckdb

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// An erasure has begun and must end before anything else is written.
type erasure struct {
	app *app
	ids map[int64]plan.ID // of the senders, by their numbers

	// counts holds what there was of each sender when its rows were first to be
	// deleted, by number; nil before that. No rows can join them, so it stays
	// true if DuckDB does not say what became of a commit.
	counts map[int64]store.Erased
}

// Erase implements store.Store. If it returns an error, the erasure is ended by
// the next write, which any Erase is, or by Open.
func (s *Store) Erase(ctx context.Context, name string, ids []plan.ID) ([]store.Erased, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	s.writer.Lock()
	defer s.writer.Unlock()
	counts, err := s.erase(ctx, name, ids)
	if err != nil {
		return nil, fmt.Errorf("erase in app %s: %w", name, err)
	}
	return counts, nil
}

func (s *Store) erase(ctx context.Context, name string, ids []plan.ID) ([]store.Erased, error) {
	a, _, err := s.app(name)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	e := &erasure{app: a, ids: map[int64]plan.ID{}}
	for _, id := range ids {
		if number, ok := a.numbers[id]; ok {
			e.ids[number] = id
		}
	}
	if len(e.ids) > 0 {
		defer s.compact.keepOut()()
		// The rows are deleted from the tables, so that is where they must be.
		if err := s.loader.catchUp(ctx, a); err != nil {
			return nil, err
		}
		s.mu.Lock()
		for number, id := range e.ids {
			delete(a.numbers, id)
			delete(a.ids, number)
		}
		s.mu.Unlock()
		s.erasing, s.ids.stale = e, true
		if err := s.ready(ctx); err != nil {
			return nil, err
		}
	}
	counts := make([]store.Erased, len(ids))
	for i, id := range ids {
		counts[i] = a.untold[id]
		delete(a.untold, id)
	}
	return counts, nil
}

// ready brings the store into a state in which it can be written: after an
// error, ids may have to be replaced, an erasure to be ended. It is the place
// where ctx is looked at.
func (s *Store) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ids.stale {
		if err := s.ids.replace(s.identities()); err != nil {
			return err
		}
		if err := s.step(stepIDsReplaced); err != nil {
			return err
		}
	}
	e := s.erasing
	if e == nil {
		return nil
	}
	defer s.compact.keepOut()()
	if err := s.loader.hold(ctx); err != nil {
		return err
	}
	defer s.loader.release()
	if err := s.revive(); err != nil {
		return err
	}
	if err := s.deleteSenders(ctx, e); err != nil {
		return err
	}
	if err := s.step(stepCommitted); err != nil {
		return err
	}
	s.erasing = nil
	for number, id := range e.ids {
		e.app.untold[id] = e.counts[number]
	}
	s.checkpoint(ctx, 1)
	return nil
}

// identities returns what the file ids should hold.
func (s *Store) identities() []identity {
	var all []identity
	for _, a := range s.apps {
		for number, id := range a.ids {
			all = append(all, identity{number: number, id: id})
		}
	}
	if s.erasing != nil {
		for number := range s.erasing.ids {
			all = append(all, identity{number: number, mark: true})
		}
	}
	slices.SortFunc(all, func(x, y identity) int { return cmp.Compare(x.number, y.number) })
	return all
}

// deleteSenders deletes the rows of the senders of e in one transaction, and
// forgets their sessions. The caller holds the loader.
func (s *Store) deleteSenders(ctx context.Context, e *erasure) error {
	if err := s.compact.mark(); err != nil {
		return err
	}
	defer s.compact.due()
	a, numbers := e.app, slices.Collect(maps.Keys(e.ids))
	err := s.write(ctx, func(ctx context.Context, conn *sql.Conn) error {
		if e.counts == nil {
			counts, err := countRows(ctx, conn, a.layout, numbers)
			if err != nil {
				return fmt.Errorf("count rows: %w", err)
			}
			e.counts = counts
		}
		for _, name := range []string{"delete_events.sql", "delete_sessions.sql"} {
			if _, err := conn.ExecContext(ctx, query(name, a.layout), numbers); err != nil {
				return fmt.Errorf("delete rows: %w", err)
			}
		}
		return s.step(stepRowsDeleted)
	})
	if err != nil {
		return err
	}
	maps.DeleteFunc(a.sessions, func(key string, _ int64) bool {
		number, _ := binary.Varint([]byte(key)) // see sessionKey
		_, ok := e.ids[number]
		return ok
	})
	return nil
}

// countRows returns what there is of senders, by their numbers.
func countRows(ctx context.Context, conn *sql.Conn, l *layout, numbers []int64) (map[int64]store.Erased, error) {
	rows, err := conn.QueryContext(ctx, query("count_rows.sql", l), numbers)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[int64]store.Erased{}
	for rows.Next() {
		var number int64
		var n store.Erased
		if err := rows.Scan(&number, &n.Events, &n.Sessions); err != nil {
			return nil, err
		}
		counts[number] = n
	}
	return counts, rows.Err()
}
