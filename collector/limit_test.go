package collector

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

func TestLimiter(t *testing.T) {
	now := time.UnixMilli(1795442093123)
	l := newLimiter(Limits{App: 10, Session: 2}, func() time.Time { return now })
	of := func(n int, ids ...byte) (records []store.Record) {
		for range n {
			for _, id := range ids {
				records = append(records, store.Record{ID: plan.ID{id}})
			}
		}
		return records
	}
	f := func(what, app string, records []store.Record, want bool) {
		t.Helper()
		if got := l.allow(app, len(records), records); got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	f("one saved half a minute", "a", of(60, 1), true)
	f("and has no more", "a", of(1, 1), false)
	f("others have", "a", of(1, 2), true)
	f("not together with it", "a", of(1, 1, 2), false)
	f("another app's of the same id has", "b", of(1, 1), true)
	now = now.Add(time.Second)
	f("two more a second", "a", of(2, 1), true)
	f("and not three", "a", of(1, 1), false)
	f("a batch larger than the burst passes", "a", of(200, 3), true)
	f("and is paid back first", "a", of(1, 3), false)
	now = now.Add(70 * time.Second)
	f("which takes its time", "a", of(1, 3), false)
	now = now.Add(time.Second)
	f("and no longer", "a", of(1, 3), true)
	now = now.Add(-time.Hour)
	f("a clock that is set back", "a", of(1, 3), true)
	now = now.Add(time.Hour)

	f("the app's limit", "c", of(1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), true)
	f("which is all sessions'", "c", of(29, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), true)
	f("and is reached", "c", of(1, 11), false)
}

func TestLimiterIsBounded(t *testing.T) {
	now := time.UnixMilli(1795442093123)
	l := newLimiter(Limits{Session: 1}, func() time.Time { return now })
	send := func(n int) {
		var id plan.ID
		binary.BigEndian.PutUint32(id[:], uint32(n))
		l.allow("a", 1, []store.Record{{ID: id}})
	}
	for n := range maxBalances {
		send(n)
	}
	now = now.Add(time.Minute)
	send(maxBalances)
	if n := len(l.sessions); n != 1 {
		t.Errorf("%d are remembered, want only the one that has not saved all", n)
	}
	for n := range maxBalances + 1 {
		send(n)
	}
	if n := len(l.sessions); n > maxBalances {
		t.Errorf("%d are remembered, want %d at most", n, maxBalances)
	}
}

// TestLimits: too fast is a 503, and never a 429.
func TestLimits(t *testing.T) {
	r := &rig{t: t, dir: t.TempDir(), limits: Limits{Session: 1}}
	r.open()
	t.Cleanup(r.close)
	var es []string
	for i := range 40 {
		es = append(es, event(idA, i))
	}
	r.mustUpload(es...)
	if status, body := r.upload(event(idA, 40)); status != 503 || !strings.Contains(body, `"code":503`) || strings.Contains(body, idA) {
		t.Errorf("got %d %s, want 503", status, body)
	}
	r.mustUpload(event(idB, 0))
	r.wantCount(41)
	if want := `blindai_collector_limited_total{app="blindai"} 1`; !strings.Contains(r.scrape(), want) {
		t.Errorf("want %s", want)
	}
}
