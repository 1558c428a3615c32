package events

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/telemetry/plan"
)

var update = flag.Bool("update", false, "write plan.json and docs/collected.md from the declarations")

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

// TestCollected keeps the list that people read in step with the plan.
func TestCollected(t *testing.T) {
	declared, err := New().client.Plan()
	if err != nil {
		t.Fatal(err)
	}
	const path = "../docs/collected.md"
	want := collected(declared)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/collected.md is not what the plan says; run go test ./events -update")
	}
}

// collected writes the plan as a page.
func collected(p *plan.Plan) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# What is collected

This page is made from [events/plan.json](../events/plan.json), version %d, by a test. It is the exhaustive list:
what is not here cannot be sent, because the code has no way to say it, and would not be taken in.

Events are *pseudonymous per run*: those of one run of the server can be linked to each other, and to nothing else.

| field | kind | in | what it says |
|---|---|---|---|
`, p.Version)
	row := func(name, kind, in, doc string) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, kind, in, doc)
	}
	var names []string
	for _, e := range p.Events {
		names = append(names, "`"+e.Name+"`")
	}
	row("event_type", strings.Join(names, ", "), "every event", "What happened.")
	fields := func(list []plan.Field, in string) {
		for _, f := range list {
			kind := f.Kind.Rule()
			if len(f.Values) > 0 {
				kind = "`" + strings.Join(f.Values, "`, `") + "`"
			}
			row(f.Name, kind, in, f.Doc)
		}
	}
	fields(p.Fields, "every event")
	for _, e := range p.Events {
		fields(e.Fields, "`"+e.Name+"`")
	}
	b.WriteString("\n## For delivery only\n\nTravels with the events and is not an answer to any question. A session's secret never travels with events: it is sent only\nwhere somebody asks for the session to be shown or erased, or where such a request waits and is tried again.\n\n| name | what it is |\n|---|---|\n")
	for _, d := range p.Delivery {
		fmt.Fprintf(&b, "| `%s` | %s |\n", d.Name, d.Doc)
	}
	b.WriteString("\n## The events\n\n| event | when |\n|---|---|\n")
	for _, e := range p.Events {
		fmt.Fprintf(&b, "| `%s` | %s |\n", e.Name, e.Doc)
	}
	return b.Bytes()
}
