package telemetrytest

import (
	"testing"

	"github.com/blindai-go/blindai/telemetry"
)

func TestOpen(t *testing.T) {
	t.Setenv("DO_NOT_TRACK", "1") // a developer's own choice must not change tests
	c := telemetry.New("coffee", 1)
	brewed := telemetry.NewEvent1(c, "brewed", "A cup was brewed.", telemetry.CountField("sugar", "Lumps of sugar."))
	rec := Open(t, c)
	brewed.Record(2)
	brewed.Record(0)
	events := rec.Events()
	if len(events) != 2 {
		t.Fatalf("got %d events, want 2", len(events))
	}
	if e := events[0]; e.Type != "brewed" || e.EventProperties["sugar"] != "2" || e.Top["user_id"] == "" {
		t.Errorf("got %+v, want brewed with 2 lumps of sugar", e)
	}
}
