package inference

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/inference/enclave"
	"github.com/blindai-go/blindai/inference/onnx"
)

// The addresses that a zero Config listens on. Clients of BlindAI expect these ports.
const (
	DefaultUnattestedAddr = ":9923"
	DefaultRunAddr        = ":9924"
	DefaultManageAddr     = "127.0.0.1:9925"
)

// Config says how to serve. Its zero value works.
type Config struct {
	UnattestedAddr string // plain HTTP: the certificate
	RunAddr        string // TLS: inference
	ManageAddr     string // TLS: upload and delete

	Limits Limits

	Platform enclave.Platform // what the server runs in; nil is enclave.Software
	Runtime  *onnx.Runtime    // the engine; nil finds and opens the library
	Events   *events.Events   // told what happens; nil tells nobody
	Logger   *slog.Logger     // nil logs nothing
}

// Limits bounds what a request can cost. A zero field stands for its default.
type Limits struct {
	// ModelBytes is the largest model, 1,000,000,000 by default as in the original, which held
	// only the size that the client claims against it; here the real one counts as well. A model
	// sent as an array of integers takes up to twice as many bytes on the wire, so the body of
	// an upload, and of all uploads that are being read at the same time, may be
	// 2*ModelBytes + 1 MiB.
	ModelBytes int64

	// RunBytes is the largest body of a run, 256 MiB by default: a batch of 400 colour pictures
	// of 224x224 in F32. The original had no limit.
	RunBytes int64

	// PendingBytes bounds the bodies of all runs that are being read or run, 1 GiB by default.
	// It must be at least RunBytes. A run beyond it is refused, not made to wait, because slow
	// senders could otherwise keep everybody out.
	PendingBytes int64

	// Inputs is how many tensors a run may bring, 1,024 by default.
	Inputs int

	// Runs is how many runs the engine works on at a time, 64 by default; others wait for their
	// turn. Each takes a thread, and the Go runtime ends a process that has ten thousand.
	Runs int
}

// maxRank bounds the dimensions of a tensor. It is what numpy allows, and no model known in
// November 2026 has more than eight.
const maxRank = 64

// withDefaults fills in each zero field and names the first field that makes no sense.
func (c Config) withDefaults() (Config, error) {
	set(&c.UnattestedAddr, DefaultUnattestedAddr)
	set(&c.RunAddr, DefaultRunAddr)
	set(&c.ManageAddr, DefaultManageAddr)
	set(&c.Logger, slog.New(slog.DiscardHandler))
	if c.Platform == nil {
		c.Platform = enclave.Software{}
	}

	l := &c.Limits
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"ModelBytes", l.ModelBytes}, {"RunBytes", l.RunBytes}, {"PendingBytes", l.PendingBytes},
		{"Inputs", int64(l.Inputs)}, {"Runs", int64(l.Runs)},
	} {
		if f.value < 0 {
			return c, fmt.Errorf("limit %s is negative; leave it at zero for the default", f.name)
		}
	}
	set(&l.ModelBytes, 1_000_000_000)
	set(&l.RunBytes, 256<<20)
	set(&l.PendingBytes, max(1<<30, l.RunBytes))
	set(&l.Inputs, 1024)
	set(&l.Runs, 64)
	if l.PendingBytes < l.RunBytes {
		return c, errors.New("limit PendingBytes is below RunBytes, so the largest run could never be read")
	}

	if c.Runtime == nil {
		library, err := onnx.Find()
		if err != nil {
			return c, err
		}
		if c.Runtime, err = onnx.Open(library); err != nil {
			return c, err
		}
	}
	return c, nil
}

// set gives a field its default if it has none.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
