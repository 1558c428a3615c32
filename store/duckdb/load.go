package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// format is the number of the layout of all files together. A change that an
// older program could not read raises it.
const format = 1

// load reads what the store keeps in memory, and ends what a crash has left
// half done.
func (s *Store) load(ctx context.Context, hasIDs bool) error {
	if err := s.prepare(ctx, hasIDs); err != nil {
		return err
	}
	if err := s.loadApps(ctx); err != nil {
		return err
	}
	if err := s.replay(ctx); err != nil {
		return err
	}
	senders := map[int64]*app{} // that a row refers to
	for _, a := range s.apps {
		if err := s.loadSessions(ctx, a, func(sender int64) { senders[sender] = a }); err != nil {
			return fmt.Errorf("read sessions of app %s: %w", a.plan.App, err)
		}
	}
	return s.loadIDs(ctx, senders, hasIDs)
}

// prepare makes the tables that every store has, or checks them.
func (s *Store) prepare(ctx context.Context, hasIDs bool) error {
	var tables, found int
	err := s.read(func(db *sql.DB) error {
		return db.QueryRowContext(ctx, query("tables.sql", nil)).Scan(&tables)
	})
	if err != nil {
		return fmt.Errorf("read tables: %w", err)
	}
	if tables == 0 && hasIDs {
		// DuckDB drops a log that it does not recognise, without a word.
		return damaged(filepath.Join(s.dir, databaseName), errors.New("it is empty, and ids is there"))
	}
	if tables == 0 {
		err := s.write(ctx, func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, query("create_store.sql", nil))
			if err != nil {
				return err
			}
			_, err = conn.ExecContext(ctx, query("insert_format.sql", nil), format)
			return err
		})
		if err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
		s.checkpoint(ctx, 1)
		return nil
	}
	err = s.read(func(db *sql.DB) error {
		return db.QueryRowContext(ctx, query("format.sql", nil)).Scan(&found)
	})
	if err != nil {
		return fmt.Errorf("read format: %w", err)
	}
	if found != format {
		return fmt.Errorf("the data folder %s has format %d and this program writes format %d; use the version that wrote it, or a newer one", s.dir, found, format)
	}
	return nil
}

// loadApps reads plans, and how far the database is with the journal.
func (s *Store) loadApps(ctx context.Context) error {
	plans := map[string]string{}
	err := s.read(func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, query("plans.sql", nil))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name, text string
			if err := rows.Scan(&name, &text); err != nil {
				return err
			}
			plans[name] = text
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("read plans: %w", err)
	}
	for name, text := range plans {
		p, err := plan.Parse([]byte(text))
		if err != nil || p.App != name {
			return damaged(filepath.Join(s.dir, databaseName), fmt.Errorf("the plan of app %s cannot be read: %w", name, err))
		}
		a := newApp(newLayout(p, nil))
		loaded, err := s.readLoaded(ctx, name)
		if err != nil {
			return fmt.Errorf("read how far app %s is loaded: %w", name, err)
		}
		a.queue.start(loaded)
		s.apps[name] = a
	}
	return nil
}

// readLoaded returns the number of the next event that the database is to have.
func (s *Store) readLoaded(ctx context.Context, name string) (loaded int64, err error) {
	err = s.read(func(db *sql.DB) error {
		return db.QueryRowContext(ctx, query("loaded.sql", nil), name).Scan(&loaded)
	})
	return loaded, err
}

// replay loads the journal that a crash has left, and removes it.
func (s *Store) replay(ctx context.Context) error {
	err := s.journal.open(s.log, func(p place, x *block) error {
		a := s.apps[x.app]
		if a == nil {
			return errors.New("it holds events of an app that " + databaseName + " does not know")
		}
		q := &a.queue
		if x.first+int64(x.rows) <= q.loaded.Load() { // 2B
			s.journal.drop(p)
			return nil
		}
		if x.first != q.end.Load() && (q.rows() > 0 || x.first > q.end.Load()) {
			return fmt.Errorf("event %d of app %s should come next, and it holds event %d", q.end.Load(), x.app, x.first)
		}
		s.loader.put(a, waiting{place: p, first: x.first, rows: x.rows})
		return nil
	})
	if err != nil {
		return err
	}
	rows := int64(0)
	for _, a := range s.apps {
		rows += a.queue.rows()
		if err := s.loader.catchUp(ctx, a); err != nil {
			return err
		}
	}
	if rows > 0 {
		s.log.Info("loaded the journal that was left", slog.Int64("events", rows))
	}
	return s.journal.close()
}

// loadSessions fills in what the writer knows of a's sessions, and calls found
// for the sender of each.
func (s *Store) loadSessions(ctx context.Context, a *app, found func(sender int64)) error {
	sessions, nextSession := map[string]int64{}, int64(1)
	err := s.read(func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, query("sessions.sql", a.layout))
		if err != nil {
			return err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		var key []byte
		c := newCursor(len(columns))
		values := make([]plan.Value, len(a.session))
		for rows.Next() {
			if err := rows.Scan(c.dest...); err != nil {
				return err
			}
			number, isNumber := c.row[0].(int64)
			sender, isSender := c.row[1].(int64)
			hyphens, isBool := c.row[2].(bool)
			if !isNumber || !isSender || !isBool {
				return errColumn
			}
			rest := c.row[len(ownSessionParts):]
			for i, column := range a.session {
				if values[i], rest, err = column.value(rest); err != nil {
					return err
				}
			}
			key = a.sessionKey(key[:0], sender, hyphens, values)
			sessions[string(key)] = number
			nextSession = max(nextSession, number+1)
			found(sender)
		}
		return rows.Err()
	})
	a.sessions, a.nextSession, a.nextRow = sessions, nextSession, a.queue.end.Load()
	return err
}

// loadIDs reads the file ids, holds it against the senders that rows refer to,
// and mends both. See "When it stops half way".
func (s *Store) loadIDs(ctx context.Context, senders map[int64]*app, hasIDs bool) error {
	s.ids = &idsFile{dir: s.dir, step: s.step}
	s.number = 1
	path := filepath.Join(s.dir, idsName)
	if err := os.Remove(filepath.Join(s.dir, idsNewName)); err == nil { // 3A
		s.log.Info("removed an unfinished copy of ids")
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove an unfinished copy of ids: %w", err)
	}
	if !hasIDs && len(senders) == 0 { // a new folder, or a crash while it was made
		return s.ids.replace(nil)
	}
	entries, bad, err := readIDs(s.dir)
	if err != nil {
		return err
	}

	orphans, marks := 0, 0
	erasures := map[*app]*erasure{}
	for _, e := range entries {
		s.number = max(s.number, e.number+1)
		a := senders[e.number]
		switch {
		case e.mark && a != nil: // 3C
			marks++
			if erasures[a] == nil {
				erasures[a] = &erasure{app: a, ids: map[int64]plan.ID{}}
			}
			erasures[a].ids[e.number] = e.id
		case e.mark: // 3D
			marks++
		case a == nil: // 1B
			orphans++
		default:
			a.ids[e.number] = e.id
			a.numbers[e.id] = e.number
		}
		delete(senders, e.number)
	}
	if len(senders) > 0 {
		if bad >= 0 {
			return damaged(path, fmt.Errorf("record %d is not whole", bad))
		}
		return damaged(path, fmt.Errorf("%d senders that %s refers to are missing", len(senders), databaseName))
	}
	for _, e := range erasures {
		if err := s.deleteSenders(ctx, e); err != nil {
			return fmt.Errorf("end an erasure: %w", err)
		}
	}
	if bad < 0 && orphans == 0 && marks == 0 {
		return s.ids.resume()
	}
	s.log.Info("mended ids", slog.Bool("torn", bad >= 0), slog.Int("orphans", orphans), slog.Int("erasures", marks))
	return s.ids.replace(s.identities())
}
