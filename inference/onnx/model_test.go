package onnx_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/inference/onnx"
)

func TestLoadDescribes(t *testing.T) {
	describe := func(infos []onnx.Info) string {
		var list []string
		for _, i := range infos {
			list = append(list, fmt.Sprintf("%s %s %s", i.Name, i.Type, i.Shape()))
		}
		return strings.Join(list, ", ")
	}
	for _, tt := range []struct{ model, inputs, outputs string }{
		{"subtract", "minuend I64 [], subtrahend I64 []", "difference I64 []"},
		{"listed_weight", "x F32 [N 2]", "y F32 [N 2]"},
		{"any_rank", "data F32 [N], shape I64 [R]", "reshaped F32 any shape, negative F32 [N]"},
		{"../../testdata/digits/digits", "image F32 [N 64]", "digit I64 [N], probabilities F32 [N 10]"},
	} {
		t.Run(tt.model, func(t *testing.T) {
			model := load(t, tt.model)
			if got := describe(model.Inputs()); got != tt.inputs {
				t.Errorf("inputs are %s, want %s", got, tt.inputs)
			}
			if got := describe(model.Outputs()); got != tt.outputs {
				t.Errorf("outputs are %s, want %s", got, tt.outputs)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	whole := file(t, "subtract")
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "not an ONNX model"},
		{"text", []byte("hello world"), "protobuf parsing failed"},
		{"half a model", whole[:len(whole)/2], "protobuf parsing failed"},
		{"a picture", []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), "protobuf parsing failed"},
		{"no graph", []byte{8, 8}, "graph"},
		{"weights in other files", file(t, "external"), "other files"},
		{"weights in other files, in a branch", file(t, "external_inside"), "other files"},
		{"float16", file(t, "half"), `output "y" holds float16`},
		{"a sequence", file(t, "sequence"), `output "parts" is a sequence`},
		{"no inputs", file(t, "no_input"), "no inputs"},
		{"endless nesting", nested(5000), "too deeply"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, optimize := range []bool{true, false} {
				model, err := open(t).Load(tt.file, optimize)
				if err == nil {
					model.Close()
					t.Fatal("the model was accepted")
				}
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Load = %q, want it to say %q", err, tt.want)
				}
			}
		})
	}
}

// nested is a model whose graph has a node whose attribute is a graph, and so on.
func nested(depth int) []byte {
	var message []byte
	wrap := func(field byte) {
		head := binary.AppendUvarint([]byte{field<<3 | 2}, uint64(len(message)))
		message = append(head, message...)
	}
	for range depth {
		wrap(6) // attribute.g
		wrap(5) // node.attribute
		wrap(1) // graph.node
	}
	wrap(7) // model.graph
	return message
}

func TestTypes(t *testing.T) {
	want := "F32:4 F64:8 I32:4 I64:8 U32:4 U64:8 U8:1 U16:2 I8:1 I16:2 Bool:1"
	var got []string
	for i, typ := range onnx.Types() {
		if int(typ) != i {
			t.Errorf("%s has number %d, want %d", typ, typ, i)
		}
		got = append(got, fmt.Sprintf("%s:%d", typ, typ.Size()))
	}
	if strings.Join(got, " ") != want {
		t.Errorf("types are %s, want %s", got, want)
	}
	if beyond := onnx.Type(len(onnx.Types())); beyond.Valid() || beyond.Size() != 0 {
		t.Error("a type past the last one is valid")
	}
	if !slices.IsSorted(onnx.Types()) {
		t.Error("types are out of order")
	}
}
