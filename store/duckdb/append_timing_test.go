package duckdb

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// BenchmarkAppend measures the CPU that two million rows cost in all threads of
// the process, and the bytes that they take on disk at the end, ids included:
// for Append, for the loads behind it, and for a last checkpoint. The rows come
// in groups as a collector makes them: each sender has some events on end. What
// the loader would do beside Append is done between, so that both are known.
//
//	go test ./store/duckdb -run '^$' -bench Append -benchtime 1x
func BenchmarkAppend(b *testing.B) {
	const rows = 2_000_000
	for _, size := range []int{1_000, 10_000, 64_000} {
		for _, senders := range []int{20, 1_000} {
			b.Run(fmt.Sprintf("%d of %d senders", size, senders), func(b *testing.B) {
				var append, load, checkpoint time.Duration
				var bytes float64
				n := 0
				records := make([]store.Record, size)
				for b.Loop() {
					dir := b.TempDir()
					s := open(b, dir)
					s.loader.end()
					if err := s.Define(b.Context(), fleetPlan()); err != nil {
						b.Fatal(err)
					}
					a := s.apps["blindai"]
					f := newFleet(senders)
					here := 0
					for here < rows {
						f.fill(records)
						here += size
						append += cpu(b, func() error { return s.Append(b.Context(), "blindai", records) })
						load += cpu(b, func() error { s.loader.loadSome(b.Context(), a, false); return nil })
					}
					load += cpu(b, func() error { return s.loader.catchUp(b.Context(), a) })
					checkpoint += cpu(b, s.Close)
					bytes += float64(bytesIn(b, dir)) / float64(here)
					n += here
				}
				per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(n) }
				b.ReportMetric(per(append), "append-cpu-ns/row")
				b.ReportMetric(per(load), "load-cpu-ns/row")
				b.ReportMetric(per(checkpoint), "checkpoint-cpu-ns/row")
				b.ReportMetric(per(append+load+checkpoint), "cpu-ns/row")
				b.ReportMetric(bytes/float64(b.N), "bytes/row")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// cpu returns the CPU time that the process uses while fn runs.
func cpu(tb testing.TB, fn func() error) time.Duration {
	tb.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			tb.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	if err := fn(); err != nil {
		tb.Fatal(err)
	}
	return used() - before
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
	if err := s.loader.catchUp(b.Context(), s.apps["blindai"]); err != nil {
		b.Fatal(err)
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
			if _, err := s.Erase(b.Context(), "blindai", []plan.ID{f.servers[0].id}); err != nil {
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
		// As a decoder does it: one slice for all that a sender says at once.
		session := []plan.Value{{Set: true, Text: s.version}, set(s.system), set(s.isHard)}
		for range min(1+f.random(20), int64(len(records)-i)) {
			r := store.Record{
				ID: s.id, Insert: store.InsertID{Own: true, Seq: s.seq}, Event: 2,
				Time: f.now - f.random(2000), Received: f.now,
				Session: session,
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
