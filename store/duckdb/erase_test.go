package duckdb

import (
	"errors"
	"slices"
	"testing"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestEraseLeavesNoTrace searches the bytes of all files. That the search finds
// anything is shown by a sender that stays.
func TestEraseLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	want := func(when string, id plan.ID, files ...string) {
		t.Helper()
		if got := storetest.Traces(t, dir, id); !slices.Equal(got, files) {
			t.Errorf("%s: found in %v, want %v", when, got, files)
		}
	}
	want("before", ada, idsName)
	want("before", bob, idsName)
	if _, err := s.Erase(t.Context(), "app", bob); err != nil {
		t.Fatal(err)
	}
	want("after", ada, idsName)
	want("after", bob)
	shut(t, s)
	want("closed", ada, idsName)
	want("closed", bob)
	shut(t, open(t, dir))
	want("opened again", ada, idsName)
	want("opened again", bob)
}

// errStep is what a step fails with.
var errStep = errors.New("the step failed")

// failAt makes one step of s fail once.
func failAt(s *Store, step string) {
	at(s, step, func() error {
		s.onStep.Store(nil)
		return errStep
	})
}

// at calls fn in one step of s. From then on s does nothing on its own.
func at(s *Store, step string, fn func() error) {
	s.loader.end()
	hook := func(name string) error {
		if name != step {
			return nil
		}
		return fn()
	}
	s.onStep.Store(&hook)
}

// TestEraseFails lets each step of an erasure fail, and checks that the next
// write ends it, whichever that is.
func TestEraseFails(t *testing.T) {
	for _, step := range []string{stepIDsWritten, stepIDsRenamed, stepIDsReplaced, stepRowsDeleted} {
		for _, next := range []string{"erase", "append", "define", "open"} {
			t.Run(step+", then "+next, func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir)
				fill(t, s)
				failAt(s, step)
				if n, err := s.Erase(t.Context(), "app", bob); !errors.Is(err, errStep) || n != (store.Erased{}) {
					t.Errorf("got %+v, %v, want the error of the step", n, err)
				}
				err := s.List(t.Context(), store.Listing{App: "app"}, func(r *store.Record) error {
					if r.ID == bob {
						t.Error("a record is listed whose erasure has begun")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}

				want := map[plan.ID]int64{ada: 2}
				switch next {
				case "erase":
					if n, err := s.Erase(t.Context(), "app", bob); err != nil || n != (store.Erased{Events: 2, Sessions: 1}) {
						t.Errorf("Erase: %+v, %v", n, err)
					}
				case "append": // the same sender, anew
					if err := s.Append(t.Context(), "app", testRecords(bob, 5, 5)); err != nil {
						t.Errorf("Append: %v", err)
					}
					want[bob] = 1
				case "define":
					if err := s.Define(t.Context(), testPlan); err != nil {
						t.Errorf("Define: %v", err)
					}
				case "open":
					shut(t, s)
					s = open(t, dir)
					if step == stepIDsWritten { // nothing had happened on disk
						want[bob] = 2
					}
				}
				wantStored(t, s, want)
				wantIDs(t, dir, want)

				// Whoever asks again is told what was erased, once.
				for _, erased := range map[string][]store.Erased{
					"erase":  {{}},
					"append": {{Events: 1, Sessions: 1}, {}},
					"define": {{Events: 2, Sessions: 1}, {}},
				}[next] {
					if n, err := s.Erase(t.Context(), "app", bob); err != nil || n != erased {
						t.Errorf("asked again: %+v, %v, want %+v", n, err, erased)
					}
				}
			})
		}
	}
}
