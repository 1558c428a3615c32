// Command ingest measures how much the collector takes in, beside the engine of
// today's ClickHouse reading the same events, and writes the result into
// docs/benchmarks.md between the lines
//
//	<!-- ingestion:begin -->
//	<!-- ingestion:end -->
//
// The collector is the built program, with all that it does for an event: HTTP,
// decoding, the plan, repeats, durable before the answer. The load is 64
// connections on loopback, each sending batches of 1,000 of the seed's events, 50
// each of 20 sessions. What counts is events per second of the collector's own
// CPU time, because the load runs on the same cores. All 64 connections begin at
// once, and their first batches wait for each other, up to 100 ms: the load lasts
// so long that these are fewer than one in a hundred. ClickHouse's engine (npm's
// chdb, in the process, one thread) inserts the same events from a file, as
// JSONEachRow: no HTTP, no plan, no repeats, no fsync.
//
// Run it from the root of the repository, after make build:
//
//	go run ./peers/bench/ingest
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	events := flag.Int("events", 10_000_000, "events to send, rounded up to whole batches")
	bin := flag.String("bin", "bin/blindai-collector", "the built collector")
	page := flag.String("page", "docs/benchmarks.md", "the page to write into; empty prints the section")
	rounds := flag.Int("rounds", 3, "how often each is measured")
	peers := flag.Bool("peers", true, "measure ClickHouse's engine too")
	flag.Parse()
	if err := run(*events, *rounds, *bin, *page, *peers); err != nil {
		log.Fatal("ingest: ", err)
	}
}

func run(events, rounds int, bin, page string, peers bool) error {
	if page != "" { // before minutes of work
		if _, _, err := readPage(page); err != nil {
			return err
		}
	}
	loads := []struct {
		name    string
		foreign bool
		half    bool
	}{
		{name: "our ids"},
		{name: "our ids, half the load", half: true},
		{name: "foreign ids (UUID)", foreign: true},
	}
	// Rounds take turns, so that a slow moment of the machine meets all of them.
	runs := make([][]result, len(loads)+1)
	for round := range rounds {
		for i, load := range loads {
			rate := 0.0
			if load.half {
				rate = runs[0][round].wall / 2
			}
			r, err := measure(bin, events, load.foreign, rate)
			if err != nil {
				return fmt.Errorf("%s: %w", load.name, err)
			}
			r.name = "collector, " + load.name
			log.Print(r)
			runs[i] = append(runs[i], r)
		}
		if peers {
			r, err := clickhouse(min(events, 2_000_000))
			if err != nil {
				return fmt.Errorf("clickhouse: %w", err)
			}
			log.Print(r)
			runs[len(loads)] = append(runs[len(loads)], r)
		}
	}
	var rows []result
	for _, r := range runs {
		if len(r) > 0 {
			rows = append(rows, median(r))
		}
	}
	text := section(rows, rounds, peers)
	table, err := measureSteps()
	if err != nil {
		return err
	}
	text += table
	if page == "" {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	return writeSection(page, text)
}

// median takes the median of each figure by itself.
func median(runs []result) result {
	of := func(figure func(result) float64) float64 {
		all := make([]float64, len(runs))
		for i, r := range runs {
			all[i] = figure(r)
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return result{
		name:     runs[0].name,
		perCPU:   of(func(r result) float64 { return r.perCPU }),
		wall:     of(func(r result) float64 { return r.wall }),
		p50:      time.Duration(of(func(r result) float64 { return float64(r.p50) })),
		p99:      time.Duration(of(func(r result) float64 { return float64(r.p99) })),
		memory:   int64(of(func(r result) float64 { return float64(r.memory) })),
		perEvent: of(func(r result) float64 { return r.perEvent }),
	}
}

// A result is what one run came to.
type result struct {
	name     string
	perCPU   float64 // events per second of CPU time
	wall     float64 // events per second
	p50, p99 time.Duration
	memory   int64   // peak, bytes
	perEvent float64 // bytes on disk
}

func (r result) String() string {
	return fmt.Sprintf("%s: %.0f events per CPU-second, %.0f events/s, p50 %v, p99 %v, %d MiB, %.1f bytes an event",
		r.name, r.perCPU, r.wall, r.p50.Round(time.Millisecond/10), r.p99.Round(time.Millisecond/10), r.memory>>20, r.perEvent)
}

func section(rows []result, rounds int, peers bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Made by `go run ./peers/bench/ingest` on %s: %d cores, %s/%s, %s. Medians of %d rounds that take turns. The load runs on the same cores, so what counts is CPU time, and the machine is shared, so what counts most is the ratio.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), rounds)
	b.WriteString("| | events per CPU-second | events/s | acknowledged, p50 | p99 | peak memory | bytes an event |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		took := func(d time.Duration) string {
			if d == 0 {
				return "–"
			}
			return d.Round(time.Millisecond).String()
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d MiB | %.1f |\n", r.name, thousands(r.perCPU), thousands(r.wall), took(r.p50), took(r.p99), r.memory>>20, r.perEvent)
	}
	b.WriteString("\n| target | measured | |\n|---|---|---|\n")
	target := func(what, measured string, reached bool) {
		word := "**missed**"
		if reached {
			word = "reached"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", what, measured, word)
	}
	target("at least 1,500,000 events per CPU-second", thousands(rows[0].perCPU), rows[0].perCPU >= 1_500_000)
	if peers {
		peer := rows[len(rows)-1]
		target("at least 2.5 times ClickHouse's engine", fmt.Sprintf("%.2f times", rows[0].perCPU/peer.perCPU), rows[0].perCPU >= 2.5*peer.perCPU)
	}
	target("at most 8 bytes an event", fmt.Sprintf("%.1f", rows[0].perEvent), rows[0].perEvent <= 8)
	target("p99 under 50 ms at half load", fmt.Sprint(rows[1].p99.Round(time.Millisecond)), rows[1].p99 < 50*time.Millisecond)
	target("under 512 MiB at saturation", fmt.Sprintf("%d MiB, foreign ids %d MiB", rows[0].memory>>20, rows[2].memory>>20), max(rows[0].memory, rows[2].memory) < 512<<20)
	return b.String()
}

func thousands(f float64) string {
	s := fmt.Sprintf("%.0f", f)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

const begin, end = "<!-- ingestion:begin -->\n", "<!-- ingestion:end -->"

// readPage returns what stands before and behind the section.
func readPage(page string) (before, after string, err error) {
	b, err := os.ReadFile(page)
	if err != nil {
		return "", "", err
	}
	before, rest, ok1 := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return "", "", fmt.Errorf("%s has no place for the section", page)
	}
	return before, after, nil
}

func writeSection(page, text string) error {
	before, after, err := readPage(page)
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(before+begin+text+end+after), 0o644)
}
