package duckdb

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// crash opens dir, in which fill was at work, and is killed in the step of the
// write that the environment names.
func crash(dir string) error {
	s, err := Open(context.Background(), dir)
	if err != nil {
		return err
	}
	at(s, os.Getenv("CRASH_STEP"), func() error {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	})
	ctx := context.Background()
	more := append(testRecords(ada, 2, 4), testRecords(cyd, 0, 9)...) // an old sender and a new one
	load := func() error { return s.loader.catchUp(ctx, s.apps["app"]) }
	switch os.Getenv("CRASH_WRITE") {
	case "append":
		err = s.Append(ctx, "app", more)
	case "load":
		if err = s.Append(ctx, "app", more); err == nil {
			err = load()
		}
	case "compact":
		if _, err = s.Erase(ctx, "app", []plan.ID{bob}); err == nil {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			err = s.compact.compact(ctx, cancel)
		}
	case "erase": // two senders of four, with events of theirs in the journal
		records := slices.Concat(testRecords(bob, 2, 3), testRecords(cyd, 0, 4), testRecords(dee, 0, 6))
		if err = s.Append(ctx, "app", records); err == nil {
			_, err = s.Erase(ctx, "app", []plan.ID{dee, bob})
		}
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("the step %s was not reached", os.Getenv("CRASH_STEP"))
}

// TestCrash kills the process in each step of a write and opens the folder
// again. The names are those of "When it stops half way".
func TestCrash(t *testing.T) {
	type count = map[plan.ID]int64
	before, after := count{ada: 2, bob: 2}, count{ada: 5, bob: 2, cyd: 10}
	four, erased := count{ada: 2, bob: 4, cyd: 5, dee: 7}, count{ada: 2, cyd: 5}
	for _, test := range []struct {
		name, write, step string
		want              count
	}{
		{"1A", "append", stepIDsAppended, before},
		{"1B", "append", stepIDsSynced, before},
		{"1C", "append", stepBlockWritten, after}, // a kill leaves what was written
		{"1D", "append", stepBlockSynced, after},
		{"2A", "load", stepRowsLoaded, after},
		{"2B", "load", stepLoadCommitted, after},
		{"3A", "erase", stepIDsWritten, four},
		{"3B", "erase", stepIDsRenamed, erased},
		{"3C before", "erase", stepIDsReplaced, erased},
		{"3C within", "erase", stepRowsDeleted, erased},
		{"3D", "erase", stepCommitted, erased},
		{"4A", "compact", stepCopied, count{ada: 2}},
		{"4B", "compact", stepReplaced, count{ada: 2}},
		{"3 in the load before", "erase", stepRowsLoaded, four},
		{"3 after the load before", "erase", stepLoadCommitted, four},
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
			if _, err := s.Erase(t.Context(), "app", []plan.ID{bob, dee}); err != nil {
				t.Error(err)
			}
			shut(t, s)
			s = open(t, dir)
			want := count{ada: test.want[ada], cyd: test.want[cyd] + 2}
			wantStored(t, s, want)
			wantIDs(t, dir, want)
		})
	}
}

// work appends events of cyd to what is in dir until it is killed, and asks now
// and then. It writes a line with the number of the next event before it begins,
// and after each append that has returned.
func work(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, dir)
	if err != nil {
		return err
	}
	next := int64(0)
	for x, err := range s.Seen(ctx, "app", time.Time{}) {
		if err != nil {
			return err
		}
		if x.ID == cyd {
			next = x.Last + 1
		}
	}
	go func() {
		for {
			time.Sleep(30 * time.Millisecond)
			s.Ask(ctx, store.Question{App: "app", From: time.UnixMilli(0), To: time.UnixMilli(plan.MaxTime)})
		}
	}()
	for size := int64(1); ; size = size*7%20_011 + 1 {
		fmt.Println(next)
		if err := s.Append(ctx, "app", testRecords(cyd, next, next+size-1)); err != nil {
			return err
		}
		next += size
	}
}

// TestKilledAtWork kills the process at any time, again and again in the same
// folder. What was acknowledged is there each time, and nothing twice.
func TestKilledAtWork(t *testing.T) {
	dir := filled(t)
	const kills = 6
	for i := range kills {
		cmd := exec.Command(os.Args[0], dir)
		cmd.Env = append(os.Environ(), childMode+"=work")
		var out, trouble bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &trouble
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(200+i*170) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if trouble.Len() > 0 {
			t.Fatal(trouble.String())
		}
		lines := strings.Fields(out.String())
		if len(lines) == 0 {
			continue // killed before it had begun
		}
		acknowledged, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}

		s := open(t, dir)
		stored := int64(0)
		for x, err := range s.Seen(t.Context(), "app", time.Time{}) {
			if err != nil || x.First != 0 {
				t.Errorf("seen from %d, %v", x.First, err)
			}
			if x.ID == cyd {
				stored = x.Last + 1
			}
		}
		// What was under way may be there too, but all of it: 20,011 at most.
		if stored < acknowledged || stored > acknowledged+20_011 {
			t.Errorf("%d records are stored and %d were acknowledged", stored, acknowledged)
		}
		shut(t, s)
		wantCounted(t, dir, map[plan.ID]int64{ada: 2, bob: 2, cyd: stored})
		t.Logf("kill %d: %d records acknowledged, %d stored", i, acknowledged, stored)
	}
}

// wantIDs checks that the file ids holds the senders of want and nothing else,
// that no copy of it lies about, and that no other file holds a sender.
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
	for _, id := range []plan.ID{ada, bob, cyd, dee} {
		var files []string
		if _, ok := want[id]; ok {
			files = []string{idsName}
		}
		if got := storetest.Traces(t, dir, id); !slices.Equal(got, files) {
			t.Errorf("a sender is found in %v, want %v", got, files)
		}
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
