package events

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write plan.json from the declarations")

// TestPlan keeps the published list and the code in step.
func TestPlan(t *testing.T) {
	declared, err := New().client.Plan()
	if err != nil {
		t.Fatal(err)
	}
	want := string(declared.JSON())
	if *update {
		if err := os.WriteFile("plan.json", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(planJSON) != want {
		t.Error("plan.json differs from the declarations in events.go; if the change is meant, run go test ./events -update and raise the plan's version")
	}
	if got := string(Plan().JSON()); got != want {
		t.Errorf("Plan() = %s\nwant %s", got, want)
	}
}
