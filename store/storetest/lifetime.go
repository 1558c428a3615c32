package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// testReadWhileWriting reads all the time while one writer appends, extends the
// plan and erases. A reader sees whole batches only.
func testReadWhileWriting(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	const batches, size = 30, 20
	done := make(chan struct{})
	var readers sync.WaitGroup
	read := func(what string, fn func() (n int64, err error)) {
		readers.Go(func() {
			for {
				n, err := fn()
				if err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
				if n%size != 0 {
					t.Errorf("%s: saw %d records, not whole batches", what, n)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	ctx := t.Context()
	for _, by := range []string{"", "app_version"} {
		read("Ask", func() (n int64, err error) {
			a, err := f.Ask(ctx, store.Question{App: "models", From: at(0, 0), To: at(9, 0), By: by})
			if err != nil {
				return 0, err
			}
			for _, s := range a.Series {
				n += s.Total
			}
			return n, nil
		})
	}
	read("List", func() (int64, error) {
		n := int64(0)
		err := f.List(ctx, store.Listing{App: "models", ID: ada}, func(*store.Record) error { n++; return nil })
		return n, err
	})
	read("Seen", func() (n int64, err error) {
		for x, e := range f.Seen(ctx, "models", time.Time{}) {
			if e != nil {
				return 0, e
			}
			if x.ID == ada {
				n += x.Last - x.First + 1
			}
		}
		return n, nil
	})
	for i := range batches {
		who, version := ada, "1.0."+strconv.Itoa(i)
		if i%5 == 4 {
			who = bob
		}
		var records []store.Record
		for j := range size {
			records = append(records, f.record(who, int64(i*size+j), "started", at(0, 0), "app_version="+version))
		}
		f.append(records...)
		if i%10 == 9 {
			f.define(change(f.plan, func(p *plan.Plan) {
				p.Version++
				p.Fields = append(p.Fields, plan.Field{Name: "added" + strconv.Itoa(i), In: plan.EventProperties, Kind: plan.Count})
			}))
			if _, err := f.Erase(ctx, "models", ids(bob)); err != nil {
				t.Errorf("Erase: %v", err)
			}
		}
	}
	close(done)
	readers.Wait()
}

func testCancelled(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	f.append(f.record(ada, 0, "started", at(0, 0), ""))
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	f.wantError("Append", f.Append(ctx, "models", []store.Record{f.record(ada, 1, "started", at(0, 0), "")}), context.Canceled)
	_, err := f.Erase(ctx, "models", ids(ada))
	f.wantError("Erase", err, context.Canceled)
	_, err = f.Holds(ctx, "models", ada)
	f.wantError("Holds", err, context.Canceled)
	_, err = f.Ask(ctx, store.Question{App: "models", From: at(0, 0), To: at(1, 0)})
	f.wantError("Ask", err, context.Canceled)
	_, err = list(ctx, f, store.Listing{App: "models"})
	f.wantError("List", err, context.Canceled)
	for _, err := range f.Seen(ctx, "models", time.Time{}) {
		f.wantError("Seen", err, context.Canceled)
	}
	for _, err := range f.Senders(ctx, "models") {
		f.wantError("Senders", err, context.Canceled)
	}
	f.wantList(store.Listing{}, f.record(ada, 0, "started", at(0, 0), ""))
}

func testClose(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	if err := f.Store.Close(); err != nil {
		t.Fatal(err)
	}
	f.wantError("Define", f.Define(f.Context(), models("models")), store.ErrClosed)
	f.wantError("Append", f.Append(f.Context(), "models", nil), store.ErrClosed)
	_, err := f.Erase(f.Context(), "models", ids(ada))
	f.wantError("Erase", err, store.ErrClosed)
	_, err = f.Holds(f.Context(), "models", ada)
	f.wantError("Holds", err, store.ErrClosed)
	_, err = f.Ask(f.Context(), store.Question{App: "models", From: at(0, 0), To: at(1, 0)})
	f.wantError("Ask", err, store.ErrClosed)
	_, err = list(f.Context(), f, store.Listing{App: "models"})
	f.wantError("List", err, store.ErrClosed)
	n := 0
	for _, err := range f.Seen(f.Context(), "models", time.Time{}) {
		n++
		f.wantError("Seen", err, store.ErrClosed)
	}
	if n != 1 {
		t.Errorf("Seen yields %d times, want the error once", n)
	}
	for _, err := range f.Senders(f.Context(), "models") {
		n++
		f.wantError("Senders", err, store.ErrClosed)
	}
	if n != 2 {
		t.Errorf("Senders yields %d times, want the error once", n-1)
	}
	f.wantError("Close", f.Store.Close(), store.ErrClosed)
}

func testCloseWaits(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	f.append(f.record(ada, 0, "started", at(0, 0), ""), f.record(ada, 1, "started", at(0, 1), ""))
	closed := make(chan error, 1)
	n := 0
	err := f.List(f.Context(), store.Listing{App: "models"}, func(*store.Record) error {
		if n++; n > 1 {
			return nil
		}
		go func() { closed <- f.Store.Close() }()
		for { // until Close has begun
			_, err := f.Ask(f.Context(), store.Question{App: "models", From: at(0, 0), To: at(1, 0)})
			if errors.Is(err, store.ErrClosed) {
				break
			}
			if err != nil {
				return err
			}
		}
		select {
		case <-closed:
			t.Error("Close did not wait for the listing")
		default:
		}
		return nil
	})
	if err != nil || n != 2 {
		t.Errorf("List: got %d records, %v, want the 2 that it began with", n, err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
}
