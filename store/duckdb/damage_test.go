package duckdb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestDamage changes the files of a closed store in ways that no crash does.
func TestDamage(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[(at+len(b))%len(b)] ^= 0x10
			return b
		}
	}
	for _, test := range []struct {
		name, file string
		change     func([]byte) []byte // nil removes the file
	}{
		{"ids is gone", idsName, nil},
		{"ids is empty", idsName, func([]byte) []byte { return nil }},
		{"ids has another start", idsName, flip(3)},
		{"a number has changed", idsName, flip(len(idsMagic))},
		{"an id has changed", idsName, flip(len(idsMagic) + 8)},
		{"a kind has changed", idsName, flip(len(idsMagic) + 24)},
		{"the last checksum has changed", idsName, flip(-1)},
		{"the last record is cut", idsName, func(b []byte) []byte { return b[:len(b)-5] }},
		{"the last record is gone", idsName, func(b []byte) []byte { return b[:len(b)-idsRecord] }},
		{"the first record is gone", idsName, func(b []byte) []byte { return append(b[:len(idsMagic)], b[len(idsMagic)+idsRecord:]...) }},
		{"the database is gone", databaseName, nil},
		{"the database is empty", databaseName, func([]byte) []byte { return nil }},
		{"the database is something else", databaseName, func([]byte) []byte { return bytes.Repeat([]byte("garbage "), 9999) }},
		{"the database is cut", databaseName, func(b []byte) []byte { return b[:len(b)/2] }},
		{"the database has another start", databaseName, flip(9)},
		{"a header has changed", databaseName, flip(4096 + 8)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filled(t)
			path := filepath.Join(dir, test.file)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if test.change == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, test.change(bytes.Clone(b)), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			wantDamaged(t, dir, path)

			// The way back: a backup.
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			shut(t, open(t, dir))
		})
	}
}

func wantDamaged(t *testing.T, dir, path string) {
	t.Helper()
	_, err := Open(context.Background(), dir)
	if !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("got error %v, want ErrDamaged", err)
	}
	for _, want := range []string{path, "restore the whole data folder from a backup"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not say %q", err, want)
		}
	}
}

// afterCrash returns a folder in which a load was killed after its commit, the
// path of DuckDB's log in it, and the log.
func afterCrash(t *testing.T) (dir, path string, log []byte) {
	t.Helper()
	dir = filled(t)
	out, state := startChild(t, "crash", dir, "CRASH_WRITE=load", "CRASH_STEP="+stepLoadCommitted)
	if !state.Sys().(syscall.WaitStatus).Signaled() {
		t.Fatalf("the process was not killed: %v\n%s", state, out)
	}
	path = filepath.Join(dir, walName)
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return dir, path, log
}

// TestDamagedLog changes an entry of DuckDB's log, which is there only after a
// crash.
func TestDamagedLog(t *testing.T) {
	dir, path, log := afterCrash(t)
	log[len(log)/2] ^= 0x10
	if err := os.WriteFile(path, log, 0o600); err != nil {
		t.Fatal(err)
	}
	wantDamaged(t, dir, path)
}

// TestTornLog cuts the log as a crash within a commit does. What that commit has
// loaded is still in the journal; what comes after it must not be lost either.
func TestTornLog(t *testing.T) {
	for name, tear := range map[string]func([]byte) []byte{
		"cut":              func(b []byte) []byte { return b[:len(b)-10] },
		"cut within start": func(b []byte) []byte { return b[:10] },
		"empty":            func(b []byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, path, log := afterCrash(t)
			if err := os.WriteFile(path, tear(log), 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir)
			want := map[plan.ID]int64{ada: 5, bob: 2, cyd: 10}
			wantStored(t, s, want)
			if err := s.Append(t.Context(), "app", testRecords(cyd, 10, 19)); err != nil {
				t.Fatal(err)
			}
			want[cyd] = 20
			wantStored(t, s, want)
			dir = image(t, dir)
			wantStored(t, open(t, dir), want)
			wantIDs(t, dir, want)
		})
	}
}

// TestDamagedBlock changes a block that is not read before somebody asks.
func TestDamagedBlock(t *testing.T) {
	dir := filled(t)
	path := filepath.Join(dir, databaseName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-200_000] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	wantDamaged(t, dir, path)
}

// TestMixedBackups puts together files that do not belong together.
func TestMixedBackups(t *testing.T) {
	older, newer := filled(t), filled(t)
	s := open(t, newer)
	if err := s.Append(t.Context(), "app", testRecords(cyd, 0, 0)); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	b, err := os.ReadFile(filepath.Join(older, idsName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(newer, idsName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	wantDamaged(t, newer, filepath.Join(newer, idsName))
}

// TestOtherFormat opens a store that a later version has written.
func TestOtherFormat(t *testing.T) {
	dir := filled(t)
	s := open(t, dir)
	err := s.write(t.Context(), func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "UPDATE _format SET number = 2")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "use the version that wrote it") {
		t.Errorf("got error %v", err)
	}
}
