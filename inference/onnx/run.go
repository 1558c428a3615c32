package onnx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	ort "github.com/yalue/onnxruntime_go"
)

// Run runs the model once and returns its outputs in the graph's order, each with its name.
//
// An input with a name is given to the graph's input of that name; the others fill the places that
// are left, in order. Run reads the data of inputs and keeps none of it; what it returns belongs
// to the caller. When ctx ends, the engine stops at the next node.
//
// Errors say which input is wrong and what the model wants, and never show data.
func (m *Model) Run(ctx context.Context, inputs []Tensor) ([]Tensor, error) {
	ordered, err := m.arrange(inputs)
	if err != nil {
		return nil, err
	}
	if err := m.acquire(); err != nil {
		return nil, err
	}
	defer m.release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}

	var pinner runtime.Pinner // the engine's tensors point into Go's memory
	defer pinner.Unpin()
	values := make([]ort.Value, len(ordered))
	defer func() { destroy(values) }()
	for i, t := range ordered {
		if values[i], err = newValue(t, &pinner); err != nil {
			return nil, fmt.Errorf("input %q: %w", m.inputs[i].Name, err)
		}
	}
	return m.settle(ctx, values)
}

// arrange checks the inputs and puts them into the graph's order.
func (m *Model) arrange(inputs []Tensor) ([]Tensor, error) {
	if len(inputs) != len(m.inputs) {
		return nil, fmt.Errorf("the model wants %d inputs (%s), and %d were given",
			len(m.inputs), m.wants(), len(inputs))
	}
	ordered := make([]Tensor, len(m.inputs))
	taken := make([]bool, len(m.inputs))
	for i, t := range inputs {
		if t.Name == "" {
			continue
		}
		at := slices.IndexFunc(m.inputs, func(in Info) bool { return in.Name == t.Name })
		if at < 0 {
			return nil, fmt.Errorf("input number %d has a name that the model does not have; it wants %s",
				i, m.wants())
		}
		if taken[at] {
			return nil, fmt.Errorf("input %q is given twice", m.inputs[at].Name)
		}
		ordered[at], taken[at] = t, true
	}
	next := 0
	for _, t := range inputs {
		if t.Name != "" {
			continue
		}
		for taken[next] { // as many places as inputs, so there is one left
			next++
		}
		ordered[next], taken[next] = t, true
	}
	for i, t := range ordered {
		if err := m.inputs[i].fits(t); err != nil {
			return nil, fmt.Errorf("input %q %w", m.inputs[i].Name, err)
		}
	}
	return ordered, nil
}

// wants lists the model's inputs for an error message.
func (m *Model) wants() string {
	var list []string
	for _, in := range m.inputs {
		list = append(list, fmt.Sprintf("%q %s %s", in.Name, in.Type, in.Shape()))
	}
	return strings.Join(list, ", ")
}

// settle runs the model until it is known which outputs are scalars.
//
// The binding lets the engine allocate outputs of any shape, but then loses those of rank 0, and
// refuses to preallocate outputs whose size it does not know. So scalars are preallocated and all
// others left to the engine, which is right at the first attempt wherever the file declares its
// outputs truly. It takes another one where the file leaves out a rank and the output turns out to
// be a scalar (remembered for the next run), or where a declared scalar is none.
func (m *Model) settle(ctx context.Context, inputs []ort.Value) ([]Tensor, error) {
	m.mu.Lock()
	scalars := slices.Clone(m.scalars)
	m.mu.Unlock()

	tried := make([]bool, len(m.outputs)) // as a scalar, after the engine had made it one
	cleared := false
	for {
		outputs, lost, err := m.attempt(ctx, inputs, scalars)
		switch {
		case err == nil:
			m.mu.Lock()
			m.scalars = scalars
			m.mu.Unlock()
			return outputs, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case lost >= 0 && m.outputs[lost].Ranked && !m.outputs[lost].scalar():
			// What the engine allocated for the outputs after this one is lost with it, so such
			// a model must not get many chances.
			err := fmt.Errorf("output %q came out as a scalar, but the model declares %s; "+
				"correct the declaration", m.outputs[lost].Name, m.outputs[lost].Shape())
			m.mu.Lock()
			m.lied = err
			m.mu.Unlock()
			return nil, err
		case lost >= 0 && !tried[lost]:
			scalars[lost], tried[lost] = true, true
		case lost < 0 && !cleared && slices.Contains(scalars, true):
			// The engine refused. Perhaps only because one of these is no scalar this time.
			clear(scalars)
			cleared = true
		default:
			return nil, err
		}
	}
}

// attempt runs the model once with the given outputs preallocated as scalars. If it fails because
// an output that the engine allocated is a scalar, lost is its number, otherwise -1.
//
// The binding then leaks what the engine allocated for the outputs after the lost one. That is why
// outputs of unknown rank are asked for last: a model with one of them loses nothing, and one with
// several loses something only when their ranks change between runs.
func (m *Model) attempt(ctx context.Context, inputs []ort.Value, scalars []bool) (outputs []Tensor, lost int, err error) {
	values := make([]ort.Value, len(m.order))
	defer func() { destroy(values) }()
	for place, i := range m.order {
		if scalars[i] {
			if values[place], err = newScalar(m.outputs[i].Type, nil); err != nil {
				return nil, -1, fmt.Errorf("output %q: %w", m.outputs[i].Name, err)
			}
		}
	}
	if err := m.call(ctx, inputs, values); err != nil {
		if errors.Is(err, ort.ZeroShapeLengthError) {
			for place, i := range m.order {
				if !scalars[i] && missing(values[place]) {
					return nil, i, engine(err)
				}
			}
		}
		return nil, -1, engine(err)
	}
	outputs = make([]Tensor, len(m.outputs))
	for place, i := range m.order {
		outputs[i], err = readValueOf(values[place])
		if err != nil {
			return nil, -1, fmt.Errorf("output %q %w", m.outputs[i].Name, err)
		}
		outputs[i].Name = m.outputs[i].Name
	}
	return outputs, -1, nil
}

// call hands a run to the engine and stops it when ctx ends.
func (m *Model) call(ctx context.Context, inputs, outputs []ort.Value) error {
	if ctx.Done() == nil {
		return m.session.Run(inputs, outputs)
	}
	options, err := ort.NewRunOptions()
	if err != nil {
		return err
	}
	defer options.Destroy()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		options.Terminate()
	})
	err = m.session.RunWithOptions(inputs, outputs, options)
	if !stop() {
		<-ended // options must outlive the call
	}
	return err
}
