package printed

import (
	"maps"
	"testing"
)

func TestEach(t *testing.T) {
	const lines = `goos: linux
cpu: Some Processor
BenchmarkAppend/10000_of_1000_senders-2 	      33	  35000000 ns/op	       120.5 append-cpu-ns/row	        30.00 load-cpu-ns/row
BenchmarkDecode 	 100	 250 ns/event
PASS
`
	got := map[string]map[string]float64{}
	cpu, err := Each(lines, func(name string, figures map[string]float64) error { got[name] = figures; return nil })
	if err != nil || cpu != "Some Processor" {
		t.Errorf("cpu %q, %v", cpu, err)
	}
	want := map[string]map[string]float64{
		"Append/10000_of_1000_senders": {"ns/op": 35000000, "append-cpu-ns/row": 120.5, "load-cpu-ns/row": 30},
		"Decode":                       {"ns/event": 250},
	}
	if !maps.EqualFunc(got, want, maps.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, lines := range []string{"", "PASS\n", "BenchmarkNow-2 1 x ns/op\n"} {
		if _, err := Each(lines, func(string, map[string]float64) error { return nil }); err == nil {
			t.Errorf("%q is accepted", lines)
		}
	}
}
