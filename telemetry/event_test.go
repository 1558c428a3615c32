package telemetry

import (
	"strings"
	"testing"
)

// TestEveryKindOfEvent records events with each number of fields and each type
// of value, and reads them in the request.
func TestEveryKindOfEvent(t *testing.T) {
	c := New("coffee", 1)
	hot := FlagField("hot", "Whether it was hot.")
	water := BytesField("water", "Water, as if it came in bytes.")
	wait := SecondsField("wait", "How long it took.")
	grind := MillisecondsField("grind", "How long the grinder ran.")
	guests := BucketField("guests", "How many guests, by range.", 2, 10)
	one := NewEvent1(c, "one", "", hot)
	three := NewEvent3(c, "three", "", hot, water, wait)
	four := NewEvent4(c, "four", "", water, wait, grind, guests)
	var e endpoint
	mustOpen(t, c, e.config())
	one.Record(FlagOf(true))
	one.Record(FlagOf(false))
	three.Record(Yes, 5, 6)
	four.Record(1, 2, 3, 12)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"hot":true}}`, `"hot":false}}`, `"hot":true,"water":5,"wait":6}}`, `"water":1,"wait":2,"grind":3,"guests":"10+"}}`,
	} {
		if !strings.Contains(e.bodies[0], want) {
			t.Errorf("the request does not hold %s: %s", want, e.bodies[0])
		}
	}
}
