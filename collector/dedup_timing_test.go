package collector

import (
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
	d := &dedup{own: map[plan.ID]*intervals{}, foreign: map[foreignKey]int64{}}
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
			if !d.admit(&records[i]) {
				b.Fatal("a new event is taken for a repeat")
			}
		}
		d.commit(time.UnixMilli(1_800_000_000_000))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(senders*each), "ns/event")
}
