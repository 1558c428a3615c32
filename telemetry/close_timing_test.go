package telemetry

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// BenchmarkCloseWithoutBudget is what a short-lived command pays at its end for
// the events that it leaves to the next start. It fails from 50 ms on, ten times
// what is promised: a machine under load is not a fault.
func BenchmarkCloseWithoutBudget(b *testing.B) {
	for _, events := range []int{10, 1000, rewriteMost, 100_000} {
		b.Run(fmt.Sprint(events, "-events"), func(b *testing.B) {
			var e endpoint
			ctx, cancel := context.WithCancel(b.Context())
			cancel()
			var worst time.Duration
			for b.Loop() {
				b.StopTimer()
				cfg := e.config()
				cfg.StateDir, cfg.Interval = b.TempDir(), time.Hour
				c := newCoffee()
				mustOpen(b, c.Client, cfg)
				for range events {
					c.spilled.Record()
				}
				b.StartTimer()
				before := time.Now()
				if err := c.Close(ctx); err != nil {
					b.Fatal(err)
				}
				worst = max(worst, time.Since(before))
			}
			if worst > 50*time.Millisecond {
				b.Errorf("the slowest Close took %v", worst)
			}
			b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
			if e.count() != 0 {
				b.Errorf("%d requests were sent", e.count())
			}
		})
	}
}
