package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/peers/bench"
)

const lines = `goos: linux
goarch: amd64
pkg: github.com/blindai-go/blindai/peers/bench
cpu: Some Processor
BenchmarkNow-2        	 3312913	        50.00 ns/op	       0 B/op	       0 allocs/op
BenchmarkTelemetry-2  	 2025649	        75.0 ns/op	         1.000 delivered/op	       0 B/op	       0 allocs/op
BenchmarkAnalytics-2  	   22156	     15000 ns/op	         0.999 delivered/op	    3422 B/op	      16 allocs/op
PASS
`

func TestResults(t *testing.T) {
	r := results{}
	for _, out := range []string{lines, strings.ReplaceAll(lines, "50.00", "5000"), lines} {
		cpu, err := r.add(out)
		if err != nil {
			t.Fatal(err)
		}
		if cpu != "Some Processor" {
			t.Errorf("cpu %q", cpu)
		}
	}
	if got := r.median("Now", ns); got != 50 { // one slow round does not count
		t.Errorf("Now takes %v", got)
	}
	if got := r.ratio("Analytics", "Telemetry"); got != 200 {
		t.Errorf("analytics-go takes %v times ours", got)
	}
	if got := r.median("Analytics", allocs); got != 16 {
		t.Errorf("analytics-go allocates %v times", got)
	}
	if got := percent(r.median("Analytics", delivered)); got != "99 %" {
		t.Errorf("analytics-go delivers %s", got)
	}
	for _, out := range []string{"", "PASS\n", "BenchmarkNow-2 1 x ns/op\n", "BenchmarkNow-2 1 3 B/op\n"} {
		if _, err := (results{}).add(out); err == nil {
			t.Errorf("%q is accepted", out)
		}
	}
}

func TestMarkdown(t *testing.T) {
	alone := results{}
	for _, row := range aloneRows {
		alone[row.benchmark] = []sample{{ns: 80}}
	}
	alone["Now"] = []sample{{ns: 50}}
	beside := results{}
	if _, err := beside.add(lines); err != nil {
		t.Fatal(err)
	}
	r := report{
		Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), Rounds: 3, Cores: 2, CPU: "Some Processor",
		Alone: alone, Beside: beside,
		Scenarios: []scenario{{name: "burst", outcomes: []bench.Outcome{
			{Recorded: 1000, Delivered: 1000, Busy: 400 * time.Microsecond, Close: 3 * time.Millisecond},
			{Recorded: 1000, Delivered: 999, Busy: 40 * time.Millisecond, Close: 2 * time.Second},
			{Recorded: 1000, Delivered: 0, Hung: true},
			{Recorded: 1000, Delivered: 1000, Doubled: 2},
		}}},
	}
	text := r.markdown()
	for _, want := range []string{
		"on 2026-11-23: Some Processor, 2 cores",
		"| `Record`, kept in a state folder | 80.0 | 0 | 0 | 1.60 |\n",
		"| analytics-go | 15,000 | 16 | 3,422 | 99 % | 300 | 200 |\n",
		"| `Record` at most 1.5 times `Now` | 1.60 times | **missed** |\n",
		"| at least 50 times cheaper than analytics-go | 200 times | reached |\n",
		"| telemetry, state folder | 100 %; < 1 ms; 3 ms |\n",
		"| telemetry, memory | 99 %; 40 ms; 2.0 s |\n",
		"| analytics-go | 0 %; < 1 ms; **> 15 s** |\n",
		"| posthog-go | 100 %, 2 twice; < 1 ms; < 1 ms |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the section has no %q:\n%s", want, text)
		}
	}
}

func TestWriteSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# Page\n\n" + begin + "old\n" + end + "\n## Other\n\nstays\n")
	for range 2 { // the second time changes nothing
		if err := writeSection(path, "new\n"); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := "# Page\n\n" + begin + "new\n" + end + "\n## Other\n\nstays\n"; string(got) != want {
			t.Errorf("the page is %q, want %q", got, want)
		}
	}
	for _, page := range []string{"", begin, end + begin, begin + end + begin + end} {
		write(page)
		if err := writeSection(path, "new\n"); err == nil {
			t.Errorf("the page %q is accepted", page)
		}
	}
}
