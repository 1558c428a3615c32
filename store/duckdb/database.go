package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/blindai-go/blindai/store"
)

const (
	databaseName = "events.duckdb"
	walName      = databaseName + ".wal"
	tempName     = "tmp"
)

// maxWAL is the size of the log at which it is worth moving into the database:
// about half a second of work, and as much again to replay after a crash.
const maxWAL = 32 << 20

// database is the DuckDB file of a folder. DuckDB ends for good on some errors,
// a full disk during a checkpoint among them ("database has been invalidated"),
// so a database can be restarted.
type database struct {
	dir    string
	config Config

	mu sync.RWMutex // held for reading while db is in use; for writing while it is replaced
	db *sql.DB      // nil after a restart that did not work

	ended atomic.Bool // an error has ended db

	// logged is the size of the log below which a checkpoint that has failed is
	// not tried again. It belongs to who holds the loader.
	logged int64
}

// open opens the file and closes the doors of DuckDB.
func (d *database) open() error {
	options := url.Values{
		"autoinstall_known_extensions": {"false"},
		"autoload_known_extensions":    {"false"},
		"allow_community_extensions":   {"false"},
		"allow_persistent_secrets":     {"false"},
		"memory_limit":                 {strconv.Itoa(d.config.Memory) + "MiB"},
		"threads":                      {strconv.Itoa(d.config.Threads)},
		"temp_directory":               {filepath.Join(d.dir, tempName)},
		// A checkpoint that fails within a commit takes the commit with it and
		// ends the database, so checkpoint is a step of its own.
		"wal_autocheckpoint": {"1TiB"},
	}
	connector, err := duckdb.NewConnector(filepath.Join(d.dir, databaseName)+"?"+options.Encode(), nil)
	if err != nil {
		return d.explain(err)
	}
	db := sql.OpenDB(connector)
	// These only after the file is open: the second would refuse the options
	// above, the third ends all changes.
	compact := strings.ReplaceAll(filepath.Join(d.dir, compactName), "'", "''")
	for _, set := range []string{
		"SET allowed_directories = ['" + compact + "']", "SET enable_external_access = false", "SET lock_configuration = true",
	} {
		if _, err := db.Exec(set); err != nil {
			db.Close()
			return d.explain(err)
		}
	}
	d.db = db
	return nil
}

// close closes the file. DuckDB moves its log into the database while it does.
func (d *database) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.db == nil {
		return nil
	}
	err := d.db.Close()
	d.db = nil
	return err
}

// read calls fn with the database. fn must not call back into the store.
func (d *database) read(fn func(*sql.DB) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.db == nil {
		return errors.New("the database did not restart after an error; the next write tries again")
	}
	err := fn(d.db)
	if fatal(err) {
		d.ended.Store(true)
	}
	return d.explain(err)
}

// write calls fn within one transaction and commits it, on one connection. The
// caller holds the loader, and has seen to it that ctx was not done yet; from
// here on it is ignored, because DuckDB cannot be stopped in a commit and say
// what became of it.
func (d *database) write(ctx context.Context, fn func(context.Context, *sql.Conn) error) error {
	ctx = context.WithoutCancel(ctx)
	return d.read(func(db *sql.DB) (err error) {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
			return err
		}
		if err = fn(ctx, conn); err == nil {
			_, err = conn.ExecContext(ctx, "COMMIT")
		}
		if err != nil {
			// After a commit that failed there is nothing left to roll back,
			// and DuckDB says so. Either way the connection is clean.
			conn.ExecContext(ctx, "ROLLBACK")
		}
		return err
	})
}

// checkpoint moves the log into the database if it has grown to size. It is
// housekeeping: what is in the log is durable, so a failure is only logged, and
// tried again when the log has grown by as much as is worth moving.
func (d *database) checkpoint(ctx context.Context, size int64) {
	info, err := os.Stat(filepath.Join(d.dir, walName))
	if err != nil || info.Size() < max(size, d.logged) {
		return
	}
	err = d.read(func(db *sql.DB) error {
		_, err := db.ExecContext(context.WithoutCancel(ctx), "CHECKPOINT")
		return err
	})
	if err == nil {
		d.logged = 0
		return
	}
	d.logged = info.Size() + maxWAL
	d.config.Logger.Warn("checkpoint has to wait", slog.Any("error", err))
	if fatal(err) {
		// Readers should not have to wait for the next write.
		if err := d.revive(); err != nil {
			d.config.Logger.Error("database is closed until the next write", slog.Any("error", err))
		}
	}
}

// revive restarts the database if an error has ended it. It waits for the calls
// of read.
func (d *database) revive() error {
	if !d.ended.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.db != nil {
		d.db.Close() // the error that ended it was returned when it happened
		d.db = nil
	}
	if err := d.open(); err != nil {
		return fmt.Errorf("restart the database: %w", err)
	}
	d.ended.Store(false)
	return nil
}

// fatal reports whether err has ended the database.
func fatal(err error) bool {
	var e *duckdb.Error
	return errors.As(err, &e) && e.Type == duckdb.ErrorTypeFatal
}

// explain turns what DuckDB says about its file into the store's errors. The
// driver knows no codes for these, only words.
func (d *database) explain(err error) error {
	if err == nil || errors.Is(err, store.ErrDamaged) {
		return err
	}
	text := err.Error()
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("Could not set lock on file"):
		return fmt.Errorf("%s: %w", d.dir, store.ErrInUse)
	case has("WAL file") && has("Corrupt", "Failure while replaying"):
		return damaged(filepath.Join(d.dir, walName), err)
	case has("Corrupt database file", "not a valid DuckDB database file", "Could not read enough bytes", "Serialization Error"):
		return damaged(filepath.Join(d.dir, databaseName), err)
	}
	return err
}

// damaged says which file is damaged, how that shows, and the way back.
func damaged(path string, err error) error {
	return fmt.Errorf("%w: %s; restore the whole data folder from a backup: %w", store.ErrDamaged, path, err)
}
