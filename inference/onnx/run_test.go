package onnx_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/inference/onnx"
)

// pack writes elements as the wire does.
func pack(elements any) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, elements); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func i64(name string, shape []int64, elements ...int64) onnx.Tensor {
	return onnx.Tensor{Name: name, Type: onnx.I64, Shape: shape, Data: pack(elements)}
}

func f32(name string, shape []int64, elements ...float32) onnx.Tensor {
	return onnx.Tensor{Name: name, Type: onnx.F32, Shape: shape, Data: pack(elements)}
}

func TestRunEveryType(t *testing.T) {
	for _, tt := range []struct {
		model string
		shape []int64
		count int
	}{
		{"scalars", nil, 1},
		{"vectors", []int64{3}, 3},
		{"vectors", []int64{0}, 0},
	} {
		t.Run(tt.model, func(t *testing.T) {
			model := load(t, tt.model)
			var inputs []onnx.Tensor
			for _, typ := range onnx.Types() {
				// One byte of offset, so that the data is not where the engine would like it.
				data := make([]byte, 1+tt.count*typ.Size())[1:]
				for i := range data {
					data[i] = byte(i*7) | 1
				}
				inputs = append(inputs, onnx.Tensor{Type: typ, Shape: tt.shape, Data: data})
			}
			outputs, err := model.Run(t.Context(), inputs)
			if err != nil {
				t.Fatal(err)
			}
			for i, out := range outputs {
				in := inputs[i]
				want := in.Data
				if in.Type == onnx.Bool { // any byte but zero is true
					want = bytes.Repeat([]byte{1}, tt.count)
				}
				if out.Type != in.Type || len(out.Shape) != len(in.Shape) || !bytes.Equal(out.Data, want) {
					t.Errorf("%s came back as %s %v %x, want %x", in.Type, out.Type, out.Shape, out.Data, want)
				}
				if want := "out_" + in.Type.String(); out.Name != want {
					t.Errorf("output %d has the name %q, want %q", i, out.Name, want)
				}
			}
		})
	}
}

func TestRunPlacesInputs(t *testing.T) {
	model := load(t, "subtract")
	for _, tt := range []struct {
		name   string
		inputs []onnx.Tensor
	}{
		{"by position", []onnx.Tensor{i64("", nil, 50), i64("", nil, 8)}},
		{"by name", []onnx.Tensor{i64("minuend", nil, 50), i64("subtrahend", nil, 8)}},
		{"by name, swapped", []onnx.Tensor{i64("subtrahend", nil, 8), i64("minuend", nil, 50)}},
		{"one of each", []onnx.Tensor{i64("subtrahend", nil, 8), i64("", nil, 50)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outputs, err := model.Run(t.Context(), tt.inputs)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(outputs[0].Data, pack(int64(42))) || len(outputs[0].Shape) != 0 {
				t.Errorf("50 - 8 = %v, want the scalar 42", outputs[0])
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	const digits = "../../testdata/digits/digits"
	image := make([]float32, 64)
	for _, tt := range []struct {
		name, model string
		inputs      []onnx.Tensor
		want        string
	}{
		{"too few", "subtract", []onnx.Tensor{i64("", nil, 1)},
			`wants 2 inputs ("minuend" I64 [], "subtrahend" I64 []), and 1 were given`},
		{"too many", digits, []onnx.Tensor{f32("", []int64{1, 64}, image...), i64("", nil, 1)},
			`wants 1 inputs ("image" F32 [N 64]), and 2 were given`},
		{"a name it does not have", "subtract", []onnx.Tensor{i64("minuend", nil, 1), i64("mystery", nil, 1)},
			`input number 1 has a name that the model does not have`},
		{"the same name twice", "subtract", []onnx.Tensor{i64("minuend", nil, 1), i64("minuend", nil, 1)},
			`input "minuend" is given twice`},
		{"another type", digits, []onnx.Tensor{i64("", []int64{1, 64}, make([]int64, 64)...)},
			`input "image" has type I64, the model wants F32`},
		{"another size", digits, []onnx.Tensor{f32("", []int64{1, 63}, image[:63]...)},
			`input "image" has shape [1 63], the model wants [N 64]`},
		{"another rank", digits, []onnx.Tensor{f32("", []int64{64}, image...)},
			`input "image" has shape [64], the model wants [N 64]`},
		{"a vector for a scalar", "subtract", []onnx.Tensor{i64("", []int64{1}, 1), i64("", nil, 1)},
			`input "minuend" has shape [1], the model wants []`},
		{"too little data", digits, []onnx.Tensor{f32("", []int64{1, 64}, image[:10]...)},
			`input "image" has 40 bytes of data, but shape [1 64] of F32 takes 256`},
		{"too much data", "subtract", []onnx.Tensor{i64("", nil, 1, 2), i64("", nil, 1)},
			`input "minuend" has 16 bytes of data, but shape [] of I64 takes 8`},
		{"a negative dimension", digits, []onnx.Tensor{f32("", []int64{-1, 64})},
			`negative size in dimension 0`},
		{"a shape that overflows", digits, []onnx.Tensor{f32("", []int64{1 << 60, 64})},
			`too large`},
		{"a shape that overflows beside a zero", digits, []onnx.Tensor{f32("", []int64{0, 1 << 60, 64})},
			`too large`},
		{"a type that does not exist", digits, []onnx.Tensor{{Type: 11, Shape: []int64{1, 64}}},
			`element type that does not exist`},
		{"what only the engine can know", "pick", []onnx.Tensor{i64("", nil, 9)},
			`out of data bounds`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.model).Run(t.Context(), tt.inputs)
			if err == nil {
				t.Fatal("the run was accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Run = %q, want it to say %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "mystery") {
				t.Errorf("Run = %q repeats a refused name", err)
			}
		})
	}
}

// The rank of these outputs is settled by the run alone, and changes between runs.
func TestRunAnyRank(t *testing.T) {
	for _, name := range []string{"any_rank", "says_scalar"} {
		t.Run(name, func(t *testing.T) {
			model := load(t, name)
			for _, shape := range [][]int64{{1}, {}, {}, {1, 1, 1}, {}, {1, 1}} {
				outputs, err := model.Run(t.Context(), []onnx.Tensor{
					f32("data", []int64{1}, 2.5),
					i64("shape", []int64{int64(len(shape))}, shape...),
				})
				if err != nil {
					t.Fatalf("shape %v: %v", shape, err)
				}
				if len(outputs[0].Shape) != len(shape) || !bytes.Equal(outputs[0].Data, pack(float32(2.5))) {
					t.Errorf("shape %v came out as %v", shape, outputs[0])
				}
				if outputs[1].Name != "negative" || !bytes.Equal(outputs[1].Data, pack(float32(-2.5))) {
					t.Errorf("the output beside it came out as %v", outputs[1])
				}
			}
		})
	}
}

// A file that declares a vector and computes a scalar is told so, every time.
func TestRunFalseDeclaration(t *testing.T) {
	model := load(t, "says_vector")
	inputs := func(shape ...int64) []onnx.Tensor {
		return []onnx.Tensor{f32("", []int64{1}, 1), i64("", []int64{int64(len(shape))}, shape...)}
	}
	if _, err := model.Run(t.Context(), inputs(1)); err != nil {
		t.Errorf("a vector as declared: %v", err)
	}
	for range 2 {
		_, err := model.Run(t.Context(), inputs())
		if err == nil || !strings.Contains(err.Error(), `"reshaped" came out as a scalar`) {
			t.Errorf("a scalar against the declaration: %v", err)
		}
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	model := load(t, "slow")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := model.Run(ctx, []onnx.Tensor{i64("", nil, 1<<40)}) // hours
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run = %v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the run went on for %v", took)
	}
	if _, err := model.Run(t.Context(), []onnx.Tensor{i64("", nil, 1)}); err != nil {
		t.Errorf("the run after it: %v", err)
	}
}

func TestCloseDuringRuns(t *testing.T) {
	model := load(t, "slow")
	var group sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		group.Go(func() {
			first := true
			for {
				out, err := model.Run(t.Context(), []onnx.Tensor{i64("", nil, 20)})
				if errors.Is(err, onnx.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(out[0].Data, pack(float32(128))) {
					t.Errorf("the sum is %v, want 128", out[0].Data)
				}
				if first {
					started <- struct{}{}
					first = false
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	model.Close()
	model.Close()
	group.Wait()
}
