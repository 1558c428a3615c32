package onnx

import (
	"fmt"
	"strconv"
	"strings"
)

// Info describes one input or output of a model, as its file declares it.
type Info struct {
	Name   string
	Type   Type
	Ranked bool  // false if the file does not say how many dimensions there are
	Dims   []Dim // none for a scalar, and none where Ranked is false
}

// Dim is one dimension: a fixed size, or one that each run chooses.
type Dim struct {
	Size int64  // -1 if each run chooses
	Name string // of a size that each run chooses, such as N; often empty
}

// Shape returns the dimensions for people: [N 64], [] for a scalar, [? 10] where a size has no
// name, and "any shape" where the file does not say.
func (i Info) Shape() string {
	if !i.Ranked {
		return "any shape"
	}
	dims := make([]string, len(i.Dims))
	for j, d := range i.Dims {
		switch {
		case d.Size >= 0:
			dims[j] = strconv.FormatInt(d.Size, 10)
		case d.Name != "":
			dims[j] = d.Name
		default:
			dims[j] = "?"
		}
	}
	return "[" + strings.Join(dims, " ") + "]"
}

// scalar reports whether the file declares rank 0.
func (i Info) scalar() bool { return i.Ranked && len(i.Dims) == 0 }

// fits reports whether t may be given for this input. The caller names the input.
func (i Info) fits(t Tensor) error {
	if err := t.check(); err != nil {
		return err
	}
	if t.Type != i.Type {
		return fmt.Errorf("has type %s, the model wants %s", t.Type, i.Type)
	}
	if !i.Ranked {
		return nil
	}
	wrong := len(t.Shape) != len(i.Dims)
	for j := 0; !wrong && j < len(i.Dims); j++ {
		wrong = i.Dims[j].Size >= 0 && i.Dims[j].Size != t.Shape[j]
	}
	if wrong {
		return fmt.Errorf("has shape %v, the model wants %s", t.Shape, i.Shape())
	}
	return nil
}
