package telemetry

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// Benchmarks of recording. They fail on any drop: the queue is emptied with the
// timer stopped, so that what is measured is an event that is kept.

// BenchmarkNow is the yardstick: reading the clock once, as any program does that
// notes when something happened. Record reads the monotonic clock alone, which
// is cheaper, so it can come out below.
func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		_ = time.Now()
	}
}

func BenchmarkRecord(b *testing.B)       { benchmarkRecord(b, b.TempDir()) }
func BenchmarkRecordMemory(b *testing.B) { benchmarkRecord(b, "") }

func benchmarkRecord(b *testing.B, stateDir string) {
	c, q := openBenchmark(b, stateDir)
	n := 0
	for b.Loop() {
		if n++; n == len(q.slots) {
			b.StopTimer()
			empty(q)
			n = 0
			b.StartTimer()
		}
		c.brewed.Record(large, 2)
	}
}

// BenchmarkRecordParallel records from every CPU at once, a queue's worth at a
// time, so that the timer can stop while it is emptied.
func BenchmarkRecordParallel(b *testing.B) {
	c, q := openBenchmark(b, b.TempDir())
	workers := runtime.GOMAXPROCS(0)
	b.ResetTimer()
	for left := b.N; left > 0; {
		round := min(left, len(q.slots)-workers)
		left -= round
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range (round + workers - 1) / workers {
					c.brewed.Record(large, 2)
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		empty(q)
		b.StartTimer()
	}
}

func openBenchmark(b *testing.B, stateDir string) (coffee, *queue) {
	var e endpoint
	cfg := e.config()
	cfg.StateDir = stateDir
	cfg.Interval = time.Hour // nothing is sent while it is measured
	c := newCoffee()
	if err := c.Open(cfg); err != nil {
		b.Fatal(err)
	}
	q := c.live.Load().queue
	b.ReportAllocs()
	b.Cleanup(func() {
		if s := c.Stats(); s.Dropped != 0 {
			b.Errorf("%d events were dropped", s.Dropped)
		}
		empty(q)
		c.Close(b.Context())
	})
	return c, q
}

func empty(q *queue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.head, q.next = q.tail, q.tail
	q.save()
}
