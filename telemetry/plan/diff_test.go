package plan

import (
	"fmt"
	"reflect"
	"testing"
)

func TestDiff(t *testing.T) {
	field := func(name string, kind Kind) Field {
		return Field{Name: name, In: EventProperties, Kind: kind, Doc: "d"}
	}
	old := &Plan{
		Version: 1, Fields: []Field{field("mode", Flag), field("gone", Count), field("kept", Count)},
		Events:   []Event{{Name: "sent", Doc: "d", Fields: []Field{field("size", Bytes), {Name: "word", In: EventProperties, Kind: Enum, Values: []string{"a"}}}}, {Name: "dropped"}, {Name: "told", Doc: "d"}},
		Delivery: []Item{{"insert_id", "d"}, {"Host", "d"}},
	}
	now := &Plan{
		Version: 2, Fields: []Field{field("kept", Count), field("mode", Count), field("fresh", Count)},
		Events: []Event{{Name: "told", Doc: "otherwise"}, {Name: "sent", Doc: "d", Fields: []Field{field("size", Bytes), field("took", Milliseconds),
			{Name: "word", In: EventProperties, Kind: Enum, Values: []string{"a", "b"}}}}, {Name: "run", Fields: []Field{field("took", Milliseconds)}}},
		Delivery: []Item{{"insert_id", "d"}, {"Content-Type", "d"}},
	}
	want := []Change{
		{What: "changed", Field: "mode", Detail: "kind: flag, now count"},
		{What: "added", Field: "fresh"},
		{What: "removed", Field: "gone"},
		{What: "changed", Event: "told", Detail: "description"},
		{What: "added", Event: "sent", Field: "took"},
		{What: "changed", Event: "sent", Field: "word", Detail: "words: [a], now [a b]"},
		{What: "added", Event: "run"},
		{What: "added", Event: "run", Field: "took"},
		{What: "removed", Event: "dropped"},
		{What: "added", Field: "Content-Type", In: "delivery"},
		{What: "removed", Field: "Host", In: "delivery"},
	}
	got := Diff(old, now)
	if !reflect.DeepEqual(got, want) {
		for i := range max(len(got), len(want)) {
			at := func(c []Change) string {
				if i < len(c) {
					return fmt.Sprintf("%+v", c[i])
				}
				return "nothing"
			}
			if at(got) != at(want) {
				t.Errorf("change %d: got %s, want %s", i, at(got), at(want))
			}
		}
	}
	old.Version = 7
	if d := Diff(old, old); len(d) != 0 {
		t.Errorf("a plan differs from itself: %v", d)
	}
}
