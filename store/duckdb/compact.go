package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// compactName is the folder that is there while the database's file holds what
// was erased: DuckDB keeps the bytes of deleted rows in its free blocks until
// they are used again. The compactor writes a copy of the database into it, and
// puts that in the place of the file.
const compactName = "compact"

const (
	// compactDelay is how long a compaction waits for more erasures, and
	// compactEvery the least time from one to the next: it writes all rows anew,
	// about seven million a second (BenchmarkCompact), and questions wait while
	// it does. 2026-11.
	compactDelay = time.Minute
	compactEvery = 10 * time.Minute

	// compactAtEnd is how long Close tries. What it cannot end the next start
	// goes on with.
	compactAtEnd = 15 * time.Second

	// compactGives is how often a copy gives way before one is let through:
	// else somebody who is erased every minute would keep all others' bytes here.
	compactGives = 3

	// compactSpace is what a compaction leaves free on the disk, bytes.
	compactSpace = 256 << 20
)

// A compactor rids the database of the bytes of erased rows. It works on its own
// some time after an erasure, and when the store is closed.
type compactor struct {
	store *Store
	delay time.Duration // compactDelay, but in tests
	wake  chan struct{}
	stop  chan struct{}
	done  chan struct{} // closed when run has ended; nil before it has begun

	mu     sync.Mutex         // guards what follows
	cancel context.CancelFunc // of the copy under way; nil if there is none
	kept   int                // how many keep copies out
	given  int                // copies that have given way since one was ended
}

func newCompactor(s *Store) *compactor {
	return &compactor{store: s, delay: compactDelay, wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

func (c *compactor) dir() string { return filepath.Join(c.store.dir, compactName) }

// mark makes the folder, before rows are deleted.
func (c *compactor) mark() error {
	err := os.Mkdir(c.dir(), 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = syncFolder(c.store.dir)
	}
	if err != nil {
		return fmt.Errorf("note that rows are erased: %w", err)
	}
	return nil
}

func (c *compactor) marked() bool {
	_, err := os.Stat(c.dir())
	return err == nil
}

// due wakes run if there is something to do.
func (c *compactor) due() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// start lets the compactor work on its own.
func (c *compactor) start() {
	c.done = make(chan struct{})
	go c.run()
	if c.marked() {
		c.due()
	}
}

// end stops what start has begun, if it has.
func (c *compactor) end() {
	if c.done != nil {
		close(c.stop)
		back := c.keepOut()
		c.mu.Lock()
		if c.cancel != nil {
			c.cancel() // nor does the end wait for a copy that erasures wait for
		}
		c.mu.Unlock()
		<-c.done
		back()
		c.done = nil
	}
}

func (c *compactor) run() {
	defer close(c.done)
	for {
		select {
		case <-c.stop:
			return
		case <-c.wake:
		}
		wait := c.delay
		for c.marked() {
			timer := time.NewTimer(wait)
			select {
			case <-c.stop:
				timer.Stop()
				return
			case <-timer.C:
			}
			ctx, cancel := context.WithCancel(context.Background())
			err := c.compact(ctx, cancel)
			cancel()
			if wait = compactEvery; errors.Is(err, context.Canceled) {
				wait = c.delay
			} else if err != nil {
				c.store.log.Warn("what was erased stays in free blocks of the database; this is tried again", slog.Any("error", err))
			}
		}
	}
}

// keepOut ends the copy under way, and lets none begin until back is called: an
// erasure or a new plan does not wait for the loader as long as a copy takes.
func (c *compactor) keepOut() (back func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept++
	if c.cancel != nil && c.given < compactGives {
		c.cancel()
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.kept--
	}
}

// enter says that a copy is under way, which cancel ends, unless it is kept out.
func (c *compactor) enter(cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == 0 {
		c.cancel = cancel
	}
	return c.kept == 0
}

// leave says that the copy under way has ended. One that was cancelled counts
// once, by however many it was.
func (c *compactor) leave(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = nil
	if ctx.Err() != nil {
		c.given++
	}
}

// working reports whether a copy is under way, for which the loader is held.
func (c *compactor) working() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cancel != nil
}

// compact copies the database without what was erased and switches to the copy.
// It holds the loader, so that nothing changes meanwhile; Append goes on, into
// the journal. After an error everything is as it was. cancel ends ctx.
func (c *compactor) compact(ctx context.Context, cancel context.CancelFunc) error {
	s := c.store
	if err := s.loader.hold(ctx); err != nil {
		return err
	}
	defer s.loader.release()
	if !c.enter(cancel) {
		return context.Canceled
	}
	defer c.leave(ctx)
	begun := time.Now()
	for _, a := range s.all() {
		if err := s.loader.settle(ctx, a); err != nil {
			return err
		}
	}
	before, err := os.Stat(filepath.Join(s.dir, databaseName))
	if err != nil {
		return fmt.Errorf("compact the database: %w", err)
	}
	if err := c.hasSpace(before.Size()); err != nil {
		return err
	}
	if err := c.copy(ctx); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // DuckDB says it in words of its own
		}
		return errors.Join(fmt.Errorf("compact the database: %w", err), s.revive(), c.clear())
	}
	if err := s.step(stepCopied); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(err, c.clear())
	}
	if err := s.database.replace(filepath.Join(c.dir(), databaseName)); err != nil {
		return fmt.Errorf("compact the database: %w", err)
	}
	if err := s.step(stepReplaced); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(c.dir()), syncFolder(s.dir)); err != nil {
		return fmt.Errorf("end a compaction: %w", err)
	}
	c.mu.Lock()
	c.given = 0
	c.mu.Unlock()
	s.log.Info("the database was written anew, without what was erased", slog.Duration("took", time.Since(begun).Round(time.Millisecond)))
	return nil
}

// clear removes an unfinished copy. The folder stays, as the mark that it is.
func (c *compactor) clear() error {
	return errors.Join(os.RemoveAll(filepath.Join(c.dir(), databaseName)), os.RemoveAll(filepath.Join(c.dir(), walName)))
}

func (c *compactor) hasSpace(size int64) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(c.store.dir, &disk); err != nil {
		return nil // then the copy fails if it must
	}
	if free := int64(disk.Bavail) * int64(disk.Bsize); free < size+compactSpace {
		return fmt.Errorf("the disk has %d MiB free and %d are needed; make room", free>>20, (size+compactSpace)>>20)
	}
	return nil
}

// copy writes what is in the database into another one, and closes that.
func (c *compactor) copy(ctx context.Context) error {
	s := c.store
	if err := c.clear(); err != nil {
		return err
	}
	fresh := &database{dir: c.dir(), config: s.config}
	if err := fresh.open(); err != nil {
		return err
	}
	layouts := c.layouts()
	err := fresh.write(ctx, func(ctx context.Context, conn *sql.Conn) error {
		queries := []string{query("create_store.sql", nil)}
		for _, l := range layouts {
			queries = append(queries, query("create_sessions.sql", l), query("create_events.sql", l))
		}
		for _, q := range queries {
			if _, err := conn.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, fresh.close()); err != nil {
		return err
	}

	return s.read(func(db *sql.DB) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		path := strings.ReplaceAll(filepath.Join(c.dir(), databaseName), "'", "''")
		if _, err := conn.ExecContext(ctx, "ATTACH '"+path+"' AS fresh"); err != nil {
			return err
		}
		attached := true
		defer func() {
			if !attached {
				return
			}
			ctx := context.WithoutCancel(ctx)
			conn.ExecContext(ctx, "ROLLBACK")
			if _, err := conn.ExecContext(ctx, "DETACH fresh"); err != nil {
				s.database.ended.Store(true) // only at its end it lets go of the copy
			}
		}()
		if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
			return err
		}
		type table struct {
			Name    string
			Columns []string
		}
		tables := []table{{"_format", []string{"number"}}, {"_plans", []string{"app", "plan"}}, {"_loaded", []string{"app", "row"}}}
		for _, l := range layouts {
			tables = append(tables, table{l.SessionTable, l.SessionParts()}, table{l.EventTable, l.EventParts()})
		}
		for _, t := range tables {
			if _, err := conn.ExecContext(ctx, query("copy.sql", t)); err != nil {
				return err
			}
			var rows, copied int64
			if err := conn.QueryRowContext(ctx, query("copied.sql", t)).Scan(&rows, &copied); err != nil {
				return err
			}
			if rows != copied {
				return fmt.Errorf("%d of %d rows of %s were copied", copied, rows, t.Name)
			}
		}
		for _, q := range []string{"COMMIT", "CHECKPOINT fresh", "DETACH fresh"} {
			if _, err := conn.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		attached = false
		return nil
	})
}

func (c *compactor) layouts() (all []*layout) {
	c.store.mu.RLock()
	defer c.store.mu.RUnlock()
	for _, a := range c.store.apps {
		all = append(all, a.layout)
	}
	return all
}

// replace puts the closed database at path, which holds the same rows, in the
// place of d's, and opens it. The caller holds the loader. It waits for the
// calls of read.
func (d *database) replace(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.db != nil {
		if err := d.db.Close(); err != nil {
			d.ended.Store(true)
			return err
		}
		d.db = nil
	}
	name := filepath.Join(d.dir, databaseName)
	err := func() error {
		// A log that is left belongs to the old file, and would be taken for
		// the new one's.
		if _, err := os.Stat(filepath.Join(d.dir, walName)); !errors.Is(err, fs.ErrNotExist) {
			return errors.New("the log could not be moved into the database")
		}
		if err := os.Rename(path, name); err != nil {
			return err
		}
		return errors.Join(syncFolder(filepath.Dir(path)), syncFolder(d.dir))
	}()
	if openErr := d.open(); openErr != nil {
		d.ended.Store(true) // the next write tries again
		err = errors.Join(err, openErr)
	}
	return err
}
