package storetest

import (
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

func testSeenIntervals(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	add := func(who plan.ID, version string, seqs ...int64) {
		var records []store.Record
		for _, seq := range seqs {
			records = append(records, f.record(who, seq, "started", at(0, 0), "app_version="+version))
		}
		f.append(records...)
	}
	add(ada, "1.0.0", 0, 1, 2)
	f.wantSeen(at(9, 0), "ada 0-2") // numbers are seen whenever they came
	add(ada, "1.0.0", 7, 5)
	add(bob, "1.0.0", 3)
	f.wantSeen(at(9, 0), "ada 0-2", "ada 5-5", "ada 7-7", "bob 3-3")
	add(ada, "1.0.1", 6, 3) // an interval may go across sessions of a sender
	f.wantSeen(at(9, 0), "ada 0-3", "ada 5-7", "bob 3-3")
	add(ada, "1.0.0", 4, 1<<62)
	f.wantSeen(at(9, 0), "ada 0-7", "ada 4611686018427387904-4611686018427387904", "bob 3-3")

	// Repeats are the caller's to keep away. If one comes through, what is
	// seen must not claim a number that was never stored.
	add(cyd, "1.0.0", 0, 0, 2)
	f.wantSeen(at(9, 0), "ada 0-7", "ada 4611686018427387904-4611686018427387904", "bob 3-3", "cyd 0-0", "cyd 2-2")
	f.reopen()
	f.wantSeen(at(9, 0), "ada 0-7", "ada 4611686018427387904-4611686018427387904", "bob 3-3", "cyd 0-0", "cyd 2-2")
}

func testSeenForeign(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	foreign := func(who plan.ID, insert byte, when time.Time) {
		r := f.record(who, 0, "started", when, "")
		r.Insert = store.InsertID{Foreign: plan.ID{0x80, 15: insert}}
		r.Received = when.UnixMilli()
		f.append(r)
	}
	foreign(ada, 1, at(0, 0))
	foreign(ada, 2, at(1, 0))
	foreign(bob, 3, at(2, 0))
	f.append(f.record(bob, 0, "started", at(0, 0), ""))
	const (
		first  = "ada 80000000000000000000000000000001 1772323200000"
		second = "ada 80000000000000000000000000000002 1772409600000"
		third  = "bob 80000000000000000000000000000003 1772496000000"
	)
	f.wantSeen(time.Time{}, first, second, third, "bob 0-0")
	f.wantSeen(at(0, 0), first, second, third, "bob 0-0")
	f.wantSeen(at(0, 0).Add(1), second, third, "bob 0-0")
	f.wantSeen(at(2, 0), third, "bob 0-0")
	f.wantSeen(at(3, 0), "bob 0-0")
}

func testSeenStops(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	f.append(f.record(ada, 0, "started", at(0, 0), ""), f.record(bob, 0, "started", at(0, 0), ""))
	n := 0
	for _, err := range f.Seen(f.Context(), "models", time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		break
	}
	if n != 1 {
		t.Errorf("got %d, want 1", n)
	}
}

func testSenders(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	f.wantSenders()
	foreign := f.record(cyd, 0, "started", at(0, 0), "")
	foreign.Insert = store.InsertID{Foreign: plan.ID{0x80, 15: 1}}
	f.append(f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0"), f.record(ada, 1, "started", at(0, 0), "app_version=1.0.1"),
		f.record(bob, 0, "started", at(0, 0), ""), foreign)
	f.wantSenders(ada, bob, cyd)
	if _, err := f.Erase(f.Context(), "models", ids(bob)); err != nil {
		t.Fatal(err)
	}
	f.wantSenders(ada, cyd)
	f.reopen()
	f.wantSenders(ada, cyd)
	for _, err := range f.Senders(f.Context(), "nothing") {
		f.wantError("Senders", err, store.ErrUnknownApp)
	}
	for range f.Senders(f.Context(), "models") { // who has enough ends it
		break
	}
}
