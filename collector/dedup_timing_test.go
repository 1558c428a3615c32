package collector

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// BenchmarkDedup admits groups of 64,000 events of 1,280 senders, as 64 requests
// of 20 sessions have them, each sender's in order.
func BenchmarkDedup(b *testing.B) {
	const senders, each = 1280, 50
	ids := testIDs(senders)
	d := emptyDedup(b.TempDir())
	records := make([]store.Record, 0, senders*each)
	first := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		records = records[:0]
		for _, id := range ids {
			for n := range int64(each) {
				records = append(records, store.Record{ID: id, Insert: store.InsertID{Own: true, Seq: first + n}})
			}
		}
		first += each
		b.StartTimer()
		for i := range records {
			if isNew, err := d.admit(&records[i]); !isNew {
				b.Fatal("a new event is taken for a repeat", err)
			}
		}
		d.commit(time.UnixMilli(1_800_000_000_000))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(senders*each), "ns/event")
}

// BenchmarkForeign admits foreign ids, one million an operation, into a window
// that holds four million when it begins.
func BenchmarkForeign(b *testing.B) {
	const before, each = 4_000_000, 1_000_000
	d := emptyDedup(b.TempDir())
	defer d.close()
	r := store.Record{ID: plan.ID{1}, Received: windowStart}
	n := uint64(0)
	admit := func(count int) {
		for range count {
			n++
			binary.LittleEndian.PutUint64(r.Insert.Foreign[:], n)
			if isNew, err := d.admit(&r); !isNew {
				b.Fatal("a new event is taken for a repeat", err)
			}
			if n%10_000 == 0 {
				if err := d.commit(time.UnixMilli(windowStart)); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	admit(before)
	for b.Loop() {
		admit(each)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/each, "ns/event")
}
