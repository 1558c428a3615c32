package plan

import (
	"strings"
	"testing"
)

const good = `{
  "app": "coffee", "version": 1, "identity": "user_id",
  "fields": [
    {"name": "user_id", "in": "top", "kind": "random_id", "session": true},
    {"name": "time", "in": "top", "kind": "timestamp"},
    {"name": "roast", "in": "user_properties", "kind": "enum", "values": ["dark", "light"], "session": true}
  ],
  "events": [
    {"name": "brewed", "fields": [
      {"name": "sugar", "in": "event_properties", "kind": "count"},
      {"name": "water", "in": "event_properties", "kind": "bucket", "bounds": [100, 250]}]},
    {"name": "spilled", "fields": [{"name": "sugar", "in": "event_properties", "kind": "count"}]}
  ]
}`

func TestParse(t *testing.T) {
	p, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(p.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if string(again.JSON()) != string(p.JSON()) {
		t.Error("a plan does not survive being written and read")
	}
	if got := names(p.SessionColumns()); got != "roast" {
		t.Errorf("SessionColumns = %s, want roast", got)
	}
	if got := names(p.EventColumns()); got != "sugar water" {
		t.Errorf("EventColumns = %s, want sugar water", got)
	}
	if p.EventIndex("spilled") != 1 || p.EventIndex("drunk") != -1 {
		t.Error("EventIndex does not find what is declared, or finds what is not")
	}
	if f, ok := p.Lookup("water"); !ok || f.Kind != Bucket {
		t.Error("Lookup does not find a field of an event")
	}
}

func names(fields []Field) string {
	var s []string
	for _, f := range fields {
		s = append(s, f.Name)
	}
	return strings.Join(s, " ")
}

// TestFaults changes the good plan in one place each and reads the fault.
func TestFaults(t *testing.T) {
	f := func(old, new, want string) {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("the good plan does not hold %q", old)
		}
		_, err := Parse([]byte(strings.Replace(good, old, new, 1)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s -> %s: got error %v, want one with %q", old, new, err, want)
		}
	}
	f(`"coffee"`, `"Coffee"`, "app must be")
	f(`"version": 1`, `"version": 0`, "version must be")
	f(`"identity": "user_id"`, `"identity": "roast"`, "identity must be user_id or device_id")
	f(`"identity": "user_id"`, `"identity": "device_id"`, "must declare the identity field")
	f(`"kind": "random_id"`, `"kind": "text"`, "fields[0].kind must be one of")
	f(`"kind": "timestamp"`, `"kind": "count"`, "must declare time")
	f(`"in": "user_properties"`, `"in": "group_properties"`, "fields[2].in must be")
	f(`"dark", "light"`, `"dark", "dark"`, "fields[2].values[1] is declared twice")
	f(`"dark", "light"`, ``, "values must be given for an enum")
	f(`"kind": "count"}`, `"kind": "count", "values": ["a"]}`, "only for an enum")
	f(`[100, 250]`, `[250, 100]`, "bounds[1] must be greater")
	f(`"bounds": [100, 250]`, `"bounds": []`, "bounds must be given for a bucket")
	f(`"spilled"`, `"brewed"`, "events[1].name is declared twice")
	f(`"water"`, `"Sugar"`, "is declared twice (upper and lower case")
	f(`"water"`, `"ROAST"`, "is declared twice")
	f(`"water"`, `"_water"`, "name must be 1 to 64")
	f(`"water"`, `"wa\"ter"`, "name must be 1 to 64")
	f(`{"name": "water", "in": "event_properties"`, `{"name": "ip", "in": "top"`, "not a top-level field that a plan may declare")
	f(`"bounds": [100, 250]}`, `"bounds": [100, 250], "session": true}`, "session must be left out")
	f(`[{"name": "sugar", "in": "event_properties", "kind": "count"}]`, `[{"name": "sugar", "in": "event_properties", "kind": "bytes"}]`, "differs from another event's field")
	f(`"app"`, `"application"`, "unknown field")
	f(`"events"`, `"Events": [], "xevents"`, "unknown field")
}

func TestFaultsAreReportedTogether(t *testing.T) {
	_, err := Parse([]byte(`{"app":"","version":0,"identity":"x","fields":[{"name":"a","in":"b","kind":"c"}],"events":[]}`))
	if err == nil {
		t.Fatal("a plan with nothing right in it is accepted")
	}
	for _, want := range []string{"app must", "version must", "identity must", "fields[0].in", "fields[0].kind", "at least one event", "must declare time"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name the fault %q:\n%v", want, err)
		}
	}
	if _, err := Parse([]byte(good + "{}")); err == nil {
		t.Error("text after the plan is accepted")
	}
	for text, want := range map[string]string{
		"": "this is not a whole JSON object", good[:40]: "this is not a whole JSON object", "[]": "this must be a JSON object, and is a JSON array",
		`{"app":7}`: "app must not be a JSON number", `{"colour":1}`: `unknown field "colour"`, "canary": "this is not JSON, at byte 1",
	} {
		if _, err := Parse([]byte(text)); err == nil || err.Error() != "read plan: "+want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := Parse([]byte("not json")); err == nil {
		t.Error("text that is not JSON is accepted")
	}
}

// FuzzParse holds that what Parse accepts survives being written and read.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(p.JSON())
		if err != nil {
			t.Fatalf("written plan is refused: %v", err)
		}
		if string(again.JSON()) != string(p.JSON()) {
			t.Fatal("a plan changes when it is written and read")
		}
	})
}
