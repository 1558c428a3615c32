package duckdb

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// BenchmarkAppend measures rows a second, and bytes a row once the log is
// moved into the database, ids included, for commits of several sizes: 50
// servers, each of which starts, is sent a model, and runs it.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 2_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			dir := b.TempDir()
			s, err := Open(b.Context(), dir)
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Define(b.Context(), fleetPlan()); err != nil {
				b.Fatal(err)
			}
			f := newFleet(50)
			records := make([]store.Record, size)
			rows := 0
			for b.Loop() {
				b.StopTimer()
				f.fill(records)
				rows += size
				b.StartTimer()
				if err := s.Append(b.Context(), "blindai", records); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(bytesIn(b, dir))/float64(rows), "bytes/row")
			b.ReportMetric(float64(rows), "rows")
		})
	}
}

// BenchmarkRead measures what a collector does on a table of a million rows.
func BenchmarkRead(b *testing.B) {
	const rows, size = 1_000_000, 100_000
	s, err := Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Define(b.Context(), fleetPlan()); err != nil {
		b.Fatal(err)
	}
	f := newFleet(50)
	records := make([]store.Record, size)
	for range rows / size {
		f.fill(records)
		if err := s.Append(b.Context(), "blindai", records); err != nil {
			b.Fatal(err)
		}
	}
	s.checkpoint(b.Context(), 1)
	first, last := fleetStart, time.UnixMilli(f.now+1)
	ask := func(q store.Question) func(*testing.B) {
		q.App, q.From, q.To = "blindai", first, last
		return func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Ask(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("events by type", ask(store.Question{By: "event_type", Every: time.Hour}))
	b.Run("senders by version", ask(store.Question{By: "app_version", Every: time.Hour, Measure: store.Uniques}))
	list := func(l store.Listing) func(*testing.B) {
		l.App = "blindai"
		return func(b *testing.B) {
			n := 0
			for b.Loop() {
				if err := s.List(b.Context(), l, func(*store.Record) error { n++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		}
	}
	b.Run("list all", list(store.Listing{}))
	b.Run("list newest 100", list(store.Listing{Newest: true, Limit: 100}))
	b.Run("seen", func(b *testing.B) {
		for b.Loop() {
			for _, err := range s.Seen(b.Context(), "blindai", first) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("erase", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			f := newFleet(1)
			f.servers[0].id[0], f.servers[0].id[1] = byte(i), byte(i>>8)
			f.fill(records[:1000])
			if err := s.Append(b.Context(), "blindai", records[:1000]); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if _, err := s.Erase(b.Context(), "blindai", f.servers[0].id); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func fleetPlan() *plan.Plan {
	return &plan.Plan{
		App: "blindai", Version: 1, Identity: "user_id",
		Fields: []plan.Field{
			{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true},
			{Name: "app_version", In: plan.Top, Kind: plan.Version, Session: true},
			{Name: "device_id", In: plan.Top, Kind: plan.System, Session: true},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp},
			{Name: "sgx_mode", In: plan.UserProperties, Kind: plan.Enum, Values: []string{"SW", "HW"}, Session: true},
			{Name: "uptime", In: plan.EventProperties, Kind: plan.Seconds},
		},
		Events: []plan.Event{
			{Name: "started"},
			{Name: "send_model", Fields: []plan.Field{{Name: "model_size", In: plan.EventProperties, Kind: plan.Bytes}}},
			{Name: "run_model"},
		},
	}
}

var fleetStart = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// A fleet is a number of servers that send events. It makes the same events
// each time. Its randomness is its own so that a record costs next to nothing.
type fleet struct {
	servers []server
	now     int64 // ms
	state   uint64
}

type server struct {
	id             plan.ID
	started, seq   int64
	version        string
	system, isHard int64
}

func newFleet(n int) *fleet {
	f := &fleet{now: fleetStart.UnixMilli(), state: 1}
	for i := range n {
		var id plan.ID
		for j := range id {
			id[j] = byte(f.random(256))
		}
		f.servers = append(f.servers, server{
			id: id, started: f.now, version: []string{"1.0.0", "1.1.0", "1.2.0-rc.1"}[i%3],
			system: 18, isHard: int64(i % 2),
		})
	}
	return f
}

// random returns a number below n (xorshift).
func (f *fleet) random(n int64) int64 {
	f.state ^= f.state << 13
	f.state ^= f.state >> 7
	f.state ^= f.state << 17
	return int64(f.state>>1) % n
}

// fill fills records with the next events: each server sends a few at a time,
// as its two seconds come round.
func (f *fleet) fill(records []store.Record) {
	set := func(n int64) plan.Value { return plan.Value{Set: true, Int: n} }
	for i := 0; i < len(records); {
		s := &f.servers[f.random(int64(len(f.servers)))]
		f.now += f.random(40)
		for range min(1+f.random(20), int64(len(records)-i)) {
			r := store.Record{
				ID: s.id, Insert: store.InsertID{Own: true, Seq: s.seq}, Event: 2,
				Time: f.now - f.random(2000), Received: f.now,
				Session: []plan.Value{{Set: true, Text: s.version}, set(s.system), set(s.isHard)},
				Own:     []plan.Value{set((f.now - s.started) / 1000), {}},
			}
			switch {
			case s.seq == 0:
				r.Event = 0
			case s.seq%50 == 1:
				r.Event = 1
				r.Own[1] = set(1000 + f.random(100_000_000))
			}
			s.seq++
			records[i] = r
			i++
		}
	}
}

// bytesIn returns the size of all files in dir.
func bytesIn(tb testing.TB, dir string) (n int64) {
	tb.Helper()
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			tb.Fatal(err)
		}
		n += info.Size()
	}
	return n
}
