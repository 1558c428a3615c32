package duckdb

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// BenchmarkErase erases senders of a store of 100,000, each of which has an event
// or a few: one alone, and many at once.
//
//	go test ./store/duckdb -run '^$' -bench Erase -benchtime 20x
func BenchmarkErase(b *testing.B) {
	const senders, group = 100_000, 10_000
	s := open(b, b.TempDir())
	s.compact.end() // it would copy beside, now and then
	if err := s.Define(b.Context(), fleetPlan()); err != nil {
		b.Fatal(err)
	}
	added := uint64(0)
	add := func(n int) []plan.ID {
		ids := make([]plan.ID, n)
		var records []store.Record
		for i := range ids {
			added++
			binary.BigEndian.PutUint64(ids[i][:], added*0x9e3779b97f4a7c15) // in no order
			for seq := range int64(1 + added%5) {
				records = append(records, store.Record{
					ID: ids[i], Insert: store.InsertID{Own: true, Seq: seq},
					Time: fleetStart.UnixMilli() + seq, Received: fleetStart.UnixMilli() + seq,
					Session: make([]plan.Value, 3), Own: make([]plan.Value, 2),
				})
			}
		}
		if err := s.Append(b.Context(), "blindai", records); err != nil {
			b.Fatal(err)
		}
		return ids
	}
	for range senders / group {
		add(group)
	}
	for _, n := range []int{1, 500, 10_000} {
		b.Run(fmt.Sprint(n, " at once"), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				ids := add(n)
				b.StartTimer()
				if _, err := s.Erase(b.Context(), "blindai", ids); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(time.Millisecond)/float64(b.N*n), "ms/sender")
		})
	}
}
