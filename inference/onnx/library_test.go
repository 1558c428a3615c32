package onnx_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/inference/onnx"
)

func TestFind(t *testing.T) {
	t.Run("what the variable names", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "some.so")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(onnx.LibraryVariable, path)
		got, err := onnx.Find()
		if err != nil || got != path {
			t.Errorf("Find() = %q, %v; want %q", got, err, path)
		}
	})
	refused := func(name, value string, want ...string) {
		t.Run(name, func(t *testing.T) {
			t.Setenv(onnx.LibraryVariable, value)
			_, err := onnx.Find()
			if err == nil {
				t.Fatal("Find() found a library where there is none")
			}
			for _, w := range want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("Find() = %q, want it to say %q", err, w)
				}
			}
			if value != "" && strings.Contains(err.Error(), value) {
				t.Errorf("Find() = %q repeats the value", err)
			}
		})
	}
	refused("a file that is not there", filepath.Join(t.TempDir(), "gone.so"), onnx.LibraryVariable, "no such file")
	refused("a folder", t.TempDir(), onnx.LibraryVariable, "not a regular file")
	refused("nothing beside the test's program", "", onnx.LibraryVariable, "libonnxruntime.so", "make build")
}

func TestOpen(t *testing.T) {
	runtime := open(t)
	if runtime.Version() == "" {
		t.Error("the engine has no version")
	}
	if os.Getenv("ORT_DISABLE_TELEMETRY") != "1" {
		t.Error("the engine's own telemetry is not switched off")
	}
	if again := open(t); again != runtime {
		t.Error("opening the same library again gives another engine")
	}
	if _, err := onnx.Open(filepath.Join(t.TempDir(), "other.so")); err == nil {
		t.Error("a second library was loaded into the same process")
	}
}
