// Command report measures recording, with our library and with others, and
// writes the result into docs/benchmarks.md.
//
// It builds the benchmarks of ./telemetry and ./peers/bench, runs them in turn,
// so that a slow moment of the machine meets all of them, and takes medians. It
// then runs the scenarios of package bench and replaces what stands between the
// lines
//
//	<!-- recording:begin -->
//	<!-- recording:end -->
//
// The rest of the page is left alone. Run it from the root of the repository:
//
//	go run ./peers/bench/report
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/blindai-go/blindai/peers/bench"
)

const command = "go run ./peers/bench/report"

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 7, "how often each benchmark runs")
	benchtime := flag.Duration("benchtime", 300*time.Millisecond, "how long each benchmark runs each time")
	page := flag.String("page", "docs/benchmarks.md", "the page to write into; empty prints the section")
	flag.Parse()
	if err := run(*rounds, *benchtime, *page); err != nil {
		log.Fatal("report: ", err)
	}
}

func run(rounds int, benchtime time.Duration, page string) error {
	bench.Fence()
	r := report{
		Date: time.Now().UTC(), Rounds: rounds, Go: runtime.Version(),
		System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(),
	}
	if page != "" { // before minutes of work
		if _, err := section(page); err != nil {
			return err
		}
	}
	var err error
	if r.Versions, err = versions(); err != nil {
		return err
	}
	if r.Alone, r.Beside, r.CPU, err = benchmarks(rounds, benchtime); err != nil {
		return err
	}
	if r.Scenarios, err = scenarios(); err != nil {
		return err
	}
	text := r.markdown()
	if page == "" {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	return writeSection(page, text)
}

// benchmarks runs those of both modules. The first are ours alone, from inside;
// the second are those of all libraries.
func benchmarks(rounds int, benchtime time.Duration) (alone, beside results, cpu string, err error) {
	dir, err := os.MkdirTemp("", "report")
	if err != nil {
		return nil, nil, "", fmt.Errorf("make a folder for the programs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	suites := []struct {
		dir, pattern string
		results      results
	}{
		{"telemetry", `^Benchmark(Now|Record.*)$`, results{}},
		{"peers/bench", `.`, results{}},
	}
	program := func(i int) string { return filepath.Join(dir, fmt.Sprintf("suite%d.test", i)) }
	for i, s := range suites {
		log.Printf("building the benchmarks of %s", s.dir)
		if _, err := output("", "go", "test", "-c", "-o", program(i), "./"+s.dir); err != nil {
			return nil, nil, "", err
		}
	}
	for round := range rounds {
		log.Printf("benchmarks, round %d of %d", round+1, rounds)
		for i, s := range suites {
			out, err := output(s.dir, program(i), "-test.run", "^$", "-test.bench", s.pattern,
				"-test.benchmem", "-test.benchtime", benchtime.String())
			if err != nil {
				return nil, nil, "", err
			}
			if cpu, err = s.results.add(out); err != nil {
				return nil, nil, "", fmt.Errorf("benchmarks of %s: %w", s.dir, err)
			}
		}
	}
	return suites[0].results, suites[1].results, cpu, nil
}

// scenarios are few enough to run one after the other: side by side they would
// slow each other down.
func scenarios() ([]scenario, error) {
	list := []scenario{
		{name: "burst of 10,000", run: func(l bench.Library) (bench.Outcome, error) { return bench.Burst(l, 10_000) }},
		{name: "burst of 50,000", run: func(l bench.Library) (bench.Outcome, error) { return bench.Burst(l, 50_000) }},
		{name: "refused, then up", run: bench.Refused},
		{name: "stalled, then started again", run: bench.Stalled},
	}
	for i := range list {
		s := &list[i]
		for _, l := range bench.Libraries {
			log.Printf("scenario: %s: %s", s.name, l.Name)
			o, err := s.run(l)
			if err != nil {
				return nil, fmt.Errorf("scenario %s of %s: %w", s.name, l.Name, err)
			}
			s.outcomes = append(s.outcomes, o)
		}
	}
	return list, nil
}

// versions returns those of the other libraries, by module.
func versions() (map[string]string, error) {
	modules := []string{counterModule}
	for _, l := range bench.Libraries {
		if l.Module != "" {
			modules = append(modules, l.Module)
		}
	}
	out, err := output("peers", "go", append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}"}, modules...)...)
	if err != nil {
		return nil, err
	}
	v := map[string]string{}
	for line := range strings.Lines(out) {
		path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		v[path] = version
	}
	return v, nil
}

// output runs a program in dir and returns what it prints.
func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", filepath.Base(name), err, out, &stderr)
	}
	return string(out), nil
}
