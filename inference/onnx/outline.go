package onnx

import (
	"errors"
	"fmt"
)

// An outline is what a model file says of itself: its inputs, its outputs, and whether it is
// whole. It is read here, from the file's protocol buffers, for three reasons: the binding tells
// inputs and outputs only of a second session that it builds from the same bytes, which doubles
// the time and memory of an upload; it cannot tell a scalar from an output of unknown rank; and it
// leaves out the names of dimensions, which make a message such as "the model wants [N 64]".
//
// Weights are stepped over, so reading an outline takes microseconds for a file of any size.
type outline struct {
	inputs   []Info
	outputs  []Info
	external bool // some weight is kept in another file
}

var (
	errMalformed = errors.New("the file is not an ONNX model")
	errNoOutputs = errors.New("the model has no outputs")
	errTooDeep   = errors.New("the model nests its graphs too deeply; flatten its loops and branches")
)

// maxDepth bounds how deeply messages may nest. Protocol buffers' own readers stop at 100, so no
// file that the engine accepts goes further.
const maxDepth = 100

// The numbers of the fields that are read, from the onnx.proto of the ONNX project.
const (
	modelGraph, modelFunction = 7, 25

	graphNode, graphInitializer, graphSparse = 1, 5, 15
	graphInput, graphOutput                  = 11, 12

	functionNode, functionAttribute = 7, 11

	nodeAttribute = 5

	attributeTensor, attributeGraph            = 5, 6
	attributeTensors, attributeGraphs          = 10, 11
	attributeSparse, attributeSparses          = 22, 23
	sparseValues, sparseIndices                = 1, 2
	tensorName, tensorExternal, tensorLocation = 8, 13, 14

	valueName, valueType      = 1, 2
	typeTensor, typeSequence  = 1, 4
	typeMap, typeSparse       = 5, 8
	typeOptional              = 9
	tensorElement, tensorDims = 1, 2
	shapeDim                  = 1
	dimValue, dimParam        = 1, 2
)

// readOutline reads the outline of a model file. The error is errMalformed only where the engine
// cannot read the file either. With errNoOutputs comes the outline of what there is.
func readOutline(file []byte) (*outline, error) {
	o := &outline{}
	weights := make(map[string]bool)
	err := eachField(file, func(f field) error {
		switch f.number {
		case modelGraph:
			return o.graph(f.bytes, 1, weights)
		case modelFunction:
			return eachField(f.bytes, func(f field) error {
				switch f.number {
				case functionNode:
					return o.node(f.bytes, 2)
				case functionAttribute:
					return o.attribute(f.bytes, 2)
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Older files list every weight as an input. Nobody has to give those.
	given := o.inputs[:0]
	for _, in := range o.inputs {
		if !weights[in.Name] {
			given = append(given, in)
		}
	}
	o.inputs = given
	if len(o.outputs) == 0 {
		return o, errNoOutputs
	}
	return o, nil
}

// graph reads a graph. Only the outermost one has weights to fill: inputs and outputs of the
// graphs inside are no business of the caller.
func (o *outline) graph(message []byte, depth int, weights map[string]bool) error {
	if depth > maxDepth {
		return errTooDeep
	}
	return eachField(message, func(f field) error {
		switch f.number {
		case graphNode:
			return o.node(f.bytes, depth+1)
		case graphInitializer:
			name, err := o.tensor(f.bytes)
			if weights != nil {
				weights[name] = true
			}
			return err
		case graphSparse:
			return o.sparse(f.bytes, weights)
		case graphInput:
			if weights == nil {
				return nil
			}
			in, err := readValue(f.bytes, "input")
			o.inputs = append(o.inputs, in)
			return err
		case graphOutput:
			if weights == nil {
				return nil
			}
			out, err := readValue(f.bytes, "output")
			o.outputs = append(o.outputs, out)
			return err
		}
		return nil
	})
}

// node looks for weights and graphs in a node's attributes.
func (o *outline) node(message []byte, depth int) error {
	return eachField(message, func(f field) error {
		if f.number == nodeAttribute {
			return o.attribute(f.bytes, depth+1)
		}
		return nil
	})
}

func (o *outline) attribute(message []byte, depth int) error {
	return eachField(message, func(f field) error {
		switch f.number {
		case attributeTensor, attributeTensors:
			_, err := o.tensor(f.bytes)
			return err
		case attributeGraph, attributeGraphs:
			return o.graph(f.bytes, depth+1, nil)
		case attributeSparse, attributeSparses:
			return o.sparse(f.bytes, nil)
		}
		return nil
	})
}

func (o *outline) sparse(message []byte, weights map[string]bool) error {
	return eachField(message, func(f field) error {
		switch f.number {
		case sparseValues:
			name, err := o.tensor(f.bytes)
			if weights != nil {
				weights[name] = true
			}
			return err
		case sparseIndices:
			_, err := o.tensor(f.bytes)
			return err
		}
		return nil
	})
}

// tensor returns the name of a weight and notes whether its data is elsewhere.
func (o *outline) tensor(message []byte) (name string, err error) {
	err = eachField(message, func(f field) error {
		switch f.number {
		case tensorName:
			name = string(f.bytes)
		case tensorExternal:
			o.external = true
		case tensorLocation:
			o.external = o.external || f.varint != 0
		}
		return nil
	})
	return name, err
}

// readValue reads the declaration of an input or output.
func readValue(message []byte, role string) (Info, error) {
	var info Info
	var kind string
	element := uint64(0)
	err := eachField(message, func(f field) error {
		switch f.number {
		case valueName:
			info.Name = string(f.bytes)
		case valueType:
			return eachField(f.bytes, func(f field) error {
				switch f.number {
				case typeTensor:
					return eachField(f.bytes, func(f field) error {
						switch f.number {
						case tensorElement:
							element = f.varint
						case tensorDims:
							info.Ranked = true
							return readShape(f.bytes, &info)
						}
						return nil
					})
				case typeSequence:
					kind = "a sequence"
				case typeMap:
					kind = "a map"
				case typeSparse:
					kind = "a sparse tensor"
				case typeOptional:
					kind = "optional"
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return info, err
	}
	if kind != "" {
		return info, fmt.Errorf("the model's %s %q is %s, and only tensors can travel; "+
			"export the model with tensors alone", role, info.Name, kind)
	}
	t, ok := typeOf(element)
	if !ok {
		stranger := strangers[element]
		if stranger == "" {
			stranger = "an unknown element type"
		}
		return info, fmt.Errorf("the model's %s %q holds %s, which cannot travel; "+
			"add a Cast to one of F32, F64, I8 to I64, U8 to U64 or Bool", role, info.Name, stranger)
	}
	info.Type = t
	return info, nil
}

func readShape(message []byte, info *Info) error {
	return eachField(message, func(f field) error {
		if f.number != shapeDim {
			return nil
		}
		dim := Dim{Size: -1}
		err := eachField(f.bytes, func(f field) error {
			switch f.number {
			case dimValue:
				// Some exporters write a negative size for one that each run chooses.
				dim = Dim{Size: max(int64(f.varint), -1)}
			case dimParam:
				dim = Dim{Size: -1, Name: string(f.bytes)}
			}
			return nil
		})
		info.Dims = append(info.Dims, dim)
		return err
	})
}
