package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestReadmeCompiles: the program that the README shows is the body of an example
// of package telemetry, which is compiled, so that whoever copies it has one that works.
func TestReadmeCompiles(t *testing.T) {
	const first, last = `c := telemetry.New("coffee", 1)`, "brewed.Record(2)"
	lines := func(path, after string) (found []string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(b), after)
		_, text, _ = strings.Cut(text, first)
		for line := range strings.Lines(text) {
			line = strings.Join(strings.Fields(line), " ") // one is indented by tabs
			found = append(found, line)
			if strings.HasPrefix(line, last) {
				return found
			}
		}
		t.Fatalf("%s has no such program", path)
		return nil
	}
	readme := lines("../../README.md", "A program of your own")
	if code := lines("../../telemetry/example_test.go", "func Example_program()"); !slices.Equal(readme, code) {
		t.Errorf("the README shows\n%s\nand what is compiled is\n%s", strings.Join(readme, "\n"), strings.Join(code, "\n"))
	}
}
