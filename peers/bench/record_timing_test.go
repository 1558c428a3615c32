package bench

import (
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/telemetry/counter"
	"golang.org/x/telemetry/counter/countertest"
)

// The benchmarks time the call that records one event. After each round the
// timer stops until all of it has arrived, so that what is measured is an event
// that is kept; delivered/op says how many were.

// BenchmarkNow is the physical limit: reading the clock once.
func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		_ = time.Now()
	}
}

// Ours looks for new events every 2 s by default. A shorter interval does it no
// favour, since it sends while events are recorded, and the benchmark ends.
const interval = 20 * time.Millisecond

func BenchmarkTelemetry(b *testing.B) {
	l := Telemetry
	l.Open = func(endpoint, dir string) (Recorder, error) { return openTelemetry(endpoint, dir, interval) }
	benchmark(b, l)
}

func BenchmarkTelemetryMemory(b *testing.B) {
	l := TelemetryMemory
	l.Open = func(endpoint, _ string) (Recorder, error) { return openTelemetry(endpoint, "", interval) }
	benchmark(b, l)
}

func BenchmarkAnalytics(b *testing.B) { benchmark(b, Analytics) }
func BenchmarkPostHog(b *testing.B)   { benchmark(b, PostHog) }

func benchmark(b *testing.B, l Library) {
	e, err := OpenEndpoint(0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(e.Stop)
	r, err := l.Open(e.URL(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	size, left := 0, 0
	record := func() {
		r.Record(int64(size))
		size++
		left--
	}
	round := func() {
		e.Await(size, time.Second)
		left = l.Round
	}
	// The first round is not timed: queues grow and connections are made.
	for round(); left > 0; {
		record()
	}
	round()
	b.ReportAllocs()
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			round()
			b.StartTimer()
		}
		record()
	}
	b.StopTimer()
	if err := r.Close(); err != nil {
		b.Error(err)
	}
	e.Await(size, time.Second)
	arrived, _ := e.Counts()
	b.ReportMetric(float64(arrived)/float64(size), "delivered/op")
}

// counters hold the sizes of uploaded models in the way that x/telemetry's
// documentation recommends: a counter for each range.
var counters = [...]*counter.Counter{
	counter.New("blindai/" + eventName + ":<1MB"),
	counter.New("blindai/" + eventName + ":<10MB"),
	counter.New("blindai/" + eventName + ":<100MB"),
	counter.New("blindai/" + eventName + ":>=100MB"),
}

func counterOf(size int64) *counter.Counter {
	switch {
	case size < 1e6:
		return counters[0]
	case size < 1e7:
		return counters[1]
	case size < 1e8:
		return counters[2]
	}
	return counters[3]
}

// counterDir takes the place of the user's own folder of counters. Without a
// file "mode" in it they are kept and never uploaded.
var counterDir string

var openCounters = sync.OnceFunc(func() {
	var err error
	if counterDir, err = os.MkdirTemp("", "counters"); err != nil {
		panic(err)
	}
	countertest.Open(counterDir)
})

// BenchmarkCounter measures something that does less: it adds to a number in a
// mapped file, which knows neither when nor in which session.
func BenchmarkCounter(b *testing.B) {
	openCounters()
	before := readCounters(b)
	size := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		counterOf(size).Inc()
		size++
	}
	b.StopTimer()
	b.ReportMetric(float64(readCounters(b)-before)/float64(size), "delivered/op")
}

func readCounters(b *testing.B) (sum uint64) {
	for _, c := range counters {
		// One that was never counted is not in the file.
		n, _ := countertest.ReadCounter(c)
		sum += n
	}
	return sum
}
