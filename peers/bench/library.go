package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/amplitude/analytics-go/amplitude"
	"github.com/posthog/posthog-go"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/telemetry"
)

// What is recorded: a model of some size was uploaded. The other libraries send
// this and an id of the sender; ours sends BlindAI's whole event, with version,
// system, mode and uptime besides.
const (
	eventName = "send_model"
	sizeField = "model_size"
	senderID  = "0f9d3c1e-2b4a-4c8d-9e6f-7a5b1c2d3e4f"
	apiKey    = "0123456789abcdef0123456789abcdef"
)

const (
	amplitudePath = "/2/httpapi"
	postHogPath   = "/batch/"
)

// A Recorder is an open client of a library.
type Recorder interface {
	// Record notes that a model of size bytes was uploaded. Whether the event
	// is kept is not said; it is counted where it arrives.
	Record(size int64)

	// Close ends the client in the way that its documentation asks for, at its
	// default settings.
	Close() error
}

// A Library is one way to record events.
type Library struct {
	Name   string
	Module string // "" for ours

	// Round is how many events the library takes at once without a drop, at its
	// default settings, as a multiple of its batch.
	Round int

	// Open starts a client that delivers to an endpoint. dir is a state folder,
	// the same for two starts of one program.
	Open func(endpoint, dir string) (Recorder, error)
}

// The libraries that deliver events.
var (
	Telemetry = Library{
		Name:  "telemetry, state folder",
		Round: 100_000,
		Open:  func(endpoint, dir string) (Recorder, error) { return openTelemetry(endpoint, dir, 0) },
	}
	TelemetryMemory = Library{
		Name:  "telemetry, memory",
		Round: 100_000,
		Open:  func(endpoint, _ string) (Recorder, error) { return openTelemetry(endpoint, "", 0) },
	}
	Analytics = Library{
		Name:   "analytics-go",
		Module: "github.com/amplitude/analytics-go",
		Round:  10_000,
		Open:   func(endpoint, _ string) (Recorder, error) { return openAnalytics(endpoint), nil },
	}
	PostHog = Library{
		Name:   "posthog-go",
		Module: "github.com/posthog/posthog-go",
		Round:  10_000,
		Open:   func(endpoint, _ string) (Recorder, error) { return openPostHog(endpoint) },
	}
)

// Libraries lists them, ours first.
var Libraries = []Library{Telemetry, TelemetryMemory, Analytics, PostHog}

type telemetryRecorder struct{ events *events.Events }

// openTelemetry looks for new events at the given interval; 0 is the default.
func openTelemetry(endpoint, stateDir string, interval time.Duration) (telemetryRecorder, error) {
	r := telemetryRecorder{events.New()}
	err := r.events.Open(events.Software, telemetry.Config{
		Version:  "1.0.0",
		URL:      endpoint + amplitudePath,
		APIKey:   apiKey,
		StateDir: stateDir,
		Interval: interval,
		// Whoever measures may have telemetry switched off, as in CI.
		Getenv: func(string) string { return "" },
	})
	if err != nil {
		return r, fmt.Errorf("open telemetry: %w", err)
	}
	if d := r.events.Client().Decision(); !d.On {
		return r, fmt.Errorf("open telemetry: it is off: %s", d.Reason)
	}
	return r, nil
}

func (r telemetryRecorder) Record(size int64) { r.events.SendModel(size) }

func (r telemetryRecorder) Close() error { return r.events.Close(context.Background()) }

type analyticsRecorder struct{ client amplitude.Client }

func openAnalytics(endpoint string) analyticsRecorder {
	config := amplitude.NewConfig(apiKey)
	config.ServerURL = endpoint + amplitudePath
	config.Logger = silent{}
	return analyticsRecorder{amplitude.NewClient(config)}
}

func (r analyticsRecorder) Record(size int64) {
	r.client.Track(amplitude.Event{
		EventType:       eventName,
		EventOptions:    amplitude.EventOptions{UserID: senderID},
		EventProperties: map[string]any{sizeField: size},
	})
}

func (r analyticsRecorder) Close() error {
	r.client.Flush()
	r.client.Shutdown()
	return nil
}

type postHogRecorder struct{ client posthog.Client }

func openPostHog(endpoint string) (postHogRecorder, error) {
	client, err := posthog.NewWithConfig(apiKey, posthog.Config{Endpoint: endpoint, Logger: silent{}})
	return postHogRecorder{client}, err
}

// Record ignores the error: it is one of the event's form, not of its fate.
func (r postHogRecorder) Record(size int64) {
	r.client.Enqueue(posthog.Capture{
		DistinctId: senderID,
		Event:      eventName,
		Properties: posthog.Properties{sizeField: size},
	})
}

func (r postHogRecorder) Close() error { return r.client.Close() }

// silent is a log of both libraries that writes nothing. By default they write
// to standard error, analytics-go a line for each event.
type silent struct{}

func (silent) Debugf(string, ...any) {}
func (silent) Infof(string, ...any)  {}
func (silent) Warnf(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Logf(string, ...any)   {}
