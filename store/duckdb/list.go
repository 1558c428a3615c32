package duckdb

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// listPage is the number of records that are read at once. DuckDB finds so many
// with a heap, while it passes over most of the table; for more it sorts, or the
// heap gets slow: with pages of 50,000, a listing of 10 million records took
// twice as long. 2026-11.
const listPage = 5000

// List implements store.Store. It reads page by page and holds nothing between
// them, so yield may take its time; records that are erased meanwhile do not
// come any more.
func (s *Store) List(ctx context.Context, l store.Listing, yield func(*store.Record) error) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	a, shape, err := s.app(l.App)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if l.ID != (plan.ID{}) && !s.knows(a, l.ID) {
		return nil // whoever asks for strange ids costs nobody a query
	}
	if err := s.loader.catchUp(ctx, a); err != nil {
		return fmt.Errorf("list app %s: %w", l.App, err)
	}
	r := newReader(s, a, shape, l)
	for left := l.Limit; ; {
		r.limit = listPage
		if l.Limit > 0 {
			r.limit = min(left, listPage)
		}
		if err := r.next(ctx); err != nil {
			return fmt.Errorf("list app %s: %w", l.App, err)
		}
		for i := range r.page {
			// One that was erased since the page was read is not yielded.
			if _, ok := s.sender(a, r.senders[i]); !ok {
				continue
			}
			if err := yield(&r.page[i]); err != nil {
				return err
			}
		}
		left -= r.rows
		if r.rows < r.limit || left == 0 && l.Limit > 0 {
			return nil
		}
	}
}

// knows reports whether a sender is known to an app.
func (s *Store) knows(a *app, id plan.ID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := a.numbers[id]
	return ok
}

// A reader reads a listing page by page.
type reader struct {
	*layout
	store *Store
	app   *app

	Newest    bool
	OneSender bool
	Direction string

	from, to int64 // both included
	sender   int64
	limit    int

	// The place of the last row of the page before, as list.sql orders them.
	after rowPlace

	page    []store.Record
	senders []int64
	rows    int // of the page, those of erased senders included
}

// A rowPlace is what a row is ordered by. No other row has the same: number and
// key are the row's insert id.
type rowPlace struct {
	received, time, session int64

	number int64   // -1 for a foreign insert id
	key    plan.ID // zero for an own one
}

func newReader(s *Store, a *app, shape *layout, l store.Listing) *reader {
	r := &reader{
		layout: shape, store: s, app: a,
		Newest: l.Newest, OneSender: l.ID != plan.ID{}, Direction: "ASC",
		from: math.MinInt64, to: math.MaxInt64,
	}
	r.after.received = math.MinInt64
	if l.Newest {
		r.Direction, r.after.received = "DESC", math.MaxInt64
	}
	if !l.From.IsZero() {
		r.from = milliseconds(l.From)
	}
	if !l.To.IsZero() {
		r.to = milliseconds(l.To) - 1
	}
	if r.OneSender {
		s.mu.RLock()
		r.sender = a.numbers[l.ID] // 0, which no sender has, if there is none
		s.mu.RUnlock()
	}
	return r
}

// next reads the next page.
func (r *reader) next(ctx context.Context) error {
	// What was read before is passed over by the range, too.
	from, to := max(r.from, r.after.received), r.to
	if r.Newest {
		from, to = r.from, min(r.to, r.after.received)
	}
	a := &r.after
	key := plan.AppendID(nil, a.key, true)
	args := []any{from, to, a.received, a.time, a.session, a.number, string(key), r.limit}
	if r.OneSender {
		args = append(args, r.sender)
	}
	r.page, r.senders, r.rows = r.page[:0], r.senders[:0], 0
	return r.store.read(func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, query("list.sql", r), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		c := newCursor(len(r.SessionParts()) + len(r.EventParts()))
		for rows.Next() {
			if err := rows.Scan(c.dest...); err != nil {
				return err
			}
			r.rows++
			if err := r.add(c.row); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// add appends the record in row, whose columns are those of list.sql, unless
// its sender is being erased.
func (r *reader) add(row []any) (err error) {
	var x store.Record
	sender, ok := row[1].(int64)
	x.Hyphens, _ = row[2].(bool)
	session, rest := make([]plan.Value, len(r.session)), row[len(ownSessionParts):]
	for i, c := range r.session {
		if session[i], rest, err = c.value(rest); err != nil {
			return err
		}
	}
	own := make([]plan.Value, len(r.own))
	head, rest := rest[:len(ownEventParts)], rest[len(ownEventParts):]
	for i, c := range r.own {
		if own[i], rest, err = c.value(rest); err != nil {
			return err
		}
	}
	x.Session, x.Own = session, own

	place := rowPlace{number: -1}
	place.session, _ = head[0].(int64)
	if x.Insert.Seq, x.Insert.Own = head[1].(int64); x.Insert.Own {
		place.number = x.Insert.Seq
	} else {
		b, _ := head[2].([]byte)
		if x.Insert.Foreign, err = toID(b); err != nil {
			return err
		}
		place.key = x.Insert.Foreign
	}
	event, isEvent := head[5].(uint8)
	if !ok || !isEvent {
		return errColumn
	}
	x.Time, _ = head[3].(int64)
	x.Received, _ = head[4].(int64)
	place.time, place.received = x.Time, x.Received
	r.after = place
	x.Event = int(event)
	if x.ID, ok = r.store.sender(r.app, sender); ok {
		r.page = append(r.page, x)
		r.senders = append(r.senders, sender)
	}
	return nil
}
