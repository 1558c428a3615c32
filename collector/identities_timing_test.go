package collector

import (
	"path/filepath"
	"testing"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// BenchmarkIdentities completes the events of 1,000 senders that have all
// identified themselves: by turns, and 50 of one after the other as our client
// sends them.
func BenchmarkIdentities(b *testing.B) {
	folder, err := OpenFolder(filepath.Join(b.TempDir(), "data"))
	if err != nil {
		b.Fatal(err)
	}
	defer folder.Close()
	k, err := openIdentities(identitiesPath(folder.dir), folder.tombstones, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer k.close()
	g := newGuard(events.Plan(), new(refusedCounts))
	mode := operation{property: property{g.user["sgx_mode"].field, plan.Value{Set: true, Int: 1}}}
	ids := testIDs(1000)
	for _, id := range ids {
		k.apply(events.App, g, nil, []identification{{id: id, says: []operation{mode}}})
	}
	for name, run := range map[string]int{"turns": 1, "runs": 50} {
		b.Run(name, func(b *testing.B) {
			records := make([]store.Record, 1000)
			silent := make([]plan.Value, g.sessions)
			for i := range records {
				records[i] = store.Record{ID: ids[i/run], Own: make([]plan.Value, g.columns)}
			}
			for b.Loop() {
				for i := range records {
					records[i].Session = silent
				}
				k.apply(events.App, g, records, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
		})
	}
}
