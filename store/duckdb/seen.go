package duckdb

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// foreignPage is the number of foreign insert ids that are read at once.
const foreignPage = 50_000

// Seen implements store.Store.
func (s *Store) Seen(ctx context.Context, name string, since time.Time) iter.Seq2[store.Seen, error] {
	return func(yield func(store.Seen, error) bool) {
		if err := s.gate.enter(); err != nil {
			yield(store.Seen{}, err)
			return
		}
		defer s.gate.leave()
		if err := s.seen(ctx, name, since, func(x store.Seen) bool { return yield(x, nil) }); err != nil {
			yield(store.Seen{}, fmt.Errorf("read what is seen of app %s: %w", name, err))
		}
	}
}

// Senders implements store.Store. The ids are in memory, so it costs next to nothing.
func (s *Store) Senders(ctx context.Context, name string) iter.Seq2[plan.ID, error] {
	return func(yield func(plan.ID, error) bool) {
		ids, err := s.senders(ctx, name)
		if err != nil {
			yield(plan.ID{}, fmt.Errorf("list the senders of app %s: %w", name, err))
			return
		}
		for _, id := range ids {
			if !yield(id, nil) {
				return
			}
		}
	}
}

func (s *Store) senders(ctx context.Context, name string) ([]plan.ID, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	a, _, err := s.app(name)
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Keys(a.numbers)), nil
}

// Holds implements store.Store. It asks memory, as Senders does.
func (s *Store) Holds(ctx context.Context, name string, id plan.ID) (bool, error) {
	if err := s.gate.enter(); err != nil {
		return false, err
	}
	defer s.gate.leave()
	a, _, err := s.app(name)
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return false, fmt.Errorf("look for a sender in app %s: %w", name, err)
	}
	return s.knows(a, id), nil
}

// seen calls yield until it returns false.
func (s *Store) seen(ctx context.Context, name string, since time.Time, yield func(store.Seen) bool) error {
	a, l, err := s.app(name)
	if err != nil {
		return err
	}
	if err := s.loader.catchUp(ctx, a); err != nil {
		return err
	}
	// Pages are read whole, so that a slow reader keeps no query open.
	page, err := s.seenIntervals(ctx, a, l)
	if err != nil {
		return err
	}
	for _, x := range page {
		if !yield(x) {
			return nil
		}
	}
	after := &rowPlace{received: milliseconds(since)}
	for after != nil {
		if page, after, err = s.seenForeign(ctx, a, l, *after); err != nil {
			return err
		}
		for _, x := range page {
			if !yield(x) {
				return nil
			}
		}
	}
	return nil
}

func (s *Store) seenIntervals(ctx context.Context, a *app, l *layout) (page []store.Seen, err error) {
	err = s.read(func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, query("seen_intervals.sql", l))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var sender int64
			var x store.Seen
			if err := rows.Scan(&sender, &x.First, &x.Last); err != nil {
				return err
			}
			if id, ok := s.sender(a, sender); ok {
				x.ID = id
				page = append(page, x)
			}
		}
		return rows.Err()
	})
	return page, err
}

// seenForeign returns the page after a place, and the place of its last row, or
// nil if there are no more.
func (s *Store) seenForeign(ctx context.Context, a *app, l *layout, after rowPlace) (page []store.Seen, last *rowPlace, err error) {
	err = s.read(func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, query("seen_foreign.sql", l),
			after.received, after.received, after.session, string(plan.AppendID(nil, after.key, true)), foreignPage)
		if err != nil {
			return err
		}
		defer rows.Close()
		n := 0
		var row rowPlace
		for ; rows.Next(); n++ {
			var sender int64
			var insert []byte
			var x store.Seen
			if err := rows.Scan(&x.Received, &row.session, &insert, &sender); err != nil {
				return err
			}
			if x.Foreign, err = toID(insert); err != nil {
				return err
			}
			row.received, row.key = x.Received, x.Foreign
			if id, ok := s.sender(a, sender); ok {
				x.ID = id
				page = append(page, x)
			}
		}
		if n == foreignPage {
			last = &row
		}
		return rows.Err()
	})
	return page, last, err
}

// sender returns the id that a number stands for. ok is false if it is being
// erased: then its rows are to be passed over.
func (s *Store) sender(a *app, number int64) (id plan.ID, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	id, ok = a.ids[number]
	return id, ok
}

// milliseconds returns the first whole millisecond that is not before t.
func milliseconds(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%1e6 != 0 {
		ms++
	}
	return ms
}
