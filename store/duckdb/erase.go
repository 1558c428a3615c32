package duckdb

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// An erasure has begun and must end before anything else is written.
type erasure struct {
	app    *app
	id     plan.ID
	number int64
}

// Erase implements store.Store. If it returns an error, the erasure is ended by
// the next write, by the same Erase again, or by Open.
func (s *Store) Erase(ctx context.Context, name string, id plan.ID) (store.Erased, error) {
	if err := s.gate.enter(); err != nil {
		return store.Erased{}, err
	}
	defer s.gate.leave()
	s.writer.Lock()
	defer s.writer.Unlock()
	n, err := s.erase(ctx, name, id)
	if err != nil {
		return store.Erased{}, fmt.Errorf("erase in app %s: %w", name, err)
	}
	return n, nil
}

func (s *Store) erase(ctx context.Context, name string, id plan.ID) (store.Erased, error) {
	a, _, err := s.app(name)
	if err != nil {
		return store.Erased{}, err
	}
	if s.erasing == nil || s.erasing.app != a || s.erasing.id != id {
		if err := s.ready(ctx); err != nil {
			return store.Erased{}, err
		}
		number, ok := a.numbers[id]
		if !ok {
			// Another write may have ended it after an error: then this is what
			// became of it.
			if s.settled.app == a && s.settled.id == id {
				n := s.settled.n
				s.settled.app = nil
				return n, nil
			}
			return store.Erased{}, nil
		}
		defer s.compact.keepOut()()
		// The rows are deleted from the tables, so that is where they must be.
		if err := s.loader.catchUp(ctx, a); err != nil {
			return store.Erased{}, err
		}
		s.mu.Lock()
		delete(a.numbers, id)
		delete(a.ids, number)
		s.mu.Unlock()
		if s.settled.app == a && s.settled.id == id {
			s.settled.app = nil // what counts is the erasure that begins here
		}
		s.erasing = &erasure{a, id, number}
		s.ids.stale = true
	}
	return s.finish(ctx)
}

// ready brings the store into a state in which it can be written: after an
// error, ids may have to be replaced, an erasure to be ended. It is the place
// where ctx is looked at.
func (s *Store) ready(ctx context.Context) error {
	e := s.erasing
	n, err := s.finish(ctx)
	if err == nil && e != nil {
		s.settled.app, s.settled.id, s.settled.n = e.app, e.id, n
	}
	return err
}

// finish does the work of ready, and returns what an erasure has removed.
func (s *Store) finish(ctx context.Context) (n store.Erased, err error) {
	if err := ctx.Err(); err != nil {
		return n, err
	}
	if s.ids.stale {
		if err := s.ids.replace(s.identities()); err != nil {
			return n, err
		}
		if err := s.step(stepIDsReplaced); err != nil {
			return n, err
		}
	}
	if s.erasing == nil {
		return n, nil
	}
	defer s.compact.keepOut()()
	if err := s.loader.hold(ctx); err != nil {
		return n, err
	}
	defer s.loader.release()
	if err := s.revive(); err != nil {
		return n, err
	}
	if n, err = s.deleteSender(ctx, s.erasing.app, s.erasing.number); err != nil {
		return store.Erased{}, err
	}
	s.erasing = nil
	if err := s.step(stepCommitted); err != nil {
		return store.Erased{}, err
	}
	s.checkpoint(ctx, 1)
	return n, nil
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
		all = append(all, identity{number: s.erasing.number, mark: true})
	}
	slices.SortFunc(all, func(x, y identity) int { return cmp.Compare(x.number, y.number) })
	return all
}

// deleteSender deletes the rows of a sender, and forgets its sessions. The
// caller holds the loader.
func (s *Store) deleteSender(ctx context.Context, a *app, number int64) (n store.Erased, err error) {
	if err := s.compact.mark(); err != nil {
		return n, err
	}
	defer s.compact.due()
	err = s.write(ctx, func(ctx context.Context, conn *sql.Conn) error {
		for _, q := range []struct {
			name  string
			count *int64
		}{{"delete_events.sql", &n.Events}, {"delete_sessions.sql", &n.Sessions}} {
			result, err := conn.ExecContext(ctx, query(q.name, a.layout), number)
			if err != nil {
				return fmt.Errorf("delete rows: %w", err)
			}
			if *q.count, err = result.RowsAffected(); err != nil {
				return fmt.Errorf("delete rows: %w", err)
			}
		}
		return s.step(stepRowsDeleted)
	})
	if err != nil {
		return store.Erased{}, err
	}
	prefix := string(binary.AppendVarint(nil, number))
	maps.DeleteFunc(a.sessions, func(key string, _ int64) bool { return strings.HasPrefix(key, prefix) })
	return n, nil
}
