package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/blindai-go/blindai/peers/bench"
)

const counterModule = "golang.org/x/telemetry"

// What was promised; the section says whether it holds.
const (
	maxAllocs   = 0
	maxOverNow  = 1.5 // Record with a state folder, to reading the clock
	minOverPeer = 50  // analytics-go, to Record with a state folder
)

// A report is all that the section says.
type report struct {
	Date          time.Time
	Rounds, Cores int
	Go, System    string
	CPU           string
	Versions      map[string]string // of other libraries, by module
	Alone, Beside results
	Scenarios     []scenario
}

// A scenario holds an outcome for each of bench.Libraries.
type scenario struct {
	name     string
	run      func(bench.Library) (bench.Outcome, error)
	outcomes []bench.Outcome
}

// The rows of the tables, by the names of the benchmarks.
var (
	aloneRows = []row{
		{"Now", "`time.Now`: reading the clock"},
		{"Record", "`Record`, kept in a state folder"},
		{"RecordMemory", "`Record`, kept in memory"},
		{"RecordParallel", "`Record`, kept in a state folder, from all cores at once"},
	}
	besideRows = []row{
		{"Now", "`time.Now`"},
		{"Telemetry", "`telemetry`, state folder"},
		{"TelemetryMemory", "`telemetry`, memory"},
		{"Counter", "x/telemetry counter"},
		{"Analytics", "analytics-go"},
		{"PostHog", "posthog-go"},
	}
)

type row struct{ benchmark, label string }

func (r report) markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }

	p("Made by `%s` on %s: %s, %d cores, %s, %s. Medians of %d rounds; the programs take turns.\n",
		command, r.Date.Format(time.DateOnly), r.CPU, r.Cores, r.System, r.Go, r.Rounds)
	p("The machine is shared with other work, so nanoseconds vary from run to run: only ratios count.\n\n")

	p("The library by itself:\n\n")
	p("| | ns | allocations | bytes | times `Now` |\n|---|---|---|---|---|\n")
	for _, row := range aloneRows {
		p("| %s | %s | %s | %s | %s |\n", row.label, number(r.Alone.median(row.benchmark, ns)),
			whole(r.Alone.median(row.benchmark, allocs)), whole(r.Alone.median(row.benchmark, bytesOf)), ratio(r.Alone.ratio(row.benchmark, "Now")))
	}

	p("\nThe same event through each library, as its user calls it:\n\n")
	p("| | ns | allocations | bytes | delivered | times `Now` | times ours |\n|---|---|---|---|---|---|---|\n")
	for _, row := range besideRows {
		share := "–"
		if d := r.Beside.median(row.benchmark, delivered); d > 0 {
			share = percent(d)
		}
		p("| %s | %s | %s | %s | %s | %s | %s |\n", row.label, number(r.Beside.median(row.benchmark, ns)),
			whole(r.Beside.median(row.benchmark, allocs)), whole(r.Beside.median(row.benchmark, bytesOf)), share,
			ratio(r.Beside.ratio(row.benchmark, "Now")), ratio(r.Beside.ratio(row.benchmark, "Telemetry")))
	}
	p("\nanalytics-go %s, posthog-go %s, x/telemetry %s.\n", r.Versions[bench.Analytics.Module], r.Versions[bench.PostHog.Module], r.Versions[counterModule])

	p("\n| target | measured | |\n|---|---|---|\n")
	target := func(what, measured string, ok bool) {
		p("| %s | %s | %s |\n", what, measured, map[bool]string{true: "reached", false: "**missed**"}[ok])
	}
	most := max(r.Alone.median("Record", allocs), r.Alone.median("RecordMemory", allocs), r.Alone.median("RecordParallel", allocs))
	target(fmt.Sprintf("%d allocations", maxAllocs), fmt.Sprintf("%.0f", most), most <= maxAllocs)
	over := r.Alone.ratio("Record", "Now")
	target(fmt.Sprintf("`Record` at most %.1f times `Now`", maxOverNow), ratio(over)+" times", over <= maxOverNow)
	cheaper := r.Beside.ratio("Analytics", "Telemetry")
	target(fmt.Sprintf("at least %d times cheaper than analytics-go", minOverPeer), ratio(cheaper)+" times", cheaper >= minOverPeer)

	p("\nWhat arrives, and what the program waits for:\n\n|")
	for _, s := range r.Scenarios {
		p(" | %s", s.name)
	}
	p(" |\n|---%s|\n", strings.Repeat("|---", len(r.Scenarios)))
	for i, l := range bench.Libraries {
		p("| %s", l.Name)
		for _, s := range r.Scenarios {
			p(" | %s", cell(s.outcomes[i]))
		}
		p(" |\n")
	}
	return b.String()
}

// cell shows the share that arrived, and the time that the program spent: in
// recording and in ending the library.
func cell(o bench.Outcome) string {
	end := duration(o.Close)
	if o.Hung {
		end = fmt.Sprintf("**> %.0f s**", bench.CloseLimit.Seconds())
	}
	text := percent(float64(o.Delivered) / float64(o.Recorded))
	if o.Doubled > 0 {
		text += fmt.Sprintf(", %d twice", o.Doubled)
	}
	return fmt.Sprintf("%s; %s; %s", text, duration(o.Busy), end)
}

// number writes a figure in no more digits than it has a right to.
func number(n float64) string {
	if n < 100 {
		return fmt.Sprintf("%.1f", n)
	}
	return whole(n)
}

func whole(n float64) string {
	s := fmt.Sprintf("%.0f", n)
	if len(s) > 3 { // nothing here reaches a million
		s = s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return s
}

func ratio(n float64) string {
	switch {
	case n == 0:
		return "–"
	case n >= 10:
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.2f", n)
}

// percent never rounds up to 100: that would hide a loss.
func percent(share float64) string {
	return fmt.Sprintf("%.0f %%", math.Floor(share*100+1e-9))
}

func duration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	}
	return "< 1 ms"
}

const begin, end = "<!-- recording:begin -->\n", "<!-- recording:end -->\n"

// section cuts a page at the lines that hold our section: what is before it,
// it itself, what is after it.
func section(path string) (parts [3]string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return parts, fmt.Errorf("read the page: %w", err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	text, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 || strings.Contains(after, begin) {
		return parts, fmt.Errorf("%s must have the lines %q and %q once, for what is between them to be replaced",
			path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return [3]string{before, text, after}, nil
}

func writeSection(path, text string) error {
	parts, err := section(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(parts[0]+begin+text+end+parts[2]), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
