package duckdb

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestEraseLeavesNoTrace searches the bytes of all files. That the search finds
// anything is shown by senders that stay.
func TestEraseLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fillFour(t, s)
	want := func(when string, files []string, ids ...plan.ID) {
		t.Helper()
		for _, id := range ids {
			if got := storetest.Traces(t, dir, id); !slices.Equal(got, files) {
				t.Errorf("%s: found in %v, want %v", when, got, files)
			}
		}
	}
	here := []string{idsName}
	want("before", here, ada, bob, cyd, dee)
	wantErase(t, s, []plan.ID{bob, dee}, ofBob, ofDee)
	want("after", here, ada, cyd)
	want("after", nil, bob, dee)
	if a := s.apps["app"]; len(a.numbers) != 2 || len(a.ids) != 2 || len(a.sessions) != 2 || len(a.untold) != 0 {
		t.Errorf("memory holds %d ids, %d numbers, %d sessions and %d counts, want two, two, two and none", len(a.numbers), len(a.ids), len(a.sessions), len(a.untold))
	}
	shut(t, s)
	want("closed", here, ada, cyd)
	want("closed", nil, bob, dee)
	shut(t, open(t, dir))
	want("opened again", here, ada, cyd)
	want("opened again", nil, bob, dee)
}

// errStep is what a step fails with.
var errStep = errors.New("the step failed")

// failAt makes one step of s fail once.
func failAt(s *Store, step string) { failAfter(s, 0, step) }

// failAfter makes one step of s fail once, after it went well some times.
func failAfter(s *Store, times int, step string) {
	at(s, step, func() error {
		if times--; times >= 0 {
			return nil
		}
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

// What fillFour stores of each sender.
var (
	ofBob = store.Erased{Events: 2, Sessions: 1}
	ofCyd = store.Erased{Events: 3, Sessions: 1}
	ofDee = store.Erased{Events: 5, Sessions: 2}
)

// fillFour stores what fill does, three records of cyd, and five of dee in two
// sessions.
func fillFour(t *testing.T, s *Store) {
	t.Helper()
	fill(t, s)
	records := slices.Concat(testRecords(cyd, 0, 2), testRecords(dee, 0, 4))
	records[len(records)-1].Session = []plan.Value{{Set: true, Text: "1.0.1"}}
	if err := s.Append(t.Context(), "app", records); err != nil {
		t.Fatal(err)
	}
}

// wantEraseFails erases senders and checks that a step fails.
func wantEraseFails(t *testing.T, s *Store, ids ...plan.ID) {
	t.Helper()
	if n, err := s.Erase(t.Context(), "app", ids); !errors.Is(err, errStep) || n != nil {
		t.Errorf("Erase: got %+v, %v, want the error of the step", n, err)
	}
}

// eraseSteps are the steps of an erasure.
var eraseSteps = []string{stepIDsWritten, stepIDsRenamed, stepIDsReplaced, stepRowsDeleted, stepCommitted}

// TestEraseFails lets each step of an erasure of bob and dee fail, and checks
// that the next write ends it, whichever that is.
func TestEraseFails(t *testing.T) {
	type ids = []plan.ID
	four := map[plan.ID]int64{ada: 2, bob: 2, cyd: 3, dee: 5}
	for _, step := range eraseSteps {
		for _, test := range []struct {
			next string
			do   func(t *testing.T, s *Store)
			want map[plan.ID]int64
		}{
			{"the same", func(t *testing.T, s *Store) {
				wantErase(t, s, ids{bob, dee}, ofBob, ofDee)
			}, map[plan.ID]int64{ada: 2, cyd: 3}},
			{"another order", func(t *testing.T, s *Store) {
				wantErase(t, s, ids{dee, dee, bob}, ofDee, store.Erased{}, ofBob)
			}, map[plan.ID]int64{ada: 2, cyd: 3}},
			{"one of them", func(t *testing.T, s *Store) {
				wantErase(t, s, ids{dee}, ofDee)
			}, map[plan.ID]int64{ada: 2, cyd: 3}},
			{"one of them and another", func(t *testing.T, s *Store) {
				wantErase(t, s, ids{cyd, bob}, ofCyd, ofBob)
			}, map[plan.ID]int64{ada: 2}},
			{"another", func(t *testing.T, s *Store) {
				wantErase(t, s, ids{cyd}, ofCyd)
			}, map[plan.ID]int64{ada: 2}},
			{"append", func(t *testing.T, s *Store) { // one of them, anew
				if err := s.Append(t.Context(), "app", testRecords(bob, 5, 5)); err != nil {
					t.Errorf("Append: %v", err)
				}
			}, map[plan.ID]int64{ada: 2, bob: 1, cyd: 3}},
			{"define", func(t *testing.T, s *Store) {
				if err := s.Define(t.Context(), testPlan); err != nil {
					t.Errorf("Define: %v", err)
				}
			}, map[plan.ID]int64{ada: 2, cyd: 3}},
			{"open", nil, map[plan.ID]int64{ada: 2, cyd: 3}},
		} {
			t.Run(step+", then "+test.next, func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir)
				fillFour(t, s)
				failAt(s, step)
				wantEraseFails(t, s, bob, dee)
				err := s.List(t.Context(), store.Listing{App: "app"}, func(r *store.Record) error {
					if r.ID == bob || r.ID == dee {
						t.Error("a record is listed whose erasure has begun")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}

				if test.do != nil {
					test.do(t, s)
				} else {
					shut(t, s)
					s = open(t, dir)
					if step == stepIDsWritten { // nothing had happened on disk
						test.want = four
					}
				}
				wantStored(t, s, test.want)
				wantIDs(t, dir, test.want)

				// Whoever asks again is told what was erased, once.
				told := map[string]map[plan.ID]store.Erased{
					"one of them":             {bob: ofBob},
					"one of them and another": {dee: ofDee},
					"another":                 {bob: ofBob, dee: ofDee},
					"append":                  {bob: {Events: 1, Sessions: 1}, dee: ofDee},
					"define":                  {bob: ofBob, dee: ofDee},
				}[test.next]
				if test.next == "open" && step == stepIDsWritten {
					told = map[plan.ID]store.Erased{bob: ofBob, dee: ofDee}
				}
				wantErase(t, s, ids{dee, bob}, told[dee], told[bob])
				wantErase(t, s, ids{dee, bob}, store.Erased{}, store.Erased{})
			})
		}
	}
}

// TestEraseFailsAgain lets two erasures fail, the second of which is for one
// sender of the first and a new one: while it ends the first, or in its own step.
// Each sender is told of once, in whatever company it comes.
func TestEraseFailsAgain(t *testing.T) {
	type ids = []plan.ID
	for _, step := range eraseSteps {
		for _, begun := range []bool{false, true} {
			times := 0 // that the step goes well before the second erasure fails
			switch {
			case step == stepIDsReplaced && !begun:
				continue // ids are replaced already
			case step != stepIDsReplaced && begun:
				times = 1
			}
			t.Run(fmt.Sprintf("%s, the second begun: %v", step, begun), func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir)
				fillFour(t, s)
				failAt(s, step)
				wantEraseFails(t, s, bob, dee)
				failAfter(s, times, step)
				wantEraseFails(t, s, cyd, bob)
				if err := s.Append(t.Context(), "app", testRecords(ada, 2, 2)); err != nil {
					t.Error(err)
				}
				want := map[plan.ID]int64{ada: 3}
				if !begun {
					want[cyd] = 3
				}
				wantStored(t, s, want)
				wantErase(t, s, ids{cyd}, ofCyd)
				wantStored(t, s, map[plan.ID]int64{ada: 3})
				wantIDs(t, dir, map[plan.ID]int64{ada: 3})
				wantErase(t, s, ids{ada, dee, bob}, store.Erased{Events: 3, Sessions: 1}, ofDee, ofBob)
				wantErase(t, s, ids{ada, bob, cyd, dee}, make([]store.Erased, 4)...)
				wantIDs(t, dir, nil)
			})
		}
	}
}
