package onnx

// Type is the type of a tensor's elements. The numbers are those of the wire.
type Type uint8

// The element types that can travel. ONNX has more (float16, bfloat16, strings, complex numbers);
// a model that takes or gives one of those is refused when it is loaded.
const (
	F32 Type = iota
	F64
	I32
	I64
	U32
	U64
	U8
	U16
	I8
	I16
	Bool // one byte; any value but zero is true
)

// elements says everything about each type that this package needs to know.
var elements = [...]struct {
	name string
	size int
	onnx uint64 // number in the ONNX file format, and in the engine's interface
}{
	F32:  {"F32", 4, 1},
	F64:  {"F64", 8, 11},
	I32:  {"I32", 4, 6},
	I64:  {"I64", 8, 7},
	U32:  {"U32", 4, 12},
	U64:  {"U64", 8, 13},
	U8:   {"U8", 1, 2},
	U16:  {"U16", 2, 4},
	I8:   {"I8", 1, 3},
	I16:  {"I16", 2, 5},
	Bool: {"Bool", 1, 9},
}

// Types returns all element types in the order of their numbers.
func Types() []Type {
	types := make([]Type, len(elements))
	for i := range types {
		types[i] = Type(i)
	}
	return types
}

// Valid reports whether t is one of the types above.
func (t Type) Valid() bool { return int(t) < len(elements) }

// String returns the name that the type has on the wire, such as F32.
func (t Type) String() string {
	if !t.Valid() {
		return "no type"
	}
	return elements[t].name
}

// Size returns how many bytes one element takes, or 0 for a type that is not valid.
func (t Type) Size() int {
	if !t.Valid() {
		return 0
	}
	return elements[t].size
}

// typeOf returns the type with the given number in the ONNX file format.
func typeOf(number uint64) (Type, bool) {
	for t, e := range elements {
		if e.onnx == number {
			return Type(t), true
		}
	}
	return 0, false
}

// strangers names the element types of ONNX that cannot travel, for error messages.
var strangers = map[uint64]string{
	8: "strings", 10: "float16", 14: "complex64", 15: "complex128", 16: "bfloat16",
	17: "float8", 18: "float8", 19: "float8", 20: "float8", 21: "uint4", 22: "int4",
}
