package storetest

import (
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
)

func testErase(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	a := f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0")
	b := f.record(bob, 0, "started", at(0, 1), "app_version=1.0.0")
	c := f.record(cyd, 0, "started", at(0, 2), "app_version=2.0.0")
	b2 := f.record(bob, 1, "run_model", at(0, 3), "app_version=1.0.1")
	f.append(a, b, c, b2)

	erase := func(want store.Erased) {
		t.Helper()
		if n, err := f.Erase(f.Context(), "models", bob); err != nil || n != want {
			t.Errorf("Erase: got %+v, %v, want %+v", n, err, want)
		}
	}
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
	erase(store.Erased{Events: 2, Sessions: 2})
	check()
	erase(store.Erased{}) // again
	f.reopen()
	check()
	erase(store.Erased{})
}

func testEraseAndReturn(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	f.append(f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0"), f.record(bob, 0, "started", at(0, 1), "app_version=1.0.0"))
	if _, err := f.Erase(f.Context(), "models", bob); err != nil {
		t.Fatal(err)
	}
	// Whether an erased sender may come back is for the caller to say. To the
	// store it is a new one.
	f.append(f.record(bob, 5, "started", at(1, 0), "app_version=1.0.0"))
	f.wantSeen(time.Time{}, "ada 0-0", "bob 5-5")
	f.wantList(store.Listing{ID: bob}, f.record(bob, 5, "started", at(1, 0), "app_version=1.0.0"))
	f.reopen()
	f.wantSeen(time.Time{}, "ada 0-0", "bob 5-5")
	if n, err := f.Erase(f.Context(), "models", bob); err != nil || n != (store.Erased{Events: 1, Sessions: 1}) {
		t.Errorf("Erase: got %+v, %v", n, err)
	}
}

// testEraseAtOnce erases what has just been appended and was asked for by nobody.
func testEraseAtOnce(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	a := f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0")
	f.append(a, f.record(bob, 0, "started", at(0, 1), "app_version=1.0.0"))
	f.append(f.record(bob, 1, "started", at(0, 2), "app_version=1.0.1"))
	if n, err := f.Erase(f.Context(), "models", bob); err != nil || n != (store.Erased{Events: 2, Sessions: 2}) {
		t.Errorf("Erase: got %+v, %v", n, err)
	}
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
	if n, err := f.Erase(f.Context(), "models", ada); err != nil || n != (store.Erased{Events: 2, Sessions: 1}) {
		t.Errorf("Erase: got %+v, %v; the session should have been recognised", n, err)
	}
}
