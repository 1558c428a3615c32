package onnx

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// A Tensor is what a model takes and gives.
type Tensor struct {
	Name  string  // of the graph's input or output; empty in an input means by position
	Type  Type    // of each element
	Shape []int64 // dimensions; none for a scalar
	Data  []byte  // elements, row-major, little-endian, without padding
}

// check reports what is wrong with t by itself, whatever the model wants. It never shows data.
func (t Tensor) check() error {
	if !t.Type.Valid() {
		return errors.New("has an element type that does not exist")
	}
	size, err := dataSize(t.Type, t.Shape)
	if err != nil {
		return err
	}
	if len(t.Data) != size {
		return fmt.Errorf("has %d bytes of data, but shape %v of %s takes %d",
			len(t.Data), t.Shape, t.Type, size)
	}
	return nil
}

// dataSize returns how many bytes a tensor takes. A product that does not fit in an int is an
// error even if another dimension is zero, so that nothing later on can overflow.
func dataSize(t Type, shape []int64) (int, error) {
	size := uint64(t.Size())
	empty := false
	for i, n := range shape {
		if n < 0 {
			return 0, fmt.Errorf("has a negative size in dimension %d", i)
		}
		if n == 0 {
			empty = true
			continue
		}
		high, low := bits.Mul64(size, uint64(n))
		if high != 0 || low > math.MaxInt {
			return 0, errors.New("has a shape too large for this machine")
		}
		size = low
	}
	if empty {
		return 0, nil
	}
	return int(size), nil
}
