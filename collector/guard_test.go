package collector

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// FuzzGuard holds that nothing gets past the guard that the plan does not
// declare: whatever was in the body, the export line of what is accepted has
// the declared names only, and each value is one that its kind takes.
func FuzzGuard(f *testing.F) {
	p := events.Plan()
	f.Add([]byte(event(idA, 0)))
	f.Add([]byte(`{"user_id":"` + idA + `","event_type":"send_model","event_properties":{"model_size":9007199254740992}}`))
	f.Add([]byte(`{"user_id":"01234567-89ab-cdef-0123-456789abcdef","event_type":"started","user_properties":{"$set":{"sgx_mode":"HW","x":"y"}},"insert_id":"é"}`))
	x := exporter{app: &App{Name: "blindai", Plan: p}}
	x.compile()
	allowed := map[string][]string{
		"": {"event_type", "$insert_id", "insert_id", "user_id", "event_time", "client_event_time", "server_received_time",
			"server_upload_time", "time", "app_version", "version_name", "device_id", "user_properties", "event_properties"},
		"user_properties":  {"sgx_mode"},
		"event_properties": {"uptime", "model_size"},
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		body := amplitude.AppendTail(amplitude.AppendEvent(amplitude.AppendHead(nil, "k"), 0, b))
		in, err := decodeWith(newGuard(p, new(refusedCounts)), body)
		if err != nil {
			return
		}
		for i := range in.records {
			rec := &in.records[i]
			var line map[string]any
			if err := json.Unmarshal(x.appendLine(nil, rec), &line); err != nil {
				t.Fatalf("the export line is not JSON: %v", err)
			}
			check := func(part string, m map[string]any) {
				for name, v := range m {
					if !slices.Contains(allowed[part], name) {
						t.Fatalf("the name %q got past the guard", name)
					}
					field, declared := p.Lookup(name)
					if s, isText := v.(string); declared && isText {
						if _, ok := field.FromString([]byte(s)); !ok {
							t.Fatalf("a value of %s that is not %s got past the guard", name, field.Kind.Rule())
						}
					}
				}
			}
			check("", line)
			check("user_properties", line["user_properties"].(map[string]any))
			check("event_properties", line["event_properties"].(map[string]any))
			if rec.ID == (plan.ID{}) {
				t.Fatal("an event without a sender got past the guard")
			}
		}
	})
}

// decodeWith reads a body for an app with the given guard.
func decodeWith(g *guard, body []byte) (*intake, error) {
	app := &App{Name: "blindai", Plan: g.plan}
	in := &intake{find: func([]byte) (*App, *guard) { return app, g }}
	var d amplitude.Decoder
	return in, in.decode(&d, body, 1_800_000_000_000)
}
