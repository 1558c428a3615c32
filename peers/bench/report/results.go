package main

import (
	"fmt"
	"slices"

	"github.com/blindai-go/blindai/peers/bench/printed"
)

// A sample is one run of one benchmark.
type sample struct {
	ns, bytes, allocs float64
	delivered         float64 // events that arrived, for each recorded; 0 if not measured
}

// results holds the samples of each benchmark in the order of the rounds.
type results map[string][]sample

// add reads what a benchmark program has printed, and returns the processor
// that it names.
func (r results) add(out string) (cpu string, err error) {
	return printed.Each(out, func(name string, figures map[string]float64) error {
		s := sample{ns: figures["ns/op"], bytes: figures["B/op"], allocs: figures["allocs/op"], delivered: figures["delivered/op"]}
		if s.ns == 0 {
			return fmt.Errorf("the line of %s has no time", name)
		}
		r[name] = append(r[name], s)
		return nil
	})
}

// median of one number of a benchmark's samples.
func (r results) median(name string, of func(sample) float64) float64 {
	var all []float64
	for _, s := range r[name] {
		all = append(all, of(s))
	}
	return median(all)
}

// ratio returns how many times longer a takes than b: the median over the
// rounds, since the two of a round were measured close to each other.
func (r results) ratio(a, b string) float64 {
	var all []float64
	for i := range min(len(r[a]), len(r[b])) {
		all = append(all, r[a][i].ns/r[b][i].ns)
	}
	return median(all)
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return all[len(all)/2]
}

func ns(s sample) float64        { return s.ns }
func allocs(s sample) float64    { return s.allocs }
func bytesOf(s sample) float64   { return s.bytes }
func delivered(s sample) float64 { return s.delivered }
