package duckdb

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Define implements store.Store. DuckDB lets ALTER break appenders that are
// open and commits beside it; there are none, because Define holds the loader.
// The journal is loaded first: its blocks are for the tables as they are.
func (s *Store) Define(ctx context.Context, p *plan.Plan) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	s.writer.Lock()
	defer s.writer.Unlock()
	if err := plan.Check(p); err != nil {
		return fmt.Errorf("define app: %w", err)
	}
	if err := s.define(ctx, p); err != nil {
		return fmt.Errorf("define app %s: %w", p.App, err)
	}
	return nil
}

func (s *Store) define(ctx context.Context, p *plan.Plan) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	a := s.apps[p.App]
	if a != nil {
		if err := extends(a.plan, p); err != nil {
			return err
		}
		if bytes.Equal(a.plan.JSON(), p.JSON()) {
			return nil
		}
	}
	defer s.compact.keepOut()()
	if err := s.loader.hold(ctx); err != nil {
		return err
	}
	defer s.loader.release()
	if err := s.revive(); err != nil {
		return err
	}
	if a == nil {
		next := newLayout(p, nil)
		err := s.write(ctx, func(ctx context.Context, conn *sql.Conn) error {
			for _, q := range []string{query("create_sessions.sql", next), query("create_events.sql", next)} {
				if _, err := conn.ExecContext(ctx, q); err != nil {
					return err
				}
			}
			if _, err := conn.ExecContext(ctx, query("insert_plan.sql", nil), p.App, string(p.JSON())); err != nil {
				return err
			}
			_, err := conn.ExecContext(ctx, query("insert_loaded.sql", nil), p.App)
			return err
		})
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		a = newApp(next)
		a.sessions, a.nextSession, a.nextRow = map[string]int64{}, 1, 1
		a.queue.start(1)
		s.apps[p.App] = a
		return nil
	}

	if err := s.loader.loadUpTo(ctx, a, a.queue.end.Load()); err != nil {
		return err
	}
	next := newLayout(p, a.layout)
	err := s.write(ctx, func(ctx context.Context, conn *sql.Conn) error {
		add := func(table string, columns []column) error {
			for _, c := range columns {
				if _, _, ok := a.column(c.Name); ok {
					continue
				}
				for _, definition := range definitions(c.parts()) {
					if _, err := conn.ExecContext(ctx, query("add_column.sql", addition{table, definition})); err != nil {
						return err
					}
				}
			}
			return nil
		}
		if err := add(next.SessionTable, next.session); err != nil {
			return err
		}
		if err := add(next.EventTable, next.own); err != nil {
			return err
		}
		_, err := conn.ExecContext(ctx, query("update_plan.sql", nil), p.App, string(p.JSON()))
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.layout = next
	return nil
}

// addition is what add_column.sql needs.
type addition struct{ Table, Definition string }

// extends returns nil if next keeps all that old says and only adds to it. What
// is compared is what rows rely on: words of people (doc) and what travels for
// delivery only may change.
func extends(old, next *plan.Plan) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", store.ErrPlan, fmt.Sprintf(format, args...))
	}
	if next.Version < old.Version {
		return refuse("version %d is stored, this is version %d", old.Version, next.Version)
	}
	if next.Identity != old.Identity {
		return refuse("the identity was %s", old.Identity)
	}
	if name, why := extendFields(old.Fields, next.Fields); why != "" {
		return refuse("field %s %s", name, why)
	}
	for i, e := range old.Events {
		// The index of an event is stored with each row.
		if i >= len(next.Events) || next.Events[i].Name != e.Name {
			return refuse("event %s is missing or has moved; put new ones at the end", e.Name)
		}
		if name, why := extendFields(e.Fields, next.Events[i].Fields); why != "" {
			return refuse("field %s of event %s %s", name, e.Name, why)
		}
	}
	return nil
}

// extendFields returns the first field of old that next does not keep, and why.
func extendFields(old, next []plan.Field) (name, why string) {
	for _, f := range old {
		i := slices.IndexFunc(next, func(n plan.Field) bool { return n.Name == f.Name })
		if i < 0 {
			return f.Name, "is missing"
		}
		n := next[i]
		switch {
		case n.Kind != f.Kind:
			return f.Name, "was of kind " + f.Kind.String()
		case n.In != f.In:
			return f.Name, "was in " + f.In.String()
		case n.Session != f.Session:
			return f.Name, "has moved into or out of the session"
		case !slices.Equal(n.Bounds, f.Bounds):
			return f.Name, "had other bounds"
		case len(n.Values) < len(f.Values) || !slices.Equal(n.Values[:len(f.Values)], f.Values):
			return f.Name, "has lost or moved a value; put new ones at the end"
		}
	}
	return "", ""
}
