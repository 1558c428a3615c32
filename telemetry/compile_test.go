package telemetry

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTextDoesNotCompile: there is no way to write a text into an event. It
// builds a small program around each line.
func TestTextDoesNotCompile(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	build := func(line string) string {
		dir := t.TempDir()
		for name, content := range map[string]string{
			"go.mod": "module coffee\n\ngo 1.26\n\nrequire github.com/blindai-go/blindai/telemetry v0.0.0\n\n" +
				"replace github.com/blindai-go/blindai/telemetry => " + here + "\n",
			"main.go": `package main

import "github.com/blindai-go/blindai/telemetry"

type name string

func main() {
	c := telemetry.New("coffee", 1)
	brewed := telemetry.NewEvent1(c, "brewed", "A cup was brewed.", telemetry.CountField("sugar", "Lumps of sugar."))
	text, n := "Alice", 2
	_, _, _ = text, n, name(text)
	` + line + `
}
`,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("go", "build", "-o", os.DevNull, ".")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off")
		out, err := cmd.CombinedOutput()
		if err == nil {
			return ""
		}
		return string(out)
	}
	for _, line := range []string{`brewed.Record(2)`, `brewed.Record(telemetry.Count(n))`} {
		if out := build(line); out != "" {
			t.Errorf("%s does not compile: %s", line, out)
		}
	}
	for _, line := range []string{
		`brewed.Record("Alice")`,
		`brewed.Record(text)`,
		`brewed.Record(name(text))`,
		`brewed.Record([]byte(text))`,
		`brewed.Record(telemetry.Count(text))`,
		`brewed.Record(any(2))`,
		`telemetry.NewEvent1(c, "named", "", telemetry.EnumField[name]("name", "", "a"))`,
		`telemetry.NewEvent1(c, "named", "", telemetry.Field[string]{})`,
	} {
		if out := build(line); !strings.Contains(out, "main.go:12:") {
			t.Errorf("%s compiles, or fails for another reason: %s", line, out)
		}
	}
}
