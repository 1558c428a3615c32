package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
)

func testList(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	// By the time received, then by the event time.
	c := f.record(cyd, 0, "started", at(0, 9), "app_version=3.0.0")
	a := f.record(ada, 0, "started", at(0, 2), "app_version=1.0.0")
	b := f.record(bob, 0, "started", at(0, 1), "app_version=2.0.0")
	d := f.record(ada, 1, "started", at(0, 5), "app_version=1.0.0")
	a.Received, b.Received, c.Received, d.Received = 2000, 2000, 1000, 3000
	f.append(d, a)
	f.append(b, c)

	ms := time.UnixMilli
	for _, test := range []struct {
		name string
		l    store.Listing
		want []store.Record
	}{
		{"all", store.Listing{}, []store.Record{c, b, a, d}},
		{"newest first", store.Listing{Newest: true}, []store.Record{d, a, b, c}},
		{"from is included", store.Listing{From: ms(2000)}, []store.Record{b, a, d}},
		{"to is not", store.Listing{To: ms(2000)}, []store.Record{c}},
		{"both", store.Listing{From: ms(1000), To: ms(3000)}, []store.Record{c, b, a}},
		{"parts of a millisecond", store.Listing{From: ms(1000).Add(1), To: ms(2000).Add(1)}, []store.Record{b, a}},
		{"an empty range", store.Listing{From: ms(2000), To: ms(2000)}, nil},
		{"a range turned round", store.Listing{From: ms(3000), To: ms(1000)}, nil},
		{"limit", store.Listing{Limit: 2}, []store.Record{c, b}},
		{"limit of the newest", store.Listing{Limit: 1, Newest: true}, []store.Record{d}},
		{"limit larger than all", store.Listing{Limit: 100}, []store.Record{c, b, a, d}},
		{"one sender", store.Listing{ID: ada}, []store.Record{a, d}},
		{"one sender, newest", store.Listing{ID: ada, Newest: true, Limit: 1}, []store.Record{d}},
		{"one sender, range", store.Listing{ID: ada, To: ms(3000)}, []store.Record{a}},
		{"an unknown sender", store.Listing{ID: sender("nobody")}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := *f
			g.T = t
			g.wantList(test.l, test.want...)
		})
	}
}

func testListStops(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	for i := range 10 {
		f.append(f.record(ada, int64(i), "started", at(0, i), ""))
	}
	stop := errors.New("stop")
	n := 0
	err := f.List(f.Context(), store.Listing{App: "models"}, func(*store.Record) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	})
	if err != stop || n != 3 {
		t.Errorf("got error %v after %d records, want the error of yield, as it is, after 3", err, n)
	}

	// What yield is given may be read by another question meanwhile.
	var hours []int
	err = f.List(f.Context(), store.Listing{App: "models", Newest: true}, func(r *store.Record) error {
		hours = append(hours, time.UnixMilli(r.Time).UTC().Hour())
		if got := f.ask(store.Question{From: at(0, 0), To: at(1, 0)}); got != " 10: 10\n" {
			t.Errorf("got %q", got)
		}
		return nil
	})
	if want := []int{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}; err != nil || !slices.Equal(hours, want) {
		t.Errorf("got %v, %v, want %v", hours, err, want)
	}
}
