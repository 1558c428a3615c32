package duckdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// compact rids s of what was erased, now.
func compact(t *testing.T, s *Store) error {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	return s.compact.compact(ctx, cancel)
}

func wantMark(t *testing.T, dir string, want bool) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, compactName)); (err == nil) != want {
		t.Errorf("the mark is there: %v, want %v", err == nil, want)
	}
}

// TestErasedBytes erases a sender whose rows hold ids of three kinds, and looks
// for them in every byte of every file after the store was closed. The same
// search finds those of a sender that was kept.
func TestErasedBytes(t *testing.T) {
	p, err := plan.Parse([]byte(`{"app":"app","version":1,"identity":"user_id",
		"fields":[{"name":"user_id","in":"top","kind":"random_id","session":true,"doc":"x"},
			{"name":"time","in":"top","kind":"timestamp","doc":"x"},
			{"name":"run","in":"user_properties","kind":"random_id","session":true,"doc":"x"},
			{"name":"step","in":"event_properties","kind":"random_id","doc":"x"}],
		"events":[{"name":"done","doc":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, loaded := range []bool{false, true} {
		dir := t.TempDir()
		s := open(t, dir)
		if err := s.Define(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		// What a sender's rows hold besides its id, from a number that makes it
		// the sender's own.
		other := func(who byte, what byte, n int) plan.ID {
			sum := sha256.Sum256([]byte{who, what, byte(n), byte(n >> 8)})
			return plan.ID(sum[:16])
		}
		const events = 3000
		fill := func(id plan.ID, who byte) {
			var records []store.Record
			for n := range events {
				records = append(records, store.Record{
					ID: id, Insert: store.InsertID{Foreign: other(who, 1, n)}, Time: windowTime, Received: windowTime + int64(n),
					Session: []plan.Value{{Set: true, ID: other(who, 2, 0)}}, Own: []plan.Value{{Set: true, ID: other(who, 3, n)}},
				})
			}
			if err := s.Append(t.Context(), "app", records); err != nil {
				t.Fatal(err)
			}
			if loaded {
				if err := s.loader.catchUp(t.Context(), s.apps["app"]); err != nil {
					t.Fatal(err)
				}
				s.checkpoint(t.Context(), 1)
			}
		}
		erased, kept := plan.ID{0x11, 0x22, 0x33, 0x5b, 8: 0x71, 9: 0xc4, 15: 7}, plan.ID{0x44, 0x55, 0x66, 0x5b, 8: 0x72, 9: 0xc4, 15: 7}
		fill(erased, 0x71)
		fill(kept, 0x72)
		fill(erased, 0x73)
		wantErase(t, s, []plan.ID{erased}, store.Erased{Events: 2 * events, Sessions: 2})
		if found := storetest.Traces(t, image(t, dir), erased); len(found) > 0 {
			t.Errorf("right after Erase the id is in %v", found)
		}
		wantMark(t, dir, true)
		shut(t, s)
		wantMark(t, dir, false)

		if found := storetest.Traces(t, dir, erased); len(found) > 0 {
			t.Errorf("the id of the erased sender is in %v", found)
		}
		if found := storetest.Traces(t, dir, kept); !slices.Equal(found, []string{idsName}) {
			t.Errorf("the id of the kept sender is in %v, want it in ids", found)
		}
		for _, n := range []int{0, 1, 17, events / 2, events - 1} {
			for what := byte(1); what <= 3; what++ {
				for _, who := range []byte{0x71, 0x73} {
					if found := storetest.Traces(t, dir, other(who, what, n)); len(found) > 0 {
						t.Errorf("id %d of event %d of the erased sender is in %v", what, n, found)
					}
				}
				if found := storetest.Traces(t, dir, other(0x72, what, n)); len(found) == 0 && what != 2 {
					t.Errorf("id %d of event %d of the kept sender is not found, so this looks in the wrong way", what, n)
				}
			}
		}
		n := 0
		s = open(t, dir)
		err := s.List(t.Context(), store.Listing{App: "app"}, func(r *store.Record) error {
			if r.ID != kept {
				t.Error("a record of another sender is listed")
			}
			n++
			return nil
		})
		if err != nil || n != events {
			t.Errorf("%d records are left, %v, want %d", n, err, events)
		}
		shut(t, s)
	}
}

const windowTime = 1_800_000_000_000

// TestCompactGoesOn: what a stop has left is ended by the next start on its own,
// while the store is at work.
func TestCompactGoesOn(t *testing.T) {
	dir := filled(t)
	if err := os.Mkdir(filepath.Join(dir, compactName), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{databaseName, walName} { // 4A
		write(t, filepath.Join(dir, compactName, name), []byte("half a copy"))
	}
	s := open(t, dir)
	s.compact.end()
	s.compact = newCompactor(s)
	s.compact.delay = time.Millisecond
	s.compact.start()
	want := map[plan.ID]int64{ada: 2, bob: 2}
	for seq := int64(2); s.compact.marked(); seq++ {
		if err := s.Append(t.Context(), "app", testRecords(ada, seq, seq)); err != nil {
			t.Fatal(err)
		}
		want[ada]++
		wantStored(t, s, want)
	}
	wantStored(t, s, want)
	shut(t, s)
	wantCounted(t, dir, want)
}

// TestCompactGivesWay: an erasure, a new plan and the end do not wait for a
// copy. What it would have done is done later.
func TestCompactGivesWay(t *testing.T) {
	grown := *testPlan
	grown.Version++
	grown.Fields = append(slices.Clone(testPlan.Fields), plan.Field{Name: "more", In: plan.EventProperties, Kind: plan.Count, Doc: "x"})
	for name, do := range map[string]func(s *Store) error{
		"erase":  func(s *Store) error { _, err := s.Erase(context.Background(), "app", []plan.ID{bob}); return err },
		"define": func(s *Store) error { return s.Define(context.Background(), &grown) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			s := open(t, dir)
			if err := s.compact.mark(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			var copies atomic.Int64
			at(s, stepCopied, func() error {
				if copies.Add(1) == 1 {
					go func() { done <- do(s) }()
					for asked(s.compact) == 0 { // it has asked the copy to give way
						time.Sleep(time.Millisecond)
					}
				}
				return nil
			})
			if err := compact(t, s); !errors.Is(err, context.Canceled) {
				t.Errorf("the copy ended with %v", err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			wantMark(t, dir, true)
			if err := compact(t, s); err != nil {
				t.Error(err)
			}
			wantMark(t, dir, false)
			want := map[plan.ID]int64{ada: 2}
			if name == "define" {
				want[bob] = 2
			}
			wantStored(t, s, want)
		})
	}
}

// TestCompactIsLetThrough: copies give way to one erasure after the other, each
// of which counts once, and then one does not. The end is not held up by that.
func TestCompactIsLetThrough(t *testing.T) {
	dir := filled(t)
	s := open(t, dir)
	if err := s.compact.mark(); err != nil {
		t.Fatal(err)
	}
	who := byte(0)
	done := make(chan error, 2)
	disturbed := func() error { // the erasure of a sender begins while the copy is under way
		before := asked(s.compact)
		who++
		id := plan.ID{who, 15: 9}
		go func() {
			_, err := s.Erase(context.Background(), "app", []plan.ID{id})
			done <- err
		}()
		for asked(s.compact) == before {
			time.Sleep(time.Millisecond)
		}
		return nil
	}
	at(s, stepCopied, disturbed)
	for n := range byte(compactGives + 1) {
		if err := s.Append(t.Context(), "app", testRecords(plan.ID{n + 1, 15: 9}, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range compactGives + 1 {
		err := compact(t, s)
		if last := n == compactGives; last && err != nil || !last && !errors.Is(err, context.Canceled) {
			t.Fatalf("copy %d ended with %v", n+1, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	wantStored(t, s, map[plan.ID]int64{ada: 2, bob: 2})

	// A copy that gives way to nothing else gives way to the end.
	s.compact.end()
	s.compact = newCompactor(s)
	s.compact.delay, s.compact.given = time.Millisecond, compactGives
	at(s, stepCopied, func() error {
		go func() { s.compact.end(); done <- nil }()
		for asked(s.compact) == 0 {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	if err := s.compact.mark(); err != nil {
		t.Fatal(err)
	}
	s.compact.start()
	<-done
	wantMark(t, dir, true)
	s.onStep.Store(nil)
	shut(t, s)
	wantMark(t, dir, false)
	wantCounted(t, dir, map[plan.ID]int64{ada: 2, bob: 2})
}

// asked returns how many keep copies out of c.
func asked(c *compactor) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}

// TestCompactBesideAppends: what comes while the database is copied is in the
// store as before, in the journal at first and then in the new file.
func TestCompactBesideAppends(t *testing.T) {
	dir := filled(t)
	s := open(t, dir)
	if _, err := s.Erase(t.Context(), "app", []plan.ID{bob}); err != nil {
		t.Fatal(err)
	}
	next := int64(0)
	at(s, stepCopied, func() error {
		for range 5 {
			if err := s.Append(t.Context(), "app", testRecords(cyd, next, next+999)); err != nil {
				t.Error(err)
			}
			next += 1000
		}
		return nil
	})
	want := map[plan.ID]int64{ada: 2}
	for range 3 {
		if err := s.compact.mark(); err != nil {
			t.Fatal(err)
		}
		if err := compact(t, s); err != nil {
			t.Fatal(err)
		}
		want[cyd] = next
		wantStored(t, open(t, image(t, dir)), want)
		wantStored(t, s, want)
	}
	shut(t, s)
	wantCounted(t, dir, want)
}

// TestCompactFails: without a place for the copy everything goes on, and the
// mark stays until there is one.
func TestCompactFails(t *testing.T) {
	dir := filled(t)
	s := open(t, dir)
	if _, err := s.Erase(t.Context(), "app", []plan.ID{bob}); err != nil {
		t.Fatal(err)
	}
	inTheWay := filepath.Join(dir, compactName, databaseName)
	if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	failed := false
	at(s, stepCopied, func() error { failed = true; return errStep })
	if err := compact(t, s); !errors.Is(err, errStep) || !failed {
		t.Errorf("got %v, want the error of the step", err)
	}
	want := map[plan.ID]int64{ada: 2}
	wantStored(t, s, want)
	wantMark(t, dir, true)
	s.onStep.Store(nil)
	if err := s.Append(t.Context(), "app", testRecords(cyd, 0, 9)); err != nil {
		t.Fatal(err)
	}
	want[cyd] = 10
	shut(t, s)
	wantMark(t, dir, false)
	wantCounted(t, dir, want)
}

// BenchmarkCompact writes two million rows anew.
//
//	go test ./store/duckdb -run '^$' -bench Compact -benchtime 3x
func BenchmarkCompact(b *testing.B) {
	const rows = 2_000_000
	s := open(b, b.TempDir())
	if err := s.Define(b.Context(), fleetPlan()); err != nil {
		b.Fatal(err)
	}
	f := newFleet(1000)
	records := make([]store.Record, 50_000)
	for n := 0; n < rows; n += len(records) {
		f.fill(records)
		if err := s.Append(b.Context(), "blindai", records); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.loader.catchUp(b.Context(), s.apps["blindai"]); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.compact.mark(); err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		if err := s.compact.compact(ctx, cancel); err != nil {
			b.Fatal(err)
		}
		cancel()
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
