package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/blindai-go/blindai"

// rules lists, for each room, the rooms of ours that it may import. Test files
// are free. A room that is not listed here is refused, so that a new one has to
// be thought about.
//
// The half that speaks (telemetry, events, inference) and the half that keeps
// (store, collector, console) never import each other: they meet in the plan
// and on the wire. Heavy things are leaves: only a main opens a database.
var rules = map[string][]string{
	"telemetry/plan":          {},
	"telemetry/amplitude":     {},
	"telemetry":               {"telemetry/plan", "telemetry/amplitude"},
	"telemetry/telemetrytest": {"telemetry"},
	"events":                  {"telemetry", "telemetry/plan"},
	"inference/onnx":          {},
	"inference/enclave":       {},
	"inference":               {"events", "inference/onnx", "inference/enclave"},
	"store":                   {"telemetry/plan"},
	"store/duckdb":            {"store", "telemetry/plan"},
	"store/storetest":         {"store", "telemetry/plan"},
	"privacy":                 {"store", "telemetry/plan"},
	"collector":               {"privacy", "store", "telemetry/plan", "telemetry/amplitude"},
	"console":                 {"store", "telemetry/plan"},
	"cmd/blindai":             {"inference", "events", "telemetry", "internal/cli"},
	"cmd/blindai-collector":   {"collector", "console", "privacy", "store/duckdb", "events", "internal/cli"},
	"internal/layout":         {},
	"internal/cli":            {},
	"internal/demo":           {}, // uses the built programs, as a user would
}

// mustNotLink names what a room must not pull in by any way, and why.
var mustNotLink = []struct{ room, dependency, why string }{
	{"cmd/blindai", "github.com/duckdb/", "the server may live in an enclave; the database is the collector's"},
	{"cmd/blindai", module + "/store", "the server sends events and keeps none"},
	{"cmd/blindai", module + "/collector", "the server sends events and takes none"},
	{"cmd/blindai-collector", "github.com/yalue/onnxruntime_go", "the collector never sees a model"},
	{"cmd/blindai-collector", module + "/inference", "the collector never sees a model"},
}

type pkg struct {
	ImportPath string
	Name       string
	Doc        string
	Imports    []string
	Deps       []string
	Standard   bool
}

func (p pkg) room() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// list asks the go command about all packages of the workspace. The peers are
// a module apart, which nothing here imports.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports,Deps,Standard", module+"/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(p.room(), "peers") {
			pkgs = append(pkgs, p)
		}
	}
	if len(pkgs) < len(rules) {
		t.Fatalf("go list finds %d packages, fewer than there are rules", len(pkgs))
	}
	return pkgs
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		allowed, known := rules[p.room()]
		if !known {
			t.Errorf("%s is a room without a rule; add it to the table, or put the code into a room that exists", p.room())
			continue
		}
		for _, imported := range p.Imports {
			room, ours := strings.CutPrefix(imported, module+"/")
			if ours && !slices.Contains(allowed, room) {
				t.Errorf("%s imports %s, which the table does not allow", p.room(), room)
			}
		}
	}
}

func TestLinks(t *testing.T) {
	for _, p := range list(t) {
		for _, rule := range mustNotLink {
			for _, dep := range p.Deps {
				if p.room() == rule.room && strings.HasPrefix(dep, rule.dependency) {
					t.Errorf("%s links %s: %s", p.room(), dep, rule.why)
				}
			}
		}
	}
}

// TestTelemetryIsStandardLibraryOnly: nobody who imports the SDK inherits
// anything. The module file has no require line either.
func TestTelemetryIsStandardLibraryOnly(t *testing.T) {
	for _, p := range list(t) {
		if p.room() != "telemetry" && !strings.HasPrefix(p.room(), "telemetry/") {
			continue
		}
		for _, dep := range p.Deps {
			first, _, _ := strings.Cut(dep, "/")
			if strings.Contains(first, ".") && !strings.HasPrefix(dep, module+"/telemetry") {
				t.Errorf("%s depends on %s", p.room(), dep)
			}
		}
	}
}

func TestEveryRoomSaysWhatItIsFor(t *testing.T) {
	for _, p := range list(t) {
		if p.room() == "internal/layout" {
			continue // only tests
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + path.Base(p.room()) + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s has no package comment that begins with %q", p.room(), want)
		}
	}
}
