package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A fixture is an open store with one app defined in it.
type fixture struct {
	*testing.T
	store.Store
	open         Open
	place        string
	plan         *plan.Plan
	session, own []plan.Field
}

// newFixture opens an empty store and defines p.
func newFixture(t *testing.T, open Open, p *plan.Plan) *fixture {
	t.Helper()
	f := &fixture{T: t, open: open, place: t.TempDir()}
	f.Store = open(t, f.place)
	t.Cleanup(func() {
		if err := f.Store.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	f.define(p)
	return f
}

// define defines p and uses it from now on.
func (f *fixture) define(p *plan.Plan) {
	f.Helper()
	if err := f.Define(f.Context(), p); err != nil {
		f.Fatalf("Define: %v", err)
	}
	f.use(p)
}

// use makes records for p from now on.
func (f *fixture) use(p *plan.Plan) {
	f.plan, f.session, f.own = p, p.SessionColumns(), p.EventColumns()
}

// reopen closes the store and opens its place again.
func (f *fixture) reopen() {
	f.Helper()
	if err := f.Store.Close(); err != nil {
		f.Fatalf("Close: %v", err)
	}
	f.Store = f.open(f.T, f.place)
}

// Three senders.
var (
	ada = sender("ada")
	bob = sender("bob")
	cyd = sender("cyd")
)

func sender(name string) plan.ID {
	sum := sha256.Sum256([]byte(name))
	return plan.ID(sum[:16])
}

// day0 is when the events of this suite begin.
var day0 = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// at is day0 and a day and an hour.
func at(day, hour int) time.Time { return day0.Add(time.Duration(day*24+hour) * time.Hour) }

// record makes a record out of values written as "name=value name=value", in
// the form that they have on the wire. It is received a second after it
// happened.
func (f *fixture) record(id plan.ID, seq int64, event string, when time.Time, values string) store.Record {
	f.Helper()
	r := store.Record{
		ID: id, Insert: store.InsertID{Own: true, Seq: seq},
		Event: f.plan.EventIndex(event), Time: when.UnixMilli(), Received: when.UnixMilli() + 1000,
	}
	given := map[string]string{}
	for pair := range strings.FieldsSeq(values) {
		name, value, _ := strings.Cut(pair, "=")
		given[name] = value
	}
	fill := func(fields []plan.Field) []plan.Value {
		vs := make([]plan.Value, len(fields))
		for i := range fields {
			text, ok := given[fields[i].Name]
			if !ok {
				continue
			}
			delete(given, fields[i].Name)
			if vs[i], ok = parse(&fields[i], text); !ok {
				f.Fatalf("test: %s is not a value of field %s", text, fields[i].Name)
			}
		}
		return vs
	}
	r.Session, r.Own = fill(f.session), fill(f.own)
	if len(given) > 0 || r.Event < 0 {
		f.Fatalf("test: the plan has no event %s or field of %v", event, given)
	}
	return r
}

func parse(field *plan.Field, text string) (plan.Value, bool) {
	switch {
	case field.Kind == plan.Flag:
		return field.FromBool(text == "true")
	case field.Kind.Number():
		return field.FromNumber([]byte(text))
	default:
		return field.FromString([]byte(text))
	}
}

// append appends records to the app of the fixture's plan.
func (f *fixture) append(records ...store.Record) {
	f.Helper()
	if err := f.Append(f.Context(), f.plan.App, records); err != nil {
		f.Fatalf("Append: %v", err)
	}
}

// list returns what l lists. l.App may be left out.
func (f *fixture) list(l store.Listing) []store.Record {
	f.Helper()
	if l.App == "" {
		l.App = f.plan.App
	}
	records, err := list(f.Context(), f.Store, l)
	if err != nil {
		f.Fatalf("List: %v", err)
	}
	return records
}

func list(ctx context.Context, s store.Store, l store.Listing) ([]store.Record, error) {
	var records []store.Record
	err := s.List(ctx, l, func(r *store.Record) error {
		c := *r
		c.Session = append([]plan.Value{}, r.Session...)
		c.Own = append([]plan.Value{}, r.Own...)
		records = append(records, c)
		return nil
	})
	return records, err
}

// wantList checks that l lists want, in that order.
func (f *fixture) wantList(l store.Listing, want ...store.Record) {
	f.Helper()
	got := f.list(l)
	if len(got) != len(want) {
		f.Errorf("%d records are listed, want %d", len(got), len(want))
		return
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			f.Errorf("record %d:\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

// ask returns the answer to q as one line a series: "label total: values".
func (f *fixture) ask(q store.Question) string {
	f.Helper()
	if q.App == "" {
		q.App = f.plan.App
	}
	a, err := f.Ask(f.Context(), q)
	if err != nil {
		f.Fatalf("Ask: %v", err)
	}
	var b strings.Builder
	for _, s := range a.Series {
		if len(s.Values) != len(a.Starts) {
			f.Errorf("a series has %d values for %d steps", len(s.Values), len(a.Starts))
		}
		fmt.Fprintf(&b, "%s %d: %s\n", s.Label, s.Total, strings.Trim(fmt.Sprint(s.Values), "[]"))
	}
	return b.String()
}

// seen returns what is seen, as lines "sender first-last" and "sender foreign",
// in no particular order.
func (f *fixture) seen(since time.Time) map[string]bool {
	f.Helper()
	names := map[plan.ID]string{ada: "ada", bob: "bob", cyd: "cyd"}
	lines := map[string]bool{}
	for x, err := range f.Seen(f.Context(), f.plan.App, since) {
		if err != nil {
			f.Fatalf("Seen: %v", err)
		}
		line := fmt.Sprintf("%s %d-%d", names[x.ID], x.First, x.Last)
		if x.Foreign != (plan.ID{}) {
			line = fmt.Sprintf("%s %s %d", names[x.ID], x.Foreign, x.Received)
		}
		if lines[line] {
			f.Errorf("%s is yielded twice", line)
		}
		lines[line] = true
	}
	return lines
}

// wantSeen checks that exactly the lines want are seen.
func (f *fixture) wantSeen(since time.Time, want ...string) {
	f.Helper()
	set := map[string]bool{}
	for _, line := range want {
		set[line] = true
	}
	if got := f.seen(since); !reflect.DeepEqual(got, set) {
		f.Errorf("seen:\n got %v\nwant %v", got, set)
	}
}

// ids is a short way to write senders.
func ids(of ...plan.ID) []plan.ID { return of }

// wantErase erases senders and checks what was removed of each.
func (f *fixture) wantErase(ids []plan.ID, want ...store.Erased) {
	f.Helper()
	if got, err := f.Erase(f.Context(), f.plan.App, ids); err != nil || !slices.Equal(got, want) {
		f.Errorf("Erase: got %+v, %v, want %+v", got, err, want)
	}
}

// wantHeld checks whether anything of a sender may be stored.
func (f *fixture) wantHeld(id plan.ID, want bool) {
	f.Helper()
	if got, err := f.Holds(f.Context(), f.plan.App, id); err != nil || got != want {
		f.Errorf("Holds: got %v, %v, want %v", got, err, want)
	}
}

// wantSenders checks whose events are stored.
func (f *fixture) wantSenders(want ...plan.ID) {
	f.Helper()
	var got []plan.ID
	for id, err := range f.Senders(f.Context(), f.plan.App) {
		if err != nil {
			f.Fatalf("Senders: %v", err)
		}
		got = append(got, id)
	}
	order := func(a, b plan.ID) int { return bytes.Compare(a[:], b[:]) }
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if !slices.Equal(got, want) {
		f.Errorf("senders:\n got %v\nwant %v", got, want)
	}
}

// wantError checks that err is want.
func (f *fixture) wantError(act string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s: got error %v, want %v", act, err, want)
	}
}
