package main

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/blindai-go/blindai/peers/bench/printed"
)

// steps are the benchmarks of what the collector does with an event, one after
// the other, as the benchmarks of these rooms name and measure them.
var steps = []struct{ what, room, benchmark, unit string }{
	{"reading the JSON, nothing else", "./collector", "Decode", "ns/event"},
	{"JSON and plan, in the first request of a kind", "./collector", "Guard", "ns/event"},
	{"JSON and plan, where events look like earlier ones", "./collector", "Shapes", "ns/event"},
	{"repeats, our ids", "./collector", "Dedup", "ns/event"},
	{"repeats, foreign ids", "./collector", "Foreign", "ns/event"},
	{"to the journal, but for the fsync", "./store/duckdb", "Append/10000_of_1000_senders", "append-cpu-ns/row"},
	{"into the database", "./store/duckdb", "Append/10000_of_1000_senders", "load-cpu-ns/row"},
	{"the last checkpoint", "./store/duckdb", "Append/10000_of_1000_senders", "checkpoint-cpu-ns/row"},
}

// measureSteps returns the table of steps.
func measureSteps() (string, error) {
	figures := map[string]float64{} // by room, benchmark and unit
	for _, run := range []struct{ room, pattern string }{
		{"./collector", "^Benchmark(Decode|Guard|Shapes|Dedup|Foreign)$"},
		{"./store/duckdb", "^BenchmarkAppend$/^10000_of_1000_senders$"},
	} {
		out, err := exec.Command("go", "test", "-run", "^$", "-bench", run.pattern, run.room).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("the benchmarks of %s: %w: %s", run.room, err, out)
		}
		_, err = printed.Each(string(out), func(name string, of map[string]float64) error {
			for unit, n := range of {
				figures[run.room+" "+name+" "+unit] = n
			}
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("the benchmarks of %s: %w", run.room, err)
		}
	}
	var b strings.Builder
	b.WriteString("\nWhere the time goes: each step by itself, on one core, with nothing else at work.\n\n| step | benchmark | CPU for an event |\n|---|---|---|\n")
	for _, s := range steps {
		n, ok := figures[s.room+" "+s.benchmark+" "+s.unit]
		if !ok {
			return "", fmt.Errorf("benchmark %s of %s has not said its %s", s.benchmark, s.room, s.unit)
		}
		fmt.Fprintf(&b, "| %s | `%s` in `%s` | %.0f ns |\n", s.what, s.benchmark, strings.TrimPrefix(s.room, "./"), n)
	}
	return b.String(), nil
}
