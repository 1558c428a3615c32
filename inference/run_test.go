package inference

import (
	"bytes"
	"encoding/hex"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// The original's own smoke model subtracts two scalars.
func TestRunScalars(t *testing.T) {
	c := start(t, Config{})
	id, _ := c.upload("subtract")
	for _, tt := range []struct {
		name   string
		inputs []object
	}{
		{"by position", []object{scalar(nil, 50), scalar(nil, 8)}},
		{"without the key for names", []object{unnamed(scalar(nil, 50)), unnamed(scalar(nil, 8))}},
		{"by name", []object{scalar("minuend", 50), scalar("subtrahend", 8)}},
		{"by name, swapped", []object{scalar("subtrahend", 8), scalar("minuend", 50)}},
		{"types by name", []object{tensor("I64", nil, nil, int64(50)), tensor("I64", nil, nil, int64(8))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outputs, refused := c.infer(id, tt.inputs...)
			if refused != "" {
				t.Fatal(refused)
			}
			if len(outputs) != 1 {
				t.Fatalf("%d outputs", len(outputs))
			}
			out := outputs[0]
			if out.Info.NodeName != "difference" || out.Info.DatumType != "I64" || out.Info.Fact == nil || len(out.Info.Fact) != 0 {
				t.Errorf("the output is %+v, want the scalar difference of type I64", out.Info)
			}
			if !bytes.Equal(out.Data, []byte{42, 0, 0, 0, 0, 0, 0, 0}) {
				t.Errorf("50 - 8 = %x", out.Data)
			}
		})
	}
	if n := c.heard.runs.Load(); n != 5 {
		t.Errorf("%d runs were noted, want 5", n)
	}
}

func unnamed(tensor object) object {
	delete(tensor["info"].(object), "node_name")
	return tensor
}

// The answer is what clients read: names of types, byte strings, and nothing that is null.
func TestRunReplyOnTheWire(t *testing.T) {
	c := start(t, Config{})
	id, _ := c.upload("subtract")
	_, answer := c.post(c.run+"/run", encode(runOf(id, "", scalar(nil, 3), scalar(nil, 1))))
	text, err := cbor.Diagnose(answer)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"outputs": [{"info": {"fact": [], "datum_type": "I64", "node_name": "difference"}, ` +
		`"bytes_data": h'0200000000000000'}]}`
	if text != want {
		t.Errorf("the answer is\n%s, want\n%s", text, want)
	}
}

func TestRunEveryType(t *testing.T) {
	c := start(t, Config{})
	id, _ := c.upload("vectors")
	names := []string{"F32", "F64", "I32", "I64", "U32", "U64", "U8", "U16", "I8", "I16", "Bool"}
	sizes := []int{4, 8, 4, 8, 4, 8, 1, 2, 1, 2, 1}
	for _, form := range []string{"numbers", "names"} {
		for _, data := range []string{"byte strings", "arrays"} {
			t.Run(form+" and "+data, func(t *testing.T) {
				var inputs []object
				for i := range names {
					var kind any = i
					if form == "names" {
						kind = names[i]
					}
					in := tensor(kind, nil, []int{2}, bytes.Repeat([]byte{200}, 2*sizes[i]))
					if data == "arrays" {
						in["bytes_data"] = cbor.RawMessage(array(in["bytes_data"].([]byte)))
					}
					inputs = append(inputs, in)
				}
				outputs, refused := c.infer(id, inputs...)
				if refused != "" {
					t.Fatal(refused)
				}
				for i, out := range outputs {
					want := bytes.Repeat([]byte{200}, 2*sizes[i])
					if names[i] == "Bool" {
						want = []byte{1, 1}
					}
					if out.Info.DatumType != names[i] || !bytes.Equal(out.Data, want) {
						t.Errorf("%s came back as %s %x", names[i], out.Info.DatumType, out.Data)
					}
				}
			})
		}
	}
}

func TestRunChoosesModel(t *testing.T) {
	c := start(t, Config{})
	id, sum := c.upload("subtract")
	hash := hex.EncodeToString(sum)
	for _, tt := range []struct{ name, id, hash, want string }{
		{"by id", id, "", ""},
		{"by id in upper case", strings.ToUpper(id), "", ""},
		{"by hash", "", hash, ""},
		{"by hash in upper case", "", strings.ToUpper(hash), ""},
		{"neither", "", "", "You must provide at least one model_id or model_hash"},
		{"both", id, hash, "You cannot provide a model_id and a model_hash in the same time"},
		{"unknown id", "01234567-89ab-4def-8123-456789abcdef", "", "Model doesn't exist"},
		{"malformed id", "my-model", "", "Model doesn't exist"},
		{"unknown hash", "", strings.Repeat("ab", 32), "Model doesn't exist"},
		{"half a hash", "", hash[:32], "Model doesn't exist"},
		{"no hexadecimal", "", "not a hash", "Model doesn't exist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var reply runReply
			refused := c.ask(c.run+"/run", runOf(tt.id, tt.hash, scalar(nil, 2), scalar(nil, 1)), &reply)
			if refused != tt.want {
				t.Errorf("the server says %q, want %q", refused, tt.want)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	c := start(t, Config{Limits: Limits{Inputs: 3, RunBytes: 64 << 10}})
	subtract, _ := c.upload("subtract")
	vectors, _ := c.upload("listed_weight")
	pick, _ := c.upload("pick")
	row := tensor("F32", nil, []int{1, 2}, []float32{1, 2})
	with := func(key string, value any) object {
		in := scalar(nil, 1)
		if key == "bytes_data" {
			in[key] = value
		} else {
			in["info"].(object)[key] = value
		}
		return in
	}
	for _, tt := range []struct {
		name, id string
		inputs   []object
		want     string
	}{
		{"too few", subtract, []object{scalar(nil, 1)}, "Unknown error: the model wants 2 inputs"},
		{"too many", vectors, []object{row, row}, "Unknown error: the model wants 1 inputs"},
		{"a wrong name", subtract, []object{scalar("minuend", 1), scalar("secret", 1)}, "Unknown error: input number 1 has a name"},
		{"a wrong type", vectors, []object{tensor("F64", nil, []int{1, 2}, []float64{1, 2})},
			`Unknown error: input "x" has type F64, the model wants F32`},
		{"a wrong shape", vectors, []object{tensor("F32", nil, []int{1, 3}, []float32{1, 2, 3})},
			`Unknown error: input "x" has shape [1 3], the model wants [N 2]`},
		{"too little data", subtract, []object{scalar(nil, 1), with("bytes_data", []byte{1, 2, 3})},
			`Unknown error: input "subtrahend" has 3 bytes of data, but shape [] of I64 takes 8`},
		{"what the engine refuses", pick, []object{scalar(nil, 77)}, "Unknown error: "},
		{"more tensors than the limit", subtract, []object{scalar(nil, 1), scalar(nil, 1), scalar(nil, 1), scalar(nil, 1)},
			"In the request, inputs has more than 3 tensors"},
		{"a type that does not exist", subtract, []object{scalar(nil, 1), with("datum_type", 11)},
			"In the request, inputs[1].info.datum_type is not an element type"},
		{"a type of another name", subtract, []object{with("datum_type", "F16")}, "inputs[0].info.datum_type is not an element type"},
		{"a type that is a float", subtract, []object{with("datum_type", 1.5)}, "inputs[0].info.datum_type is neither"},
		{"a negative dimension", subtract, []object{with("fact", []int{-1})}, "inputs[0].info.fact is not an array of up to 64 unsigned integers"},
		{"too many dimensions", subtract, []object{with("fact", make([]int, 65))}, "inputs[0].info.fact is not an array of up to 64"},
		{"a huge dimension", subtract, []object{with("fact", []uint64{1 << 63})}, "inputs[0].info.fact has a dimension that is too large"},
		{"a name that is a number", subtract, []object{with("node_name", 5)}, "inputs[0].info.node_name is not a text"},
		{"data that is a number", subtract, []object{with("bytes_data", 5)}, "inputs[0].bytes_data is neither"},
		{"a body above the limit", subtract, []object{with("bytes_data", make([]byte, 64<<10))}, "larger than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, refused := c.infer(tt.id, tt.inputs...)
			says(t, refused, tt.want)
			if strings.Contains(refused, "secret") {
				t.Errorf("%q repeats a refused name", refused)
			}
		})
	}
	t.Run("missing keys", func(t *testing.T) {
		for _, key := range []string{"model_id", "model_hash", "inputs"} {
			request := runOf(subtract, "", scalar(nil, 1), scalar(nil, 1))
			delete(request, key)
			var reply runReply
			says(t, c.ask(c.run+"/run", request, &reply), "In the request, "+key+" is missing")
		}
	})
	if n := c.heard.runs.Load(); n != 0 {
		t.Errorf("%d refused runs were noted as run", n)
	}
	if used := c.server.runs.used.Load(); used != 0 {
		t.Errorf("%d bytes are still reserved for requests that are over", used)
	}
}

func TestRunsDuringDeletes(t *testing.T) {
	c := start(t, Config{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				id, _ := c.upload("slow") // the same graph for all of them, again and again
				for range 3 {
					out, refused := c.infer(id, scalar(nil, 5))
					if refused != "" || !bytes.Equal(out[0].Data, []byte{0, 0, 0, 0x43}) { // 128
						t.Errorf("run: %q, %v", refused, out)
					}
				}
				if refused := c.delete(id); refused != "" {
					t.Error(refused)
				}
				if _, refused := c.infer(id, scalar(nil, 5)); refused != "Model doesn't exist" {
					t.Errorf("a run after the delete: %q", refused)
				}
			}
		})
	}
	group.Wait()
}
