package storetest

import (
	"strconv"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

func testErase(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	a := f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0")
	b := f.record(bob, 0, "started", at(0, 1), "app_version=1.0.0")
	c := f.record(cyd, 0, "started", at(0, 2), "app_version=2.0.0")
	b2 := f.record(bob, 1, "run_model", at(0, 3), "app_version=1.0.1")
	f.append(a, b, c, b2)

	check := func() {
		t.Helper()
		f.wantList(store.Listing{}, a, c)
		f.wantList(store.Listing{ID: bob})
		f.wantSeen(time.Time{}, "ada 0-0", "cyd 0-0")
		for by, want := range map[string]string{
			"":            " 2: 2\n",
			"app_version": "1.0.0 1: 1\n2.0.0 1: 1\n",
			"event_type":  "started 2: 2\n",
		} {
			for _, m := range []store.Measure{store.Events, store.Uniques} {
				if got := f.ask(store.Question{From: at(0, 0), To: at(1, 0), Measure: m, By: by}); got != want {
					t.Errorf("by %q: got %q, want %q", by, got, want)
				}
			}
		}
	}
	f.wantErase(ids(bob), store.Erased{Events: 2, Sessions: 2})
	check()
	f.wantErase(ids(bob), store.Erased{}) // again
	f.reopen()
	check()
	f.wantErase(ids(bob), store.Erased{})
}

// testEraseMany erases several at once, some of them strange and some given twice.
func testEraseMany(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	a := f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0")
	f.append(a, f.record(bob, 0, "started", at(0, 1), "app_version=1.0.0"), f.record(cyd, 0, "started", at(0, 2), "app_version=1.0.0"),
		f.record(bob, 1, "run_model", at(0, 3), "app_version=1.0.1"), f.record(cyd, 1, "run_model", at(0, 4), "app_version=1.0.0"),
		f.record(cyd, 2, "run_model", at(0, 5), "app_version=1.0.0"))
	nobody := sender("nobody")
	f.wantErase(nil)
	f.wantErase(ids(nobody, nobody), store.Erased{}, store.Erased{})
	f.wantErase(ids(cyd, nobody, bob, cyd), store.Erased{Events: 3, Sessions: 1}, store.Erased{}, store.Erased{Events: 2, Sessions: 2}, store.Erased{})
	for range 2 {
		f.wantList(store.Listing{}, a)
		f.wantSeen(time.Time{}, "ada 0-0")
		f.wantSenders(ada)
		f.wantErase(ids(bob, cyd), store.Erased{}, store.Erased{})
		f.reopen()
	}

	// Very many, of whom some hold much. One is left.
	var records []store.Record
	var all []plan.ID
	var want []store.Erased
	for i := range 10_000 {
		id := sender(strconv.Itoa(i))
		n := 1 + i%3 + i%1000/999*500
		for j := range n {
			records = append(records, f.record(id, int64(j), "started", at(0, 0), ""))
		}
		all, want = append(all, id), append(want, store.Erased{Events: int64(n), Sessions: 1})
	}
	f.append(records...)
	f.wantErase(all[1:], want[1:]...)
	f.wantSenders(ada, all[0])
	f.reopen()
	f.wantList(store.Listing{}, a, records[0])
}

func testHolds(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	f.wantHeld(ada, false)
	f.append(f.record(ada, 0, "started", at(0, 0), ""), f.record(bob, 0, "started", at(0, 0), ""))
	f.wantHeld(ada, true)
	f.wantErase(ids(bob), store.Erased{Events: 1, Sessions: 1})
	f.wantHeld(bob, false)
	f.define(kinds()) // another app
	f.wantHeld(ada, false)
	f.use(models("models"))
	f.reopen()
	f.wantHeld(ada, true)
	f.wantHeld(bob, false)
	f.append(f.record(bob, 1, "started", at(0, 1), ""))
	f.wantHeld(bob, true)
}

func testEraseAndReturn(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	f.append(f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0"), f.record(bob, 0, "started", at(0, 1), "app_version=1.0.0"))
	f.wantErase(ids(bob), store.Erased{Events: 1, Sessions: 1})
	// Whether an erased sender may come back is for the caller to say. To the
	// store it is a new one.
	f.append(f.record(bob, 5, "started", at(1, 0), "app_version=1.0.0"))
	f.wantSeen(time.Time{}, "ada 0-0", "bob 5-5")
	f.wantList(store.Listing{ID: bob}, f.record(bob, 5, "started", at(1, 0), "app_version=1.0.0"))
	f.reopen()
	f.wantSeen(time.Time{}, "ada 0-0", "bob 5-5")
	f.wantErase(ids(bob), store.Erased{Events: 1, Sessions: 1})
}

// testEraseAtOnce erases what has just been appended and was asked for by nobody.
func testEraseAtOnce(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	a := f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0")
	f.append(a, f.record(bob, 0, "started", at(0, 1), "app_version=1.0.0"))
	f.append(f.record(bob, 1, "started", at(0, 2), "app_version=1.0.1"))
	f.wantErase(ids(bob), store.Erased{Events: 2, Sessions: 2})
	b := f.record(ada, 1, "started", at(0, 3), "app_version=1.0.0")
	f.append(b)
	f.reopen()
	f.wantList(store.Listing{}, a, b)
	f.wantSeen(time.Time{}, "ada 0-1")
}

func testReopen(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	a := f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0")
	f.append(a)
	f.reopen()
	// What is stored can be read before Define: a collector exports the events
	// of an app whose plan is not loaded any more.
	f.wantList(store.Listing{}, a)
	b := f.record(ada, 1, "started", at(0, 1), "app_version=1.0.0")
	f.append(b)
	f.reopen()
	f.wantList(store.Listing{}, a, b)
	f.wantErase(ids(ada), store.Erased{Events: 2, Sessions: 1}) // the session was recognised
}
