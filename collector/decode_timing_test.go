package collector

import (
	"fmt"
	"testing"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// seedBatch makes a request of 1,000 of the seed's events as our client writes
// them: 20 sessions of 50 events, numbered from first.
func seedBatch(sessions []plan.ID, first int) []byte {
	b := amplitude.AppendHead(nil, apiKey)
	i := 0
	for _, id := range sessions {
		for n := range 50 {
			name, own := "run_model", ""
			switch {
			case first+n == 0:
				name = "started"
			case (first+n)%10 == 1:
				name, own = "send_model", fmt.Sprintf(`,"model_size":%d`, 20_000_000+n)
			}
			b = amplitude.AppendEvent(b, i, fmt.Appendf(nil,
				`{"user_id":"%s","app_version":"0.7.1","device_id":"linux/amd64","event_type":"%s","user_properties":{"sgx_mode":"SW"},`+
					`"time":%d,"insert_id":"%s-%d","event_properties":{"uptime":%d%s}}`,
				id, name, 1795442093123+n*137, id, first+n, (first+n)*3, own))
			i++
		}
	}
	return amplitude.AppendTail(b)
}

func testIDs(n int) []plan.ID {
	ids := make([]plan.ID, n)
	for i := range ids {
		ids[i] = plan.NewSecret().ID()
	}
	return ids
}

// blind is a Sink that does nothing with what it gets.
type blind struct{}

func (blind) Key([]byte) error             { return nil }
func (blind) Known([]byte, int) int        { return 0 }
func (blind) Event(*amplitude.Event) error { return nil }

func BenchmarkDecode(b *testing.B) {
	body := seedBatch(testIDs(20), 0)
	var d amplitude.Decoder
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := d.Decode(body, amplitude.MaxEvents, blind{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}

// BenchmarkGuard decodes and guards with nothing learned before the request.
func BenchmarkGuard(b *testing.B) {
	benchmarkIntake(b, func(g *guard) { g.shapes.list.Store(nil) })
}

// BenchmarkShapes decodes and guards with what was learned of earlier requests.
func BenchmarkShapes(b *testing.B) { benchmarkIntake(b, func(*guard) {}) }

func benchmarkIntake(b *testing.B, before func(*guard)) {
	bodies := [][]byte{seedBatch(testIDs(20), 0), seedBatch(testIDs(20), 50)}
	g := newGuard(events.Plan(), new(refusedCounts))
	app := &App{Name: "blindai", Plan: g.plan}
	in := &intake{find: func([]byte) (*App, *guard) { return app, g }}
	var d amplitude.Decoder
	b.SetBytes(int64(len(bodies[0])))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		before(g)
		n++
		if err := in.decode(&d, bodies[n%2], 1795442093123); err != nil || in.bad.answer != nil || len(in.records) != 1000 {
			b.Fatal(err, in.bad.answer)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}
