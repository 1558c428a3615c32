package collector

import (
	"math/rand/v2"
	"testing"

	"github.com/blindai-go/blindai/telemetry/plan"
)

func mustID(t *testing.T, s string) plan.ID {
	t.Helper()
	id, _, ok := plan.ParseID([]byte(s))
	if !ok {
		t.Fatalf("%s is no id", s)
	}
	return id
}

// TestIntervals compares with a plain set, over random additions and removals.
func TestIntervals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var in intervals
	set := map[int64]bool{}
	for range 20_000 {
		n := r.Int64N(300)
		if r.IntN(3) == 0 {
			in.remove(n)
			delete(set, n)
		} else if in.add(n) == set[n] {
			t.Fatalf("add(%d) says %v, want the opposite", n, set[n])
		} else {
			set[n] = true
		}
		size := int64(0)
		for i, iv := range in {
			if iv.first > iv.last || i > 0 && in[i-1].last+1 >= iv.first {
				t.Fatalf("%v is not sorted, disjoint and as short as can be", in)
			}
			size += iv.last - iv.first + 1
		}
		if size != int64(len(set)) {
			t.Fatalf("%v holds %d numbers, want %d", in, size, len(set))
		}
	}
}
