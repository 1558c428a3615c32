package storetest

import (
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

func testDefine(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	f.wantList(store.Listing{})
	f.wantSeen(time.Time{})

	// The same plan again is what every start of a collector says.
	f.define(models("models"))
	f.reopen()
	f.define(models("models"))

	if err := f.Define(f.Context(), &plan.Plan{App: "empty"}); err == nil {
		t.Error("a plan that is not a plan was defined")
	}
	f.wantError("Append", f.Append(f.Context(), "nobody", nil), store.ErrUnknownApp)
	_, err := f.Ask(f.Context(), store.Question{App: "nobody", From: at(0, 0), To: at(1, 0)})
	f.wantError("Ask", err, store.ErrUnknownApp)
	_, err = list(f.Context(), f, store.Listing{App: "nobody"})
	f.wantError("List", err, store.ErrUnknownApp)
	_, err = f.Erase(f.Context(), "nobody", ids(ada))
	f.wantError("Erase", err, store.ErrUnknownApp)
	_, err = f.Holds(f.Context(), "nobody", ada)
	f.wantError("Holds", err, store.ErrUnknownApp)
	for _, err := range f.Seen(f.Context(), "nobody", time.Time{}) {
		f.wantError("Seen", err, store.ErrUnknownApp)
	}
}

func testDefineRefuses(t *testing.T, open Open) {
	stored := change(models("models"), func(p *plan.Plan) {
		p.Version = 2
		p.Fields = append(p.Fields, plan.Field{Name: "size", In: plan.EventProperties, Kind: plan.Bucket, Bounds: []int64{10, 100}})
	})
	f := newFixture(t, open, stored)
	r := f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0 mode=HW size=10-99")
	f.append(r)
	for name, fn := range map[string]func(*plan.Plan){
		"an older version":      func(p *plan.Plan) { p.Version = 1 },
		"another identity":      func(p *plan.Plan) { p.Identity, p.Fields[0].Name = "device_id", "device_id" },
		"a field is gone":       func(p *plan.Plan) { p.Fields = p.Fields[:len(p.Fields)-1] },
		"a kind has changed":    func(p *plan.Plan) { field(p, "uptime").Kind = plan.Milliseconds },
		"a place has changed":   func(p *plan.Plan) { field(p, "uptime").In = plan.UserProperties },
		"a field left sessions": func(p *plan.Plan) { field(p, "mode").Session = false },
		"a field is of session": func(p *plan.Plan) { field(p, "uptime").Session = true },
		"values have moved":     func(p *plan.Plan) { field(p, "mode").Values = []string{"HW", "SW"} },
		"a value is gone":       func(p *plan.Plan) { field(p, "mode").Values = []string{"SW"} },
		"bounds have changed":   func(p *plan.Plan) { field(p, "size").Bounds = []int64{10, 100, 1000} },
		"an event is gone":      func(p *plan.Plan) { p.Events = p.Events[:2] },
		"events have moved":     func(p *plan.Plan) { p.Events[0], p.Events[1] = p.Events[1], p.Events[0] },
		"a field of an event":   func(p *plan.Plan) { p.Events[1].Fields = nil },
	} {
		f.wantError("Define: "+name, f.Define(f.Context(), change(stored, fn)), store.ErrPlan)
	}
	f.wantList(store.Listing{}, r)
}

func testDefineExtends(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	old := f.record(ada, 0, "send_model", at(0, 1), "app_version=1.0.0 mode=SW uptime=5 model_size=7")
	f.append(old)

	// New columns of the session and of events, among the old ones.
	second := change(models("models"), func(p *plan.Plan) {
		p.Version = 2
		p.Fields[0].Doc = "a doc may change"
		field(p, "mode").Values = append(field(p, "mode").Values, "TDX")
		p.Fields = append(p.Fields[:2:2], append([]plan.Field{
			{Name: "system", In: plan.UserProperties, Kind: plan.System, Session: true},
			{Name: "trace", In: plan.EventProperties, Kind: plan.RandomID},
		}, p.Fields[2:]...)...)
		p.Events[0].Fields = []plan.Field{{Name: "cold", In: plan.EventProperties, Kind: plan.Flag}}
		p.Events = append(p.Events, plan.Event{Name: "delete_model"})
	})
	f.define(second)
	widened := f.record(ada, 0, "send_model", at(0, 1), "app_version=1.0.0 mode=SW uptime=5 model_size=7")
	f.wantList(store.Listing{}, widened)

	// The session of before is still the same one.
	same := f.record(ada, 1, "run_model", at(0, 2), "app_version=1.0.0 mode=SW")
	other := f.record(bob, 0, "delete_model", at(0, 3), "app_version=1.0.0 mode=TDX system=linux/arm64")
	cold := f.record(bob, 1, "started", at(0, 4), "app_version=1.0.0 mode=TDX system=linux/arm64 cold=true trace=0123456789abcdef0123456789abcdef")
	f.append(same, other, cold)
	f.wantList(store.Listing{}, widened, same, other, cold)
	f.reopen()
	f.wantList(store.Listing{}, widened, same, other, cold)
	f.define(second)

	// The same words in another order are the same columns.
	third := change(second, func(p *plan.Plan) {
		p.Version = 3
		p.Fields[2], p.Fields[3] = p.Fields[3], p.Fields[2]
		p.Fields[1], p.Fields[5] = p.Fields[5], p.Fields[1]
	})
	f.define(third)
	const values = "app_version=1.0.0 mode=TDX system=linux/arm64 cold=true trace=0123456789abcdef0123456789abcdef"
	f.wantList(store.Listing{ID: bob, Limit: 1, Newest: true}, f.record(bob, 1, "started", at(0, 4), values))
	f.append(f.record(bob, 2, "started", at(0, 5), values))
	f.wantErase(ids(bob), store.Erased{Events: 3, Sessions: 1})
}
