// Package printed reads what `go test -bench` prints.
package printed

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// Each calls result for every line of a benchmark: its name without the word
// Benchmark and the number of CPUs, and its figures by the units that they were
// printed with. It returns the processor that is named, and an error for a line
// that cannot be read and where there is none.
func Each(out string, result func(name string, figures map[string]float64) error) (cpu string, err error) {
	found := false
	r := benchfmt.NewReader(strings.NewReader(out), "benchmarks")
	for r.Scan() {
		switch line := r.Result().(type) {
		case *benchfmt.SyntaxError:
			return "", fmt.Errorf("read what a benchmark has printed: %w", line)
		case *benchfmt.Result:
			found = true
			cpu = line.GetConfig("cpu")
			figures := map[string]float64{}
			for _, v := range line.Values {
				if v.OrigUnit != "" { // benchfmt makes seconds of nanoseconds
					figures[v.OrigUnit] = v.OrigValue
				} else {
					figures[v.Unit] = v.Value
				}
			}
			base, parts := line.Name.Parts()
			name := string(base)
			for _, part := range parts {
				if part[0] != '-' {
					name += string(part)
				}
			}
			if err := result(name, figures); err != nil {
				return "", err
			}
		}
	}
	if err := r.Err(); err != nil {
		return "", fmt.Errorf("read what a benchmark has printed: %w", err)
	}
	if !found {
		return "", errors.New("no benchmark has run")
	}
	return cpu, nil
}
