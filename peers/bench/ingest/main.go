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
// CPU time, because the load runs on the same cores. ClickHouse's engine (npm's
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
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	events := flag.Int("events", 4_000_000, "events to send, rounded up to whole batches")
	bin := flag.String("bin", "bin/blindai-collector", "the built collector")
	page := flag.String("page", "docs/benchmarks.md", "the page to write into; empty prints the section")
	peers := flag.Bool("peers", true, "measure ClickHouse's engine too")
	flag.Parse()
	if err := run(*events, *bin, *page, *peers); err != nil {
		log.Fatal("ingest: ", err)
	}
}

func run(events int, bin, page string, peers bool) error {
	var rows []result
	for _, load := range []struct {
		name    string
		foreign bool
		half    bool
	}{
		{name: "our ids"},
		{name: "our ids, half the load", half: true},
		{name: "foreign ids (UUID)", foreign: true},
	} {
		rate := 0.0
		if load.half {
			rate = rows[0].wall / 2
		}
		log.Printf("%s ...", load.name)
		r, err := measure(bin, events, load.foreign, rate)
		if err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
		r.name = load.name
		rows = append(rows, r)
		log.Print(r)
	}
	var peer *result
	if peers {
		log.Print("ClickHouse's engine ...")
		r, err := clickhouse(min(events, 2_000_000))
		if err != nil {
			return fmt.Errorf("clickhouse: %w", err)
		}
		peer = &r
		log.Print(r)
	}
	text := section(rows, peer)
	if page == "" {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	return writeSection(page, text)
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

func section(rows []result, peer *result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Made by `go run ./peers/bench/ingest` on %s: %d cores, %s/%s, %s. The load runs on the same cores, so what counts is CPU time.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	b.WriteString("| | events per CPU-second | events/s | acknowledged, p50 | p99 | peak memory | bytes an event |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| collector, %s | %s | %s | %v | %v | %d MiB | %.1f |\n", r.name, thousands(r.perCPU), thousands(r.wall),
			r.p50.Round(time.Millisecond), r.p99.Round(time.Millisecond), r.memory>>20, r.perEvent)
	}
	if peer != nil {
		fmt.Fprintf(&b, "| %s | %s | %s | – | – | %d MiB | %.1f |\n", peer.name, thousands(peer.perCPU), thousands(peer.wall), peer.memory>>20, peer.perEvent)
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
	if peer != nil {
		target("at least 2.5 times ClickHouse's engine", fmt.Sprintf("%.2f times", rows[0].perCPU/peer.perCPU), rows[0].perCPU >= 2.5*peer.perCPU)
	}
	target("at most 8 bytes an event", fmt.Sprintf("%.1f", rows[0].perEvent), rows[0].perEvent <= 8)
	target("p99 under 50 ms at half load", fmt.Sprint(rows[1].p99.Round(time.Millisecond)), rows[1].p99 < 50*time.Millisecond)
	target("under 512 MiB at saturation", fmt.Sprintf("%d MiB", rows[0].memory>>20), rows[0].memory < 512<<20)
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

func writeSection(page, text string) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no place for the section", page)
	}
	return os.WriteFile(page, []byte(before+begin+text+end+after), 0o644)
}
