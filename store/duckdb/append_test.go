package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestAppendFails lets each step of an append fail, and checks that nothing of
// it is there and that the store goes on.
func TestAppendFails(t *testing.T) {
	for _, step := range []string{stepIDsAppended, stepIDsSynced, stepBlockWritten} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			fill(t, s)
			failAt(s, step)
			records := append(testRecords(ada, 2, 4), testRecords(cyd, 0, 9)...)
			if err := s.Append(t.Context(), "app", records); !errors.Is(err, errStep) {
				t.Errorf("got error %v, want that of the step", err)
			}
			before := map[plan.ID]int64{ada: 2, bob: 2}
			wantStored(t, s, before)

			// The id may be in the file by now. Erasing has to find it there.
			wantErase(t, s, []plan.ID{cyd}, store.Erased{})
			if found := storetest.Traces(t, dir, cyd); found != nil {
				t.Errorf("an erased id is in %v", found)
			}
			if err := s.Append(t.Context(), "app", records); err != nil {
				t.Fatal(err)
			}
			after := map[plan.ID]int64{ada: 5, bob: 2, cyd: 10}
			wantStored(t, s, after)
			shut(t, s)
			s = open(t, dir)
			wantStored(t, s, after)
			wantIDs(t, dir, after)
		})
	}
}

// TestDiskFull lets the kernel refuse to make files longer.
func TestDiskFull(t *testing.T) {
	dir := filled(t)
	if out, state := startChild(t, "full", dir); !state.Success() {
		t.Fatalf("%v\n%s", state, out)
	}
	wantStored(t, open(t, dir), map[plan.ID]int64{ada: 2, bob: 2, cyd: 5020})
}

// full is TestDiskFull in a process of its own, because the limit is one of the
// process. dir holds what fill has stored.
func full(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, dir)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	limit := func(file string, more int64) error {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(info.Size() + more), Max: old.Max})
	}
	lift := func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old) }
	count := func() (n int) {
		err := s.List(ctx, store.Listing{App: "app"}, func(*store.Record) error { n++; return nil })
		if err != nil {
			return -1
		}
		return n
	}

	s.loader.end()
	appended := func(from, to int64) error { return s.Append(ctx, "app", testRecords(cyd, from, to)) }
	if err := appended(0, 9); err != nil {
		return err
	}
	// The journal cannot grow: all that is there is what was there.
	if err := limit(journalName+"1", 1000); err != nil {
		return err
	}
	if err := appended(10, 5009); err == nil {
		return errors.New("an append that does not fit has returned nil")
	}
	if err := lift(); err != nil {
		return err
	}
	if n := count(); n != 14 {
		return fmt.Errorf("%d records after an append that failed, want 14", n)
	}
	if err := appended(10, 4009); err != nil {
		return err
	}
	// DuckDB's log cannot grow: what waits stays in the journal, and readers
	// are told.
	if err := limit(walName, 60_000); err != nil {
		return err
	}
	if n := count(); n != -1 {
		return fmt.Errorf("%d records while they cannot be loaded, want an error", n)
	}
	if err := appended(4010, 4019); err != nil {
		return fmt.Errorf("while nothing can be loaded: %w", err)
	}
	if err := lift(); err != nil {
		return err
	}
	if n := count(); n != 4024 {
		return fmt.Errorf("%d records after loading them has failed, want 4024", n)
	}
	if err := appended(4020, 5009); err != nil {
		return err
	}
	if n := count(); n != 5014 {
		return fmt.Errorf("%d records, want 5014", n)
	}

	// A checkpoint fails, which ends DuckDB: the store restarts it.
	if err := limit(databaseName, 0); err != nil {
		return err
	}
	s.checkpoint(ctx, 1)
	if s.logged == 0 {
		return errors.New("the checkpoint did not fail")
	}
	if n := count(); n != 5014 {
		return fmt.Errorf("%d records after a checkpoint that failed, want 5014", n)
	}
	if err := appended(5010, 5019); err != nil {
		return err
	}
	if err := lift(); err != nil {
		return err
	}
	s.logged = 0
	s.checkpoint(ctx, 1)
	if _, err := os.Stat(filepath.Join(dir, walName)); err == nil {
		return errors.New("the log is still there after a checkpoint")
	}
	return s.Close()
}
