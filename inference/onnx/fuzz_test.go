package onnx

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzOutline reads files that anybody may have made: whatever is in them, reading ends, and what
// it returns can be used.
func FuzzOutline(f *testing.F) {
	models, err := filepath.Glob("../testdata/*.onnx")
	if err != nil || len(models) == 0 {
		f.Fatal("no models to start from", err)
	}
	for _, name := range models {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Add([]byte{0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, file []byte) {
		o, err := readOutline(file)
		if err != nil {
			return
		}
		if len(o.outputs) == 0 {
			t.Error("a model without outputs was accepted")
		}
		for _, i := range append(o.inputs, o.outputs...) {
			_ = i.Shape()
			for _, d := range i.Dims {
				if d.Size < -1 {
					t.Errorf("dimension of size %d", d.Size)
				}
			}
		}
	})
}
