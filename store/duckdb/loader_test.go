package duckdb

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

func TestPortion(t *testing.T) {
	f := func(n, want int64) {
		t.Helper()
		if got := portion(n); got != want {
			t.Errorf("portion(%d) = %d, want %d", n, got, want)
		}
	}
	f(1, 1)
	f(rowGroup-1, rowGroup-1)
	f(rowGroup, rowGroup)
	f(loadRows-1, rowGroup)
	f(loadRows, loadRows)
	f(10*loadRows+5, loadRows)
}

// TestHandle fails when the driver keeps its connections in another way.
func TestHandle(t *testing.T) {
	s := open(t, t.TempDir())
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		h, err := handle(c)
		if err == nil && h.Ptr == nil {
			t.Error("the handle is nil")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, other := range []any{nil, 3, &struct{ conn int }{}, struct{}{}} {
		if _, err := handle(other); err == nil {
			t.Errorf("%T has a handle", other)
		}
	}
}

// TestLoadsOnItsOwn waits for the loader without asking anything.
func TestLoadsOnItsOwn(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	q := &s.apps["app"].queue
	for begun := time.Now(); q.rows() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > 20*loadDelay {
			t.Fatalf("%d rows still wait", q.rows())
		}
	}
	if info, err := os.Stat(filepath.Join(s.dir, journalName+"1")); err != nil || info.Size() != 0 {
		t.Errorf("the journal after a load: %v, %v, want an empty file", info, err)
	}
}

// TestWholeGroups appends blocks that do not fit into groups. What fills groups
// is loaded, and then the rest of a block that was loaded in part.
func TestWholeGroups(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	s.loader.end()
	a := s.apps["app"]
	if err := s.loader.catchUp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	const size, blocks = 90_000, 4
	for i := range int64(blocks) {
		records := testRecords(cyd, i*size, (i+1)*size-1)
		if i == 2 { // a new session in the block that is cut in two
			records = append(records, testRecord(ada, 2))
			records[size].Session = []plan.Value{{Set: true, Text: "2.0.0"}}
		}
		if err := s.Append(t.Context(), "app", records); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func(want int64) {
		t.Helper()
		if got := a.queue.rows(); got != want {
			t.Errorf("%d rows wait, want %d", got, want)
		}
	}
	waiting(4*size + 1)
	s.loader.loadSome(t.Context(), a, false)
	waiting(4*size + 1 - loadRows)
	s.loader.loadSome(t.Context(), a, false) // too few
	waiting(4*size + 1 - loadRows)
	wantCounted(t, image(t, s.dir), map[plan.ID]int64{ada: 3, bob: 2, cyd: 4 * size})
	s.loader.loadSome(t.Context(), a, true)
	waiting(0)
	shut(t, s)
	wantCounted(t, s.dir, map[plan.ID]int64{ada: 3, bob: 2, cyd: 4 * size})
}

// wantCounted is wantStored for many records in a folder.
func wantCounted(t *testing.T, dir string, want map[plan.ID]int64) {
	t.Helper()
	s := open(t, dir)
	defer shut(t, s)
	all := int64(0)
	for x, err := range s.Seen(t.Context(), "app", time.Time{}) {
		if err != nil || x.First != 0 || x.Last != want[x.ID]-1 {
			t.Errorf("%s: seen %d to %d, %v, want %d", x.ID, x.First, x.Last, err, want[x.ID])
		}
		all += want[x.ID]
	}
	a, err := s.Ask(t.Context(), store.Question{App: "app", From: time.UnixMilli(plan.MinTime), To: time.UnixMilli(plan.MaxTime)})
	if err != nil || len(a.Series) != 1 || a.Series[0].Total != all {
		t.Errorf("asked: got %+v, %v, want %d", a, err, all)
	}
}

// TestLoadFails lets the steps of a load fail. Appends go on, readers are told,
// and the log once; nothing is lost or doubled when it works again.
func TestLoadFails(t *testing.T) {
	for _, step := range []string{stepRowsLoaded, stepLoadCommitted} {
		t.Run(step, func(t *testing.T) {
			var log bytes.Buffer
			dir := t.TempDir()
			s, err := Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}.Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			fill(t, s)
			fails := true
			at(s, step, func() error {
				if fails {
					return errStep
				}
				return nil
			})
			ask := func() error {
				_, err := s.Ask(t.Context(), store.Question{App: "app", From: time.UnixMilli(0), To: time.UnixMilli(plan.MaxTime)})
				return err
			}
			for i := range int64(3) {
				if err := ask(); !errors.Is(err, errStep) && step == stepRowsLoaded {
					t.Errorf("Ask: got error %v, want that of the step", err)
				}
				if err := s.Append(t.Context(), "app", testRecords(cyd, i, i)); err != nil {
					t.Errorf("Append: %v", err)
				}
			}
			if _, err := s.Erase(t.Context(), "app", []plan.ID{bob}); !errors.Is(err, errStep) {
				t.Errorf("Erase: got error %v, want that of the step", err)
			}
			fails = false
			want := map[plan.ID]int64{ada: 2, bob: 2, cyd: 3}
			wantStored(t, s, want)
			if n := strings.Count(log.String(), "events cannot be loaded"); n != 1 && step == stepRowsLoaded {
				t.Errorf("it was logged %d times, want once:\n%s", n, &log)
			}
			shut(t, s)
			wantStored(t, open(t, dir), want)
		})
	}
}

// TestLoadInDoubt ends the database on either side of a commit, as far as the
// store can tell. It finds out what is loaded, and no reader notices.
func TestLoadInDoubt(t *testing.T) {
	for _, step := range []string{stepRowsLoaded, stepLoadCommitted} {
		t.Run(step, func(t *testing.T) {
			s := open(t, t.TempDir())
			fill(t, s)
			at(s, step, func() error {
				s.onStep.Store(nil)
				s.ended.Store(true)
				return &duckdb.Error{Type: duckdb.ErrorTypeFatal, Msg: "FATAL Error: made up"}
			})
			if err := s.Append(t.Context(), "app", append(testRecords(ada, 2, 4), testRecords(cyd, 0, 9)...)); err != nil {
				t.Fatal(err)
			}
			want := map[plan.ID]int64{ada: 5, bob: 2, cyd: 10}
			wantStored(t, s, want)
			if s.ended.Load() {
				t.Error("the database was not restarted")
			}

			// Numbers go on where they were: no row is mistaken for another.
			if err := s.Append(t.Context(), "app", testRecords(cyd, 10, 10)); err != nil {
				t.Fatal(err)
			}
			want[cyd]++
			wantStored(t, s, want)
			wantErase(t, s, []plan.ID{cyd}, store.Erased{Events: want[cyd], Sessions: 1})
		})
	}
}

// TestJournalIsBounded lets nothing be loaded until Append has to fail.
func TestJournalIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	s.loader.end()
	s.journal.limit = 10_000
	appended := int64(0)
	var err error
	for ; err == nil; appended += 100 {
		if appended > 10_000 {
			t.Fatal("the journal has no bound")
		}
		err = s.Append(t.Context(), "app", testRecords(cyd, appended, appended+99))
	}
	appended -= 100
	if !strings.Contains(err.Error(), "the journal in "+s.dir) {
		t.Errorf("the error %q does not say what has grown, and where", err)
	}
	want := map[plan.ID]int64{ada: 2, bob: 2, cyd: appended}
	wantStored(t, s, want)
	if err := s.Append(t.Context(), "app", testRecords(cyd, appended, appended)); err != nil {
		t.Errorf("after a load: %v", err)
	}
	want[cyd]++
	wantStored(t, s, want)
}

// TestAppendHelps appends more than the loader, which is not there, can take.
func TestAppendHelps(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	s.loader.end()
	records := testRecords(cyd, 0, 99_999)
	for range maxWaiting/len(records) + 5 {
		if err := s.Append(t.Context(), "app", records); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.apps["app"].queue.rows(); n > maxWaiting+int64(len(records)) {
		t.Errorf("%d rows wait", n)
	}
	if n := len(s.journal.segments); n > 2 {
		t.Errorf("the journal has %d files", n)
	}
}
