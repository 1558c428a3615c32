package collector

import (
	"testing"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// otherPlan is a plan unlike BlindAI's, of an app called name.
func otherPlan(t *testing.T, name string) *plan.Plan {
	t.Helper()
	p := &plan.Plan{
		App: name, Version: 1, Identity: "user_id",
		Fields: []plan.Field{
			{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp},
			{Name: "tier", In: plan.UserProperties, Kind: plan.Enum, Values: []string{"free", "paid"}, Session: true},
		},
		Events: []plan.Event{
			{Name: "bought", Fields: []plan.Field{{Name: "items", In: plan.EventProperties, Kind: plan.Count}}},
			{Name: "left"},
		},
	}
	if err := plan.Check(p); err != nil {
		t.Fatal(err)
	}
	return p
}
