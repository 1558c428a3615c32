package inference

import (
	"fmt"

	"github.com/blindai-go/blindai/inference/onnx"
)

// An uploadReply is the answer to POST /upload.
type uploadReply struct {
	Hash    []byte `cbor:"hash"` // SHA-256 of the model
	ModelID string `cbor:"model_id"`
}

// A runReply is the answer to POST /run.
type runReply struct {
	Outputs []wireTensor `cbor:"outputs"`
}

// A wireTensor is a tensor as it is sent. Types go out by name, which clients accept as well as
// the numbers that they send themselves.
type wireTensor struct {
	Info struct {
		Fact      []int64 `cbor:"fact"`
		DatumType string  `cbor:"datum_type"`
		NodeName  string  `cbor:"node_name"`
	} `cbor:"info"`
	Data []byte `cbor:"bytes_data"`
}

// newRunReply makes the answer from a model's outputs.
func newRunReply(outputs []onnx.Tensor) runReply {
	reply := runReply{Outputs: make([]wireTensor, len(outputs))}
	for n, t := range outputs {
		w := &reply.Outputs[n]
		w.Info.Fact = append([]int64{}, t.Shape...) // an empty array for a scalar, not null
		w.Info.DatumType = t.Type.String()
		w.Info.NodeName = t.Name
		if t.Name == "" {
			w.Info.NodeName = fmt.Sprintf("output_%d", n)
		}
		w.Data = t.Data
	}
	return reply
}
