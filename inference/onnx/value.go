package onnx

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"unsafe"

	ort "github.com/yalue/onnxruntime_go"
)

// newValue makes the engine's tensor for t. It points into t.Data where it can, and pinner keeps
// what it points into in its place.
func newValue(t Tensor, pinner *runtime.Pinner) (ort.Value, error) {
	if len(t.Shape) == 0 {
		return newScalar(t.Type, t.Data)
	}
	if len(t.Data) == 0 {
		return newEmpty(t.Type, t.Shape)
	}
	data := t.Data
	if t.Type == Bool {
		data = truths(data)
	}
	data = aligned(data, t.Type.Size())
	pinner.Pin(&data[0])
	number := ort.TensorElementDataType(elements[t.Type].onnx)
	value, err := ort.NewCustomDataTensor(ort.NewShape(t.Shape...), data, number)
	if err != nil {
		return nil, engine(err)
	}
	return value, nil
}

// truths returns a copy with 1 for every byte that is not 0. To the engine a bool is one of C++,
// and any other byte in there is undefined behaviour.
func truths(data []byte) []byte {
	clean := make([]byte, len(data))
	for i, b := range data {
		if b != 0 {
			clean[i] = 1
		}
	}
	return clean
}

// aligned returns data at an address that is a multiple of size, copied if need be. Data that was
// cut out of a request can start anywhere.
func aligned(data []byte, size int) []byte {
	if uintptr(unsafe.Pointer(&data[0]))%uintptr(size) == 0 {
		return data
	}
	words := make([]uint64, (len(data)+7)/8)
	moved := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(data))
	copy(moved, data)
	return moved
}

// newScalar makes a tensor of rank 0 with the given data, or with zero if there is none.
func newScalar(t Type, data []byte) (ort.Value, error) {
	switch t {
	case F32:
		return scalarOf[float32](data)
	case F64:
		return scalarOf[float64](data)
	case I32:
		return scalarOf[int32](data)
	case I64:
		return scalarOf[int64](data)
	case U32:
		return scalarOf[uint32](data)
	case U64:
		return scalarOf[uint64](data)
	case U8:
		return scalarOf[uint8](data)
	case U16:
		return scalarOf[uint16](data)
	case I8:
		return scalarOf[int8](data)
	case I16:
		return scalarOf[int16](data)
	case Bool:
		value, err := ort.NewScalar(len(data) == 1 && data[0] != 0)
		return orNil(value, err)
	}
	return nil, errors.New("has an element type that does not exist")
}

func scalarOf[T ort.TensorData](data []byte) (ort.Value, error) {
	var element T
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&element)), unsafe.Sizeof(element)), data)
	value, err := ort.NewScalar(element)
	return orNil(value, err)
}

// newEmpty makes a tensor that has a shape but no elements.
func newEmpty(t Type, shape []int64) (ort.Value, error) {
	switch t {
	case F32:
		return emptyOf[float32](shape)
	case F64:
		return emptyOf[float64](shape)
	case I32:
		return emptyOf[int32](shape)
	case I64:
		return emptyOf[int64](shape)
	case U32:
		return emptyOf[uint32](shape)
	case U64:
		return emptyOf[uint64](shape)
	case U8:
		return emptyOf[uint8](shape)
	case U16:
		return emptyOf[uint16](shape)
	case I8:
		return emptyOf[int8](shape)
	case I16:
		return emptyOf[int16](shape)
	case Bool:
		return emptyOf[bool](shape)
	}
	return nil, errors.New("has an element type that does not exist")
}

func emptyOf[T ort.TensorData](shape []int64) (ort.Value, error) {
	value, err := ort.NewEmptyTensor[T](ort.NewShape(shape...))
	return orNil(value, err)
}

// orNil keeps a nil pointer from becoming a Value that is not nil.
func orNil[V ort.Value](value V, err error) (ort.Value, error) {
	if err != nil {
		return nil, engine(err)
	}
	return value, nil
}

// readValueOf returns the contents of an output. They outlive the value: the binding holds them in
// Go's memory.
func readValueOf(value ort.Value) (Tensor, error) {
	switch v := value.(type) {
	case *ort.Tensor[float32]:
		return tensorOf(F32, v), nil
	case *ort.Tensor[float64]:
		return tensorOf(F64, v), nil
	case *ort.Tensor[int32]:
		return tensorOf(I32, v), nil
	case *ort.Tensor[int64]:
		return tensorOf(I64, v), nil
	case *ort.Tensor[uint32]:
		return tensorOf(U32, v), nil
	case *ort.Tensor[uint64]:
		return tensorOf(U64, v), nil
	case *ort.Tensor[uint8]:
		return tensorOf(U8, v), nil
	case *ort.Tensor[uint16]:
		return tensorOf(U16, v), nil
	case *ort.Tensor[int8]:
		return tensorOf(I8, v), nil
	case *ort.Tensor[int16]:
		return tensorOf(I16, v), nil
	case *ort.Tensor[bool]:
		return tensorOf(Bool, v), nil
	case *ort.Scalar[float32]:
		return scalarTensor(F32, v), nil
	case *ort.Scalar[float64]:
		return scalarTensor(F64, v), nil
	case *ort.Scalar[int32]:
		return scalarTensor(I32, v), nil
	case *ort.Scalar[int64]:
		return scalarTensor(I64, v), nil
	case *ort.Scalar[uint32]:
		return scalarTensor(U32, v), nil
	case *ort.Scalar[uint64]:
		return scalarTensor(U64, v), nil
	case *ort.Scalar[uint8]:
		return scalarTensor(U8, v), nil
	case *ort.Scalar[uint16]:
		return scalarTensor(U16, v), nil
	case *ort.Scalar[int8]:
		return scalarTensor(I8, v), nil
	case *ort.Scalar[int16]:
		return scalarTensor(I16, v), nil
	case *ort.Scalar[bool]:
		return scalarTensor(Bool, v), nil
	}
	return Tensor{}, fmt.Errorf("is of a kind that cannot travel (%v)", value.GetONNXType())
}

func tensorOf[T ort.TensorData](t Type, value *ort.Tensor[T]) Tensor {
	return Tensor{Type: t, Shape: value.GetShape(), Data: bytesOf(value.GetData())}
}

func scalarTensor[T ort.TensorData](t Type, value *ort.Scalar[T]) Tensor {
	return Tensor{Type: t, Shape: []int64{}, Data: bytesOf([]T{value.GetData()})}
}

// bytesOf views elements as bytes, without a copy.
func bytesOf[T ort.TensorData](elements []T) []byte {
	if len(elements) == 0 {
		return []byte{}
	}
	size := len(elements) * int(unsafe.Sizeof(elements[0]))
	return unsafe.Slice((*byte)(unsafe.Pointer(&elements[0])), size)
}

// missing reports whether the binding left no output here. On an error it leaves a nil pointer
// inside a Value that is not nil.
func missing(value ort.Value) bool {
	return value == nil || reflect.ValueOf(value).IsNil()
}

// destroy frees the engine's side of values.
func destroy(values []ort.Value) {
	for _, v := range values {
		if !missing(v) {
			v.Destroy()
		}
	}
}
