package inference

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/blindai-go/blindai/inference/onnx"
)

// A fault is what is wrong with one value of a request.
type fault struct {
	path string // to the value, such as inputs[0].info.fact; empty for the request itself
	what string // continues a sentence that starts with the value, and does not repeat it
}

func (f *fault) Error() string {
	if f.path == "" {
		return "The request " + f.what
	}
	return "In the request, " + f.path + " " + f.what
}

// within adds to an error that it was found inside of a value.
func within(step string, err error) error {
	var f *fault
	if !errors.As(err, &f) {
		return &fault{path: step, what: err.Error()}
	}
	if f.path != "" && f.path[0] != '[' {
		step += "."
	}
	return &fault{path: step + f.path, what: f.what}
}

// fields says what to do with the value of each key of a map.
type fields map[string]func(item) error

// readRequest reads the body of a request. Its errors are for the client.
func readRequest(body []byte, want fields) error {
	err := readMap(body, want)
	if err == nil {
		return nil
	}
	var f *fault
	if !errors.As(err, &f) {
		f = &fault{what: err.Error()}
	}
	return refusal(f.Error())
}

// readMap reads one map and nothing after it. Every field has to be there once, apart from the
// optional ones; keys that are not among them are stepped over. That is all that ever happens to
// client_info, so clients may leave it out.
func readMap(i item, want fields, optional ...string) error {
	seen := make(map[string]bool, len(want))
	rest, err := i.eachPair(func(key string, value item) error {
		read, ok := want[key]
		if !ok {
			return nil
		}
		if seen[key] {
			return &fault{path: key, what: "is given twice"}
		}
		seen[key] = true
		if err := read(value); err != nil {
			return within(key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return errors.New("goes on after its CBOR map")
	}
	for _, key := range optional {
		seen[key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !seen[key] {
			return &fault{path: key, what: "is missing"}
		}
	}
	return nil
}

// text reads a text.
func text(into *string) func(item) error {
	return func(i item) error {
		if i[0]>>5 != majorText || strict.Unmarshal(i, into) != nil {
			return errors.New("is not a text")
		}
		return nil
	}
}

// number reads an unsigned integer.
func number(into *uint64) func(item) error {
	return func(i item) error {
		if i[0]>>5 != majorUint || strict.Unmarshal(i, into) != nil {
			return errors.New("is not an unsigned integer")
		}
		return nil
	}
}

// flag reads true or false.
func flag(into *bool) func(item) error {
	return func(i item) error {
		if len(i) != 1 || i[0]&^1 != 0xf4 {
			return errors.New("is neither true nor false")
		}
		*into = i[0] == 0xf5
		return nil
	}
}

// shape reads dimensions. A scalar has none.
func shape(into *[]int64) func(item) error {
	return func(i item) error {
		if i[0]>>5 != majorArray {
			return errors.New("is not an array")
		}
		var dims []uint64
		if strict.Unmarshal(i, &dims) != nil {
			return fmt.Errorf("is not an array of up to %d unsigned integers", maxRank)
		}
		*into = make([]int64, len(dims))
		for j, n := range dims {
			if n > math.MaxInt64 {
				return errors.New("has a dimension that is too large")
			}
			(*into)[j] = int64(n)
		}
		return nil
	}
}

// datumType reads an element type by its number, as the Python client sends it, or by its name, as
// the server answers.
func datumType(into *onnx.Type) func(item) error {
	return func(i item) error {
		var byNumber uint64
		var byName string
		isName := text(&byName)(i) == nil
		if !isName && number(&byNumber)(i) != nil {
			return errors.New("is neither the number nor the name of an element type")
		}
		for _, t := range onnx.Types() {
			if isName && byName == t.String() || !isName && byNumber == uint64(t) {
				*into = t
				return nil
			}
		}
		return errors.New("is not an element type that can travel (F32, F64, I8 to I64, U8 to U64, Bool)")
	}
}
