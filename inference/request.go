package inference

import (
	"fmt"

	"github.com/blindai-go/blindai/inference/onnx"
)

// An uploadRequest is the body of POST /upload. The model's name and client_info are not in it:
// they are looked at to see that the request is what it should be, and forgotten.
type uploadRequest struct {
	model    []byte
	length   uint64 // what the client says the size is
	optimize bool
}

// A runRequest is the body of POST /run.
type runRequest struct {
	modelID   string
	modelHash string // hexadecimal
	inputs    []onnx.Tensor
}

// A deleteRequest is the body of POST /delete.
type deleteRequest struct {
	modelID string
}

// readUpload reads the body of an upload. The model may be part of the body, not a copy.
func readUpload(body []byte) (r uploadRequest, err error) {
	err = readRequest(body, fields{
		"model": func(i item) (err error) {
			r.model, err = i.octets()
			return err
		},
		"length":     number(&r.length),
		"model_name": text(new(string)),
		"optimize":   flag(&r.optimize),
	})
	return r, err
}

// readRun reads the body of a run with up to maxInputs tensors. Their data may be part of the body.
func readRun(body []byte, maxInputs int) (r runRequest, err error) {
	err = readRequest(body, fields{
		"model_id":   text(&r.modelID),
		"model_hash": text(&r.modelHash),
		"inputs": func(i item) error {
			return i.eachElement(func(i item) error {
				if len(r.inputs) == maxInputs {
					return fmt.Errorf("has more than %d tensors", maxInputs)
				}
				t, err := readTensor(i)
				if err != nil {
					return within(fmt.Sprintf("[%d]", len(r.inputs)), err)
				}
				r.inputs = append(r.inputs, t)
				return nil
			})
		},
	})
	return r, err
}

// readDelete reads the body of a delete.
func readDelete(body []byte) (r deleteRequest, err error) {
	err = readRequest(body, fields{"model_id": text(&r.modelID)})
	return r, err
}

// readTensor reads one tensor of a run.
func readTensor(i item) (t onnx.Tensor, err error) {
	err = readMap(i, fields{
		"bytes_data": func(i item) (err error) {
			t.Data, err = i.octets()
			return err
		},
		"info": func(i item) error {
			return readMap(i, fields{
				"fact":       shape(&t.Shape),
				"datum_type": datumType(&t.Type),
				"node_name": func(i item) error {
					if i.null() {
						return nil
					}
					return text(&t.Name)(i)
				},
			}, "node_name")
		},
	})
	return t, err
}
