package duckdb

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Append implements store.Store. It is one transaction; DuckDB syncs its log
// when it commits.
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
	b, err := newBatch(a, s.number, records)
	if err != nil || len(records) == 0 {
		return err
	}

	if err := s.ids.add(b.senders); err != nil {
		return err
	}
	// From here on the new ids are in the file, so the store must know them
	// whatever becomes of the rows: an erasure must find them.
	s.number += int64(len(b.senders))
	s.mu.Lock()
	for _, e := range b.senders {
		a.numbers[e.id] = e.number
		a.ids[e.number] = e.id
	}
	s.mu.Unlock()

	err = s.write(ctx, func(ctx context.Context, conn *sql.Conn) error {
		if err := b.load(conn); err != nil {
			return err
		}
		return s.step(stepRowsLoaded)
	})
	if err == nil {
		err = s.step(stepCommitted)
	}
	switch {
	case err == nil:
		for key, number := range b.keys {
			a.sessions[key] = number
		}
		a.nextSession += int64(len(b.sessions))
		a.nextRow += int64(len(records))
	case fatal(err):
		// The database has ended in the middle of the commit. Only the tables
		// know which way it went.
		s.unsure = a
		if s.settle(ctx) != nil || a.nextRow != b.firstRow+int64(len(records)) {
			return err
		}
	default:
		return err
	}
	s.checkpoint(ctx, maxWAL)
	return nil
}

// settle restarts the database if an error has ended it, and reads again what
// the writer has to know of the app whose commit is in doubt.
func (s *Store) settle(ctx context.Context) error {
	if err := s.revive(); err != nil || s.unsure == nil {
		return err
	}
	if err := s.loadSessions(context.WithoutCancel(ctx), s.unsure, func(int64) {}); err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	s.unsure = nil
	return nil
}

// A batch is what one Append adds to the tables.
type batch struct {
	*layout
	records  []store.Record
	of       []int64 // each record's session number
	firstRow int64

	senders  []identity // new ones
	sessions []session  // new ones
	keys     map[string]int64
}

// A session is a new row of the sessions table.
type session struct {
	number, sender int64
	record         *store.Record
}

// newBatch checks records and gives numbers to what is new in them. It changes
// nothing of a.
func newBatch(a *app, nextSender int64, records []store.Record) (*batch, error) {
	b := &batch{layout: a.layout, records: records, of: make([]int64, len(records)), firstRow: a.nextRow, keys: map[string]int64{}}
	fresh := map[plan.ID]int64{}
	nextSession := a.nextSession
	var key []byte
	for i := range records {
		r := &records[i]
		if err := b.check(r); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		sender, ok := a.numbers[r.ID]
		if !ok {
			if sender, ok = fresh[r.ID]; !ok {
				sender = nextSender + int64(len(b.senders))
				fresh[r.ID] = sender
				b.senders = append(b.senders, identity{number: sender, id: r.ID})
			}
		}
		key = b.sessionKey(key[:0], sender, r.Hyphens, r.Session)
		number, ok := a.sessions[string(key)]
		if !ok {
			if number, ok = b.keys[string(key)]; !ok {
				number = nextSession
				nextSession++
				b.keys[string(key)] = number
				b.sessions = append(b.sessions, session{number, sender, r})
			}
		}
		b.of[i] = number
	}
	return b, nil
}
