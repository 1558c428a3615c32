package duckdb

import (
	"context"
	"fmt"
	"maps"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Append implements store.Store. It writes one block to the journal and syncs
// it; the loader moves it into the database later.
func (s *Store) Append(ctx context.Context, name string, records []store.Record) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	s.writer.Lock()
	defer s.writer.Unlock()
	if err := s.append(ctx, name, records); err != nil {
		return fmt.Errorf("append to app %s: %w", name, err)
	}
	return nil
}

func (s *Store) append(ctx context.Context, name string, records []store.Record) error {
	a, _, err := s.app(name)
	if err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	b := &s.batch
	if err := b.collect(a, s.number, records); err != nil || len(records) == 0 {
		return err
	}
	if err := s.loader.help(ctx, a); err != nil {
		return err
	}

	if err := s.ids.add(b.senders); err != nil {
		return err
	}
	// From here on the new ids are in the file, so the store must know them
	// whatever becomes of the rows: an erasure must find them.
	s.number += int64(len(b.senders))
	if len(b.senders) > 0 {
		s.mu.Lock()
		for _, e := range b.senders {
			a.numbers[e.id] = e.number
			a.ids[e.number] = e.id
		}
		s.mu.Unlock()
	}

	if err := s.step(stepIDsSynced); err != nil {
		return err
	}
	s.block = b.appendBlock(s.block[:0])
	p, err := s.journal.add(s.block)
	if err != nil {
		return err
	}
	maps.Copy(a.sessions, b.keys)
	a.nextSession += int64(len(b.sessions))
	a.nextRow += int64(len(records))
	s.loader.put(a, waiting{place: p, first: b.firstRow, rows: len(records)})
	return s.step(stepBlockSynced)
}

// A batch is what one Append adds. It is used again and again.
type batch struct {
	*layout
	firstRow int64

	senders  []identity       // new ones
	sessions []int64          // new ones
	keys     map[string]int64 // the same by sessionKey
	fresh    map[plan.ID]int64

	sessionColumns, eventColumns columns

	key []byte
}

// collect checks records, gives numbers to what is new in them, and lays them
// out in columns. It changes nothing of a.
func (b *batch) collect(a *app, nextSender int64, records []store.Record) error {
	b.layout, b.firstRow = a.layout, a.nextRow
	b.senders, b.sessions = b.senders[:0], b.sessions[:0]
	if b.keys == nil {
		b.keys, b.fresh = map[string]int64{}, map[plan.ID]int64{}
	}
	clear(b.keys)
	clear(b.fresh)
	b.eventColumns.reset(b.eventParts(), len(records))
	b.sessionColumns.reset(b.sessionParts(), 0)

	var last *store.Record // whose session is number
	number := int64(0)
	for i := range records {
		r := &records[i]
		if last == nil || !sameSession(last, r) {
			if err := b.checkSession(r); err != nil {
				return fmt.Errorf("record %d: %w", i, err)
			}
			last, number = r, b.session(a, nextSender, r)
		}
		if err := b.checkEvent(r); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		b.event(i, number, r)
	}
	b.sessionColumns.rows = len(b.sessions)
	return nil
}

// sameSession reports whether two records share even the slice that says of
// which session they are, as those of a sender in one request do.
func sameSession(a, b *store.Record) bool {
	return a.ID == b.ID && a.Hyphens == b.Hyphens && len(a.Session) == len(b.Session) &&
		(len(a.Session) == 0 || &a.Session[0] == &b.Session[0])
}

// session returns the number of the session of r, which may be a new one.
func (b *batch) session(a *app, nextSender int64, r *store.Record) int64 {
	sender, ok := a.numbers[r.ID]
	if !ok {
		if sender, ok = b.fresh[r.ID]; !ok {
			sender = nextSender + int64(len(b.senders))
			b.fresh[r.ID] = sender
			b.senders = append(b.senders, identity{number: sender, id: r.ID})
		}
	}
	b.key = b.sessionKey(b.key[:0], sender, r.Hyphens, r.Session)
	number, ok := a.sessions[string(b.key)]
	if !ok {
		if number, ok = b.keys[string(b.key)]; !ok {
			row := len(b.sessions)
			number = a.nextSession + int64(row)
			b.keys[string(b.key)] = number
			b.sessions = append(b.sessions, number)
			c := &b.sessionColumns
			c.setInt(0, number)
			c.setInt(1, sender)
			c.setInt(2, int64(bit(r.Hyphens)))
			c.set(len(ownSessionParts), row, b.layout.session, r.Session)
		}
	}
	return number
}

// event appends r, which is of the session called number, to eventColumns.
func (b *batch) event(row int, number int64, r *store.Record) {
	c := &b.eventColumns
	c.setInt(0, number)
	if r.Insert.Own {
		c.setInt(1, r.Insert.Seq)
		c.setNull(2, row)
	} else {
		c.setNull(1, row)
		c.setID(2, r.Insert.Foreign)
	}
	c.setInt(3, r.Time)
	c.setInt(4, r.Received)
	c.setInt(5, int64(r.Event))
	c.set(len(ownEventParts), row, b.own, r.Own)
}
