// Package events holds every fact that BlindAI can say about its use.
//
// It is short on purpose: whoever wants to know what leaves the machine reads
// this file. The plan that it declares is written to plan.json, which the
// collector, the documents and the console are made from; a test fails when the
// two differ. What is not declared here cannot be sent, because a value of an
// event is a number of some kind and never a text.
//
// Make one Events for each run of the server, open it, and record:
//
//	e := events.New()
//	err := e.Open(events.Software, telemetry.Config{...})
//	defer e.Close(ctx)
//	e.Started()
package events

import (
	"context"
	_ "embed"

	"github.com/blindai-go/blindai/telemetry"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// App is the name of BlindAI's app at a collector.
const App = "blindai"

// DisableVar switches telemetry off, beside DO_NOT_TRACK.
const DisableVar = "BLINDAI_DISABLE_TELEMETRY"

// A Mode tells where models run. It is all that is collected about the machine,
// beside the system.
type Mode uint8

const (
	Software Mode = iota // an ordinary process
	Hardware             // a trusted execution environment
)

// Events records what happens in one run of the server. Its methods are safe
// for concurrent use and never wait or fail; those of a nil *Events do nothing.
type Events struct {
	client    *telemetry.Client
	mode      telemetry.Session[Mode]
	started   telemetry.Event0
	sendModel telemetry.Event1[telemetry.Bytes]
	runModel  telemetry.Event0
}

// New declares the plan.
func New() *Events {
	c := telemetry.New(App, 1)
	return &Events{
		client: c,
		mode: telemetry.NewSession(c, telemetry.EnumField[Mode]("sgx_mode",
			"Whether BlindAI runs in software mode (SW) or in hardware mode (HW).", "SW", "HW")),
		started: telemetry.NewEvent(c, "started",
			"The server has started."),
		sendModel: telemetry.NewEvent1(c, "send_model",
			"A model was uploaded.", telemetry.BytesField("model_size", "Size of the uploaded model, in bytes.")),
		runModel: telemetry.NewEvent(c, "run_model",
			"A model was run."),
	}
}

// Open starts the session of a server that runs in the given mode. BlindAI's
// own names of variables are filled in; the rest of cfg is the caller's.
func (e *Events) Open(mode Mode, cfg telemetry.Config) error {
	cfg.EnvVar = DisableVar
	e.SetMode(mode)
	return e.client.Open(cfg)
}

// SetMode sets the mode for a preview of what would be sent. Open does it by
// itself.
func (e *Events) SetMode(mode Mode) { e.mode.Set(mode) }

// Close sends what waits, within the deadline of ctx.
func (e *Events) Close(ctx context.Context) error { return e.client.Close(ctx) }

// Client gives access to the state of telemetry: its decision, its counts and
// the session's secret.
func (e *Events) Client() *telemetry.Client { return e.client }

// Started notes that the server is ready.
func (e *Events) Started() {
	if e != nil {
		e.started.Record()
	}
}

// SendModel notes that a model of size bytes was uploaded.
func (e *Events) SendModel(size int64) {
	if e != nil {
		e.sendModel.Record(telemetry.Bytes(size))
	}
}

// RunModel notes that a model was run.
func (e *Events) RunModel() {
	if e != nil {
		e.runModel.Record()
	}
}

//go:embed plan.json
var planJSON []byte

// Plan returns BlindAI's plan, as published in plan.json.
func Plan() *plan.Plan {
	p, err := plan.Parse(planJSON)
	if err != nil {
		panic("events: plan.json: " + err.Error()) // TestPlan keeps it in step
	}
	return p
}
