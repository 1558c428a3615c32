package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/blindai-go/blindai/store"
)

// Config tunes a store. The zero Config works.
type Config struct {
	// Memory bounds what DuckDB holds in memory, in MiB; beyond it, it sorts in
	// the folder tmp. 0 means DefaultMemory. Less than MinMemory is refused.
	Memory int

	// Threads bounds DuckDB's threads. 0 means 1: with more, one of them spins
	// while another works, which costs a quarter more CPU for each row, and at a
	// million rows no question was answered sooner. 2026-11.
	Threads int

	// Logger is told what Open repaired, of loads that fail, and of checkpoints
	// that have to wait. It is never told a value of a record. nil means silence.
	Logger *slog.Logger
}

// DefaultMemory is enough to sort a table of any size by way of tmp, and leaves a
// collector below 512 MiB in all (peers/bench/ingest). MinMemory
// is what a commit of 100,000 rows was seen to need, and some more. MiB, 2026-11.
const (
	DefaultMemory = 160
	MinMemory     = 64
)

// Open opens the store in the folder dir with the zero Config. See Config.Open.
func Open(ctx context.Context, dir string) (*Store, error) {
	return Config{}.Open(ctx, dir)
}

// Open opens the store in the folder dir, which is made if it is not there, and
// repairs what a crash left half done. Errors are ErrInUse if another process
// or another Store has the folder, and ErrDamaged if its files do not fit
// together.
func (c Config) Open(ctx context.Context, dir string) (*Store, error) {
	s, err := c.open(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func (c Config) open(ctx context.Context, dir string) (_ *Store, err error) {
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if c.Memory < MinMemory {
		return nil, fmt.Errorf("the memory for the database must be %d MiB or more", MinMemory)
	}
	if c.Threads <= 0 {
		c.Threads = 1
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err = claim(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, log: c.Logger, apps: map[string]*app{}}
	s.journal = &journal{dir: dir, step: s.step, limit: maxJournal}
	s.loader = newLoader(s)
	s.compact = newCompactor(s)
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()

	// Only DuckDB makes sure that no other process has the folder, so nothing
	// in it is changed before the database is open.
	_, idsErr := os.Stat(filepath.Join(dir, idsName))
	_, dbErr := os.Stat(filepath.Join(dir, databaseName))
	hasIDs, isNew := idsErr == nil, errors.Is(dbErr, fs.ErrNotExist)
	if hasIDs && isNew {
		return nil, damaged(filepath.Join(dir, databaseName), errors.New("it is missing, and ids is there"))
	}
	if !hasIDs {
		if err := removeStump(filepath.Join(dir, databaseName)); err != nil {
			return nil, err
		}
	}
	s.database = &database{dir: dir, config: c}
	if err := s.database.open(); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(dir, tempName)); err != nil {
		return nil, fmt.Errorf("clear the temporary folder: %w", err)
	}
	if err := s.compact.clear(); err != nil { // 4A
		return nil, fmt.Errorf("remove an unfinished copy of the database: %w", err)
	}
	if err := s.load(ctx, hasIDs); err != nil {
		return nil, s.explain(err)
	}
	s.loader.start()
	s.compact.start()
	return s, nil
}

// removeStump removes a database that a crash has left before DuckDB had written
// its headers, three blocks of 4 KiB. Nothing was ever in it.
func removeStump(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() >= 3*4096 {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove a database that was never finished: %w", err)
	}
	return nil
}

// abandon releases what a failed open has taken.
func (s *Store) abandon() {
	if s.database != nil {
		s.database.close()
	}
	s.journal.close()
	if s.ids != nil {
		s.ids.close()
	}
	release(s.dir)
}

// claimed holds the folders that this process has open. DuckDB's lock is one of
// the process, and would let the same process in twice.
var claimed = struct {
	sync.Mutex
	dirs map[string]bool
}{dirs: map[string]bool{}}

// claim makes dir if need be, checks that it can be written, and takes it for
// this process. It returns the folder's one true path.
func claim(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	// DuckDB's driver takes path and options as one string.
	if strings.ContainsAny(dir, "?#%") {
		return "", fmt.Errorf("the data folder %s has a ?, # or %% in its path; choose another folder", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("the data folder %s cannot be made; choose another folder, or correct the rights of the one above: %w", dir, err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	probe, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return "", fmt.Errorf("the data folder %s cannot be written; choose another folder, or correct its rights: %w", dir, err)
	}
	probe.Close()
	os.Remove(probe.Name())

	claimed.Lock()
	defer claimed.Unlock()
	if claimed.dirs[dir] {
		return "", fmt.Errorf("%s: %w", dir, store.ErrInUse)
	}
	claimed.dirs[dir] = true
	return dir, nil
}

func release(dir string) {
	claimed.Lock()
	defer claimed.Unlock()
	delete(claimed.dirs, dir)
}
