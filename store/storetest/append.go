package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

func testAppendEveryKind(t *testing.T, open Open) {
	f := newFixture(t, open, kinds())
	const (
		small = "%[1]senum=SW %[1]sversion=0 %[1]ssystem=aix/ppc64 %[1]srandom=00000000000000000000000000000001 " +
			"%[1]sbytes=0 %[1]scount=0 %[1]sseconds=0 %[1]sms=0 %[1]sbucket=0-9 %[1]swhen=1262304000000 %[1]sflag=false "
		large = "%[1]senum=HW %[1]sversion=999999.999999.999999-alpha.999999 %[1]ssystem=windows/arm64 " +
			"%[1]srandom=ffffffff-ffff-ffff-ffff-ffffffffffff %[1]sbytes=9007199254740991 %[1]scount=9007199254740991 " +
			"%[1]sseconds=9007199254740991 %[1]sms=9007199254740991 %[1]sbucket=100+ %[1]swhen=4102444800000 %[1]sflag=true "
	)
	records := []store.Record{
		f.record(ada, 0, "nothing", at(0, 0), ""),
		f.record(ada, 1, "everything", at(0, 1), fmt.Sprintf(small, "s.")+fmt.Sprintf(small, "e.")),
		f.record(ada, 2, "everything", at(0, 2), fmt.Sprintf(large, "s.")+fmt.Sprintf(large, "e.")),
		f.record(ada, 3, "everything", at(0, 3), fmt.Sprintf(large, "s.")),
		f.record(ada, 4, "everything", at(0, 4), fmt.Sprintf(small, "e.")),
		f.record(bob, 1<<62, "nothing", at(0, 5), ""),
		f.record(bob, 0, "nothing", at(0, 6), ""),
		f.record(cyd, 0, "nothing", at(0, 7), ""),
	}
	records[5].Time = plan.MinTime
	records[6].Time, records[6].Received = plan.MaxTime, plan.MaxTime
	records[7].Insert = store.InsertID{Foreign: plan.ID{0xff, 15: 1}}
	records[7].Time, records[7].Received = records[6].Time, records[6].Received // after it only by its session

	// A space in a word, which the helper above cannot write.
	spaced := f.record(bob, 5, "everything", at(0, 5), "")
	spaced.Own[0] = plan.Value{Set: true, Int: 2}
	spaced.Hyphens = true // bob wrote the same id in another way
	records = append(records[:6:6], append([]store.Record{spaced}, records[6:]...)...)

	f.append(records[:4]...)
	f.append(records[4:]...)
	f.wantList(store.Listing{}, records...)
	f.reopen()
	f.wantList(store.Listing{}, records...)
}

func testAppendIsAllOrNothing(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	good := f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0")
	f.append(good)
	for name, spoil := range map[string]func(*store.Record){
		"no such event":      func(r *store.Record) { r.Event = 3 },
		"no event":           func(r *store.Record) { r.Event = -1 },
		"no sender":          func(r *store.Record) { r.ID = plan.ID{} },
		"a number below 0":   func(r *store.Record) { r.Insert.Seq = -1 },
		"too few values":     func(r *store.Record) { r.Own = r.Own[:1] },
		"too many values":    func(r *store.Record) { r.Session = append(r.Session, plan.Value{}) },
		"an unknown word":    func(r *store.Record) { r.Session[1] = plan.Value{Set: true, Int: 2} },
		"text for a version": func(r *store.Record) { r.Session[0] = plan.Value{Set: true, Text: "my laptop"} },
		"a size below 0":     func(r *store.Record) { r.Own[1] = plan.Value{Set: true, Int: -1} },
	} {
		bad := f.record(cyd, 1, "started", at(0, 2), "")
		spoil(&bad)
		err := f.Append(f.Context(), "models", []store.Record{
			f.record(ada, 1, "started", at(0, 1), "app_version=1.0.0"),
			f.record(bob, 0, "started", at(0, 1), "app_version=2.0.0"),
			bad,
		})
		if err == nil {
			t.Errorf("Append: %s: no error", name)
		}
	}
	f.wantList(store.Listing{}, good)
	f.wantSeen(time.Time{}, "ada 0-0")
	f.append() // nothing at all is fine
	f.append(f.record(ada, 1, "started", at(0, 1), "app_version=1.0.0"))
	f.wantSeen(time.Time{}, "ada 0-1")
}

func testAppendReusesSlices(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	records := []store.Record{f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0 mode=HW")}
	f.append(records...)
	records[0].Session[0].Text = "9.9.9"
	records[0].Session[1] = plan.Value{}
	f.wantList(store.Listing{}, f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0 mode=HW"))
}

// testAppendMany goes beyond the sizes at which databases change their ways.
func testAppendMany(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	const n = 12_345
	records := make([]store.Record, n)
	for i := range records {
		who := []plan.ID{ada, bob, cyd}[i%3]
		records[i] = f.record(who, int64(i/3), "run_model", at(0, 0).Add(time.Duration(i)*time.Second), "app_version=1.0.0 uptime=3")
		records[i].Received = at(1, 0).UnixMilli() // all in one batch
	}
	f.append(records...)
	f.wantList(store.Listing{}, records...)
	slices.Reverse(records)
	f.wantList(store.Listing{Newest: true}, records...)
	f.wantSeen(time.Time{}, "ada 0-4114", "bob 0-4114", "cyd 0-4114")
	if got, want := f.ask(store.Question{From: at(0, 0), To: at(1, 0), By: "app_version"}), "1.0.0 12345: 12345\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// testAppendIsSeenAtOnce asks in every way for what has just been appended: a
// store that moves records later must not let it show.
func testAppendIsSeenAtOnce(t *testing.T, open Open) {
	const rounds = 20
	for name, read := range map[string]func(f *fixture) int{
		"Ask": func(f *fixture) int {
			a, err := f.Ask(f.Context(), store.Question{App: "models", From: at(0, 0), To: at(99, 0)})
			if err != nil || len(a.Series) != 1 {
				f.Fatalf("Ask: %+v, %v", a, err)
			}
			return int(a.Series[0].Total)
		},
		"List": func(f *fixture) int { return len(f.list(store.Listing{})) },
		"List newest": func(f *fixture) int {
			if newest := f.list(store.Listing{Newest: true, Limit: 1}); len(newest) == 1 {
				return int(newest[0].Insert.Seq) + 1
			}
			return 0
		},
		"Seen": func(f *fixture) int {
			n := 0
			for x, err := range f.Seen(f.Context(), "models", time.Time{}) {
				if err != nil {
					f.Fatalf("Seen: %v", err)
				}
				n += int(x.Last - x.First + 1)
			}
			return n
		},
		"Erase": func(f *fixture) int {
			f.wantErase(ids(bob), store.Erased{Events: 1, Sessions: 1})
			return len(f.list(store.Listing{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, open, models("models"))
			for i := range rounds {
				f.append(f.record(ada, int64(i), "started", at(i, 0), "app_version=1.0."+strconv.Itoa(i)))
				if name == "Erase" {
					f.append(f.record(bob, int64(i), "started", at(i, 0), ""))
				}
				if n := read(f); n != i+1 {
					t.Fatalf("%d records are there after %d were appended", n, i+1)
				}
			}
		})
	}
}

// testAppendSmall appends many batches that nobody asks for, extends the plan
// behind them, and opens the place again.
func testAppendSmall(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	var want []store.Record
	add := func(n int, values string) {
		for range n {
			i := len(want)
			r := f.record([]plan.ID{ada, bob, cyd}[i%3], int64(i/3), "run_model", at(i, 0), "app_version=1.0."+strconv.Itoa(i%7)+values)
			f.append(r)
			want = append(want, r)
		}
	}
	add(30, " uptime=5")
	f.define(change(models("models"), func(p *plan.Plan) {
		p.Version = 2
		p.Fields = append(p.Fields, plan.Field{Name: "added", In: plan.EventProperties, Kind: plan.Count})
	}))
	wide := len(f.own)
	for i := range want { // "added" comes after "uptime" and before what is an event's own
		want[i].Own = slices.Insert(slices.Clone(want[i].Own), 1, plan.Value{})
		if len(want[i].Own) != wide {
			t.Fatalf("test: %d values, want %d", len(want[i].Own), wide)
		}
	}
	add(30, " added=7")
	f.reopen()
	f.wantList(store.Listing{}, want...)
	f.wantSeen(time.Time{}, "ada 0-19", "bob 0-19", "cyd 0-19")
	add(3, "")
	f.reopen()
	f.wantList(store.Listing{}, want...)
	f.wantSeen(time.Time{}, "ada 0-20", "bob 0-20", "cyd 0-20")
}

func testAppsAreApart(t *testing.T, open Open) {
	f := newFixture(t, open, models("one"))
	one := f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0")
	f.append(one)
	f.define(kinds())
	two := f.record(ada, 7, "nothing", at(0, 0), "")
	f.append(two)

	f.wantList(store.Listing{}, two)
	f.wantSeen(time.Time{}, "ada 7-7")
	f.wantList(store.Listing{App: "one"}, one)
	if got := f.ask(store.Question{App: "one", From: at(0, 0), To: at(1, 0), By: "event_type"}); got != "started 1: 1\n" {
		t.Errorf("got %q", got)
	}
	_, err := f.Ask(f.Context(), store.Question{App: "one", From: at(0, 0), To: at(1, 0), By: "s.enum"})
	f.wantError("Ask for the other's field", err, store.ErrQuestion)

	// An id that two apps know is erased in one of them only.
	if n, err := f.Erase(f.Context(), "one", ids(ada)); err != nil || !slices.Equal(n, []store.Erased{{Events: 1, Sessions: 1}}) {
		t.Errorf("Erase: %+v, %v", n, err)
	}
	f.wantList(store.Listing{App: "one"})
	f.wantList(store.Listing{}, two)
	f.reopen()
	f.wantList(store.Listing{App: "one"})
	f.wantList(store.Listing{}, two)
}
