package duckdb

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// crash opens dir, in which fill was at work, and is killed in the step of the
// write that the environment names.
func crash(dir string) error {
	s, err := Open(context.Background(), dir)
	if err != nil {
		return err
	}
	s.onStep = func(step string) error {
		if step == os.Getenv("CRASH_STEP") {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	switch os.Getenv("CRASH_WRITE") {
	case "append": // an old sender and a new one
		err = s.Append(context.Background(), "app", append(testRecords(ada, 2, 4), testRecords(cyd, 0, 9)...))
	case "erase":
		_, err = s.Erase(context.Background(), "app", bob)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("the step %s was not reached", os.Getenv("CRASH_STEP"))
}

// TestCrash kills the process in each step of a write and opens the folder
// again. The names are those of "When it stops half way".
func TestCrash(t *testing.T) {
	before := map[plan.ID]int64{ada: 2, bob: 2}
	for _, test := range []struct {
		name, write, step string
		want              map[plan.ID]int64
	}{
		{"1A", "append", stepIDsAppended, before},
		{"1B", "append", stepRowsLoaded, before},
		{"1C", "append", stepCommitted, map[plan.ID]int64{ada: 5, bob: 2, cyd: 10}},
		{"2A", "erase", stepIDsWritten, before},
		{"2B", "erase", stepIDsRenamed, map[plan.ID]int64{ada: 2}},
		{"2C before", "erase", stepIDsReplaced, map[plan.ID]int64{ada: 2}},
		{"2C within", "erase", stepRowsDeleted, map[plan.ID]int64{ada: 2}},
		{"2D", "erase", stepCommitted, map[plan.ID]int64{ada: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filled(t)
			out, state := startChild(t, "crash", dir, "CRASH_WRITE="+test.write, "CRASH_STEP="+test.step)
			if status := state.Sys().(syscall.WaitStatus); !status.Signaled() {
				t.Fatalf("the process was not killed: %v\n%s", state, out)
			}

			s := open(t, dir)
			wantStored(t, s, test.want)
			wantIDs(t, dir, test.want)
			shut(t, s)

			// Whatever was mended stays mended, and the store goes on.
			s = open(t, dir)
			wantStored(t, s, test.want)
			if err := s.Append(t.Context(), "app", testRecords(cyd, 10, 11)); err != nil {
				t.Error(err)
			}
			if _, err := s.Erase(t.Context(), "app", bob); err != nil {
				t.Error(err)
			}
			shut(t, s)
			s = open(t, dir)
			want := map[plan.ID]int64{ada: test.want[ada], cyd: test.want[cyd] + 2}
			wantStored(t, s, want)
			wantIDs(t, dir, want)
		})
	}
}

// wantIDs checks that the file ids holds the senders of want and nothing else,
// and that no copy of it lies about.
func wantIDs(t *testing.T, dir string, want map[plan.ID]int64) {
	t.Helper()
	entries, bad, err := readIDs(dir)
	if err != nil || bad >= 0 {
		t.Fatalf("ids cannot be read: record %d, %v", bad, err)
	}
	senders := 0
	for _, e := range entries {
		if e.mark {
			continue // of an erasure that has ended while the store is open
		}
		senders++
		if _, ok := want[e.id]; !ok {
			t.Error("ids holds a sender that is not stored")
		}
	}
	if senders != len(want) {
		t.Errorf("ids holds %d senders, want %d", senders, len(want))
	}
	if _, err := os.Stat(filepath.Join(dir, idsNewName)); err == nil {
		t.Errorf("%s was left", idsNewName)
	}
}

// TestTornIDs ends the file ids in the ways in which an append may be cut short.
func TestTornIDs(t *testing.T) {
	whole := identity{number: 3, id: cyd}.append(nil)
	for name, tail := range map[string][]byte{
		"one byte":                  whole[:1],
		"all but one byte":          whole[:31],
		"zeros":                     make([]byte, 3*idsRecord),
		"half a record and zeros":   append(bytes.Clone(whole[:16]), make([]byte, 16)...),
		"a lost page, then a whole": append(make([]byte, idsRecord), identity{number: 4, id: cyd}.append(nil)...),
		"a whole one":               whole,
		"a whole one and a half":    append(bytes.Clone(whole), whole[:16]...),
		"a number again":            identity{number: 2, id: cyd}.append(nil),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			path := filepath.Join(dir, idsName)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, append(bytes.Clone(b), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir)
			want := map[plan.ID]int64{ada: 2, bob: 2}
			wantStored(t, s, want)
			wantIDs(t, dir, want)
			shut(t, s)
			if after, _ := os.ReadFile(path); !bytes.Equal(after, b) {
				t.Errorf("ids has %d bytes, want the %d of before", len(after), len(b))
			}
		})
	}
}
