package amplitude

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "plain", `q"b\`, "\x00\x1f\n", "é"} {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil || back != s {
			t.Errorf("%q is read back as %q, %v", s, back, err)
		}
	}
}

func TestRequestIsJSON(t *testing.T) {
	b := AppendHead(nil, `k"`)
	b = AppendEvent(b, 0, []byte(`{"event_type":"a"}`))
	b = AppendEvent(b, 1, []byte(`{"event_type":"b"}`))
	b = AppendTail(b)
	if got, want := string(b), `{"api_key":"k\"","events":[{"event_type":"a"},{"event_type":"b"}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAppendOK(t *testing.T) {
	got := string(AppendOK(nil, 50, 5120, 1396381378123))
	want := `{"code":200,"events_ingested":50,"payload_size_bytes":5120,"server_upload_time":1396381378123}`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNamed(t *testing.T) {
	r := ParseResponse([]byte(`{"code":400,"events_with_invalid_fields":{"time":[3,1]},"events_with_missing_fields":{"x":[3]},
		"events_with_invalid_id_lengths":{"user_id":[0]},"silenced_events":[4,99,-1]}`))
	if got, want := r.Named(5), []int{0, 1, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	garbage := ParseResponse([]byte(`<html>`))
	if garbage.Code != 0 || garbage.Named(5) != nil {
		t.Error("garbage names events")
	}
}
