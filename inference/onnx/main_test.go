package onnx_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/blindai-go/blindai/inference/onnx"
)

// TestMain points the tests at the library that `make build` puts into the bin folder of the
// repository, unless the environment names another one.
func TestMain(m *testing.M) {
	if os.Getenv(onnx.LibraryVariable) == "" {
		library := filepath.Join(root(), "bin", "libonnxruntime.so")
		if _, err := os.Stat(library); err != nil {
			fmt.Fprintln(os.Stderr, "these tests need ONNX Runtime: run `make build` first, or set", onnx.LibraryVariable)
			os.Exit(1)
		}
		os.Setenv(onnx.LibraryVariable, library)
	}
	os.Exit(m.Run())
}

// root returns the folder that has go.work.
func root() string {
	dir, _ := os.Getwd()
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

// open returns the engine.
func open(t testing.TB) *onnx.Runtime {
	t.Helper()
	library, err := onnx.Find()
	if err != nil {
		t.Fatal(err)
	}
	runtime, err := onnx.Open(library)
	if err != nil {
		t.Fatal(err)
	}
	return runtime
}

// file returns a model of the folder beside this one.
func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name+".onnx"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// load prepares a model and closes it when the test ends.
func load(t testing.TB, name string) *onnx.Model {
	t.Helper()
	model, err := open(t).Load(file(t, name), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Close)
	return model
}
