package onnx

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// ErrClosed is returned by Run after Close.
var ErrClosed = errors.New("the model is closed")

// A Model is a graph that is ready to run. It is safe for concurrent use.
type Model struct {
	inputs  []Info
	outputs []Info
	// order says which output the engine is asked for at each place: those of unknown rank come
	// last. See Run.
	order []int

	mu      sync.Mutex // guards what follows
	session *ort.DynamicAdvancedSession
	runs    int // under way
	closed  bool
	lied    error  // why it is not run any more; see settle
	scalars []bool // by output: what the last run found, tried first by the next
}

// Load prepares the model in file, which is not kept. With optimize the engine may rewrite the
// graph to run faster, which takes longer now. A file that is not an ONNX model is refused in the
// engine's words.
func (r *Runtime) Load(file []byte, optimize bool) (*Model, error) {
	if len(file) == 0 {
		return nil, errMalformed
	}
	outline, err := readOutline(file)
	if err != nil && err != errMalformed && err != errNoOutputs {
		return nil, err
	}
	if outline != nil && outline.external {
		return nil, errors.New("the model keeps weights in other files; save it as one file")
	}
	if err != nil {
		// The engine says best what is wrong with such a file. In the unlikely case that it finds
		// nothing, the file is refused all the same.
		session, refused := newSession(file, nil, nil, optimize)
		if refused != nil {
			return nil, refused
		}
		session.Destroy()
		return nil, err
	}
	if len(outline.inputs) == 0 {
		return nil, errors.New("the model has no inputs, so it gives the same answer every time")
	}

	m := &Model{
		inputs:  outline.inputs,
		outputs: outline.outputs,
		scalars: make([]bool, len(outline.outputs)),
	}
	for i, out := range m.outputs {
		m.order = append(m.order, i)
		m.scalars[i] = out.scalar()
	}
	slices.SortStableFunc(m.order, func(a, b int) int {
		return rankUnknown(m.outputs[a]) - rankUnknown(m.outputs[b])
	})
	var asks, gives []string
	for _, in := range m.inputs {
		asks = append(asks, in.Name)
	}
	for _, i := range m.order {
		gives = append(gives, m.outputs[i].Name)
	}
	m.session, err = newSession(file, asks, gives, optimize)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func rankUnknown(i Info) int {
	if i.Ranked {
		return 0
	}
	return 1
}

// newSession lets the engine prepare a graph.
func newSession(file []byte, inputs, outputs []string, optimize bool) (*ort.DynamicAdvancedSession, error) {
	options, err := ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("prepare the model: %w", engine(err))
	}
	defer options.Destroy()
	level := ort.GraphOptimizationLevel(ort.GraphOptimizationLevelDisableAll)
	if optimize {
		level = ort.GraphOptimizationLevelEnableAll
	}
	err = errors.Join(
		options.SetGraphOptimizationLevel(level),
		options.SetLogSeverityLevel(ort.LoggingLevelFatal),
		// The engine has a format of its own, which readOutline does not look into.
		options.AddSessionConfigEntry("session.load_model_format", "ONNX"),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare the model: %w", err)
	}
	session, err := ort.NewDynamicAdvancedSessionWithONNXData(file, inputs, outputs, options)
	if err != nil {
		return nil, engine(err)
	}
	return session, nil
}

// Inputs describes what has to be given to Run, in the graph's order.
func (m *Model) Inputs() []Info { return slices.Clone(m.inputs) }

// Outputs describes what Run gives back, in the graph's order.
func (m *Model) Outputs() []Info { return slices.Clone(m.outputs) }

// Close makes every later Run return ErrClosed and frees the graph: at once if no run is under
// way, otherwise when the last of them ends. It does not wait, and may be called more than once.
func (m *Model) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.free()
}

// acquire keeps the graph alive until release.
func (m *Model) acquire() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if m.lied != nil {
		return m.lied
	}
	m.runs++
	return nil
}

func (m *Model) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs--
	m.free()
}

// free frees the graph if nobody needs it any more. The caller holds m.mu.
func (m *Model) free() {
	if m.closed && m.runs == 0 && m.session != nil {
		m.session.Destroy()
		m.session = nil
	}
}
