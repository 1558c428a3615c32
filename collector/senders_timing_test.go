package collector

import (
	"runtime"
	"testing"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/duckdb"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// BenchmarkSenders reports what a sender of one event leaves in Go's memory once it
// is stored, in what the writer and the store know of it: B/sender, over 200,000.
func BenchmarkSenders(b *testing.B) {
	const senders, group = 200_000, 10_000
	for b.Loop() {
		dir := b.TempDir()
		folder, err := OpenFolder(dir)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := folder.AddApp(events.App, events.Plan(), Keys{apiKey, secretKey}); err != nil {
			b.Fatal(err)
		}
		s, err := duckdb.Open(b.Context(), dir)
		if err != nil {
			b.Fatal(err)
		}
		c, err := New(b.Context(), Config{Folder: folder, Store: s})
		if err != nil {
			b.Fatal(err)
		}
		app := folder.App(events.App)
		g := c.guard(app)
		heap := func() float64 {
			runtime.GC()
			runtime.GC() // what pools hold goes with the second
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return float64(m.HeapAlloc)
		}
		keep := func(n int) {
			records := make([]store.Record, n)
			for i, id := range testIDs(n) {
				records[i] = store.Record{
					ID: id, Insert: store.InsertID{Own: true}, Time: windowStart, Received: windowStart,
					Session: make([]plan.Value, g.sessions), Own: make([]plan.Value, g.columns),
				}
			}
			if err := c.writer.append(app, g, records, nil); err != nil {
				b.Fatal(err)
			}
		}
		keep(group) // what is kept for its memory is there from here on
		before := heap()
		for range senders / group {
			keep(group)
		}
		b.ReportMetric((heap()-before)/senders, "B/sender")
		c.Close()
		s.Close()
		folder.Close()
	}
}
