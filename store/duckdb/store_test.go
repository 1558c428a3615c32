package duckdb

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// childMode names the variable that makes the test binary play another process:
// one of children, in the folder that is its argument.
const childMode = "DUCKDB_TEST_CHILD"

var children = map[string]func(dir string) error{
	"open": func(dir string) error {
		s, err := Open(context.Background(), dir)
		if err != nil {
			return err
		}
		return s.Close()
	},
	"crash": crash,
	"work":  work,
	"full":  full,
}

func TestMain(m *testing.M) {
	child := children[os.Getenv(childMode)]
	if child == nil {
		os.Exit(m.Run())
	}
	err := child(os.Args[1])
	switch {
	case err == nil:
		os.Exit(0)
	case errors.Is(err, store.ErrInUse):
		os.Exit(exitInUse)
	default:
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(exitError)
	}
}

const (
	exitError = 10
	exitInUse = 11
)

// startChild runs the test binary as another process to its end, and returns
// what it wrote and how it ended.
func startChild(t *testing.T, mode, dir string, env ...string) (string, *os.ProcessState) {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), append(env, childMode+"="+mode)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, place string) store.Store { return open(t, place) })
}

// open opens dir and closes it when the test ends, if nobody did before.
func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// shut closes s.
func shut(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// testPlan is small: these tests are about files.
var testPlan = &plan.Plan{
	App: "app", Version: 1, Identity: "user_id",
	Fields: []plan.Field{
		{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true},
		{Name: "app_version", In: plan.Top, Kind: plan.Version, Session: true},
		{Name: "time", In: plan.Top, Kind: plan.Timestamp},
	},
	Events: []plan.Event{{Name: "started"}},
}

// Four senders, told apart by every byte.
var ada, bob, cyd, dee = testID(0x11), testID(0x55), testID(0x99), testID(0xdd)

func testID(first byte) (id plan.ID) {
	for i := range id {
		id[i] = first + byte(i*7)
	}
	return id
}

func testRecord(id plan.ID, seq int64) store.Record {
	return store.Record{
		ID: id, Insert: store.InsertID{Own: true, Seq: seq}, Time: plan.MinTime + seq, Received: plan.MinTime + seq,
		Session: []plan.Value{{Set: true, Text: "1.0.0"}}, Own: []plan.Value{},
	}
}

func testRecords(id plan.ID, from, to int64) (records []store.Record) {
	for seq := from; seq <= to; seq++ {
		records = append(records, testRecord(id, seq))
	}
	return records
}

// fill defines testPlan and stores two records of ada and two of bob.
func fill(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Define(context.Background(), testPlan); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(context.Background(), "app", append(testRecords(ada, 0, 1), testRecords(bob, 0, 1)...)); err != nil {
		t.Fatal(err)
	}
}

// filled returns a folder that fill has filled, and that was closed.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	shut(t, s)
	return dir
}

// wantErase erases senders and checks what was removed of each.
func wantErase(t *testing.T, s *Store, ids []plan.ID, want ...store.Erased) {
	t.Helper()
	if got, err := s.Erase(t.Context(), "app", ids); err != nil || !slices.Equal(got, want) {
		t.Errorf("Erase: got %+v, %v, want %+v", got, err, want)
	}
}

// wantStored checks how many records of each sender are stored, by what is
// listed, by what is seen, and by the answer to a question.
func wantStored(t *testing.T, s *Store, want map[plan.ID]int64) {
	t.Helper()
	listed, seen, all := map[plan.ID]int64{}, map[plan.ID]int64{}, int64(0)
	err := s.List(context.Background(), store.Listing{App: "app"}, func(r *store.Record) error {
		listed[r.ID]++
		return nil
	})
	if err != nil || !reflect.DeepEqual(listed, want) {
		t.Errorf("listed: got %v, %v, want %v", listed, err, want)
	}
	for x, err := range s.Seen(context.Background(), "app", time.Time{}) {
		if err != nil {
			t.Error(err)
		}
		seen[x.ID] += x.Last - x.First + 1
	}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("seen: got %v, want %v", seen, want)
	}
	for _, n := range want {
		all += n
	}
	a, err := s.Ask(context.Background(), store.Question{App: "app", From: time.UnixMilli(plan.MinTime), To: time.UnixMilli(plan.MaxTime)})
	if err != nil || (len(a.Series) == 0) != (all == 0) || all > 0 && a.Series[0].Total != all {
		t.Errorf("asked: got %+v, %v, want %d", a, err, all)
	}
}
