package storetest

import (
	"slices"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// kinds is a plan with a field of every kind, in the session and beside it.
func kinds() *plan.Plan {
	every := func(prefix string, in plan.Place, session bool) []plan.Field {
		return []plan.Field{
			{Name: prefix + "enum", In: in, Kind: plan.Enum, Values: []string{"SW", "HW", "other mode"}, Session: session},
			{Name: prefix + "version", In: in, Kind: plan.Version, Session: session},
			{Name: prefix + "system", In: in, Kind: plan.System, Session: session},
			{Name: prefix + "random", In: in, Kind: plan.RandomID, Session: session},
			{Name: prefix + "bytes", In: in, Kind: plan.Bytes, Session: session},
			{Name: prefix + "count", In: in, Kind: plan.Count, Session: session},
			{Name: prefix + "seconds", In: in, Kind: plan.Seconds, Session: session},
			{Name: prefix + "ms", In: in, Kind: plan.Milliseconds, Session: session},
			{Name: prefix + "bucket", In: in, Kind: plan.Bucket, Bounds: []int64{10, 100}, Session: session},
			{Name: prefix + "when", In: in, Kind: plan.Timestamp, Session: session},
			{Name: prefix + "flag", In: in, Kind: plan.Flag, Session: session},
		}
	}
	return &plan.Plan{
		App: "kinds", Version: 1, Identity: "user_id",
		Fields: append([]plan.Field{
			{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp},
		}, every("s.", plan.UserProperties, true)...),
		Events: []plan.Event{
			{Name: "nothing"},
			{Name: "everything", Fields: every("e.", plan.EventProperties, false)},
		},
	}
}

// models is a plan as BlindAI's. Its app is called app.
func models(app string) *plan.Plan {
	return &plan.Plan{
		App: app, Version: 1, Identity: "user_id",
		Fields: []plan.Field{
			{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true},
			{Name: "app_version", In: plan.Top, Kind: plan.Version, Session: true},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp},
			{Name: "mode", In: plan.UserProperties, Kind: plan.Enum, Values: []string{"SW", "HW"}, Session: true},
			{Name: "uptime", In: plan.EventProperties, Kind: plan.Seconds},
		},
		Events: []plan.Event{
			{Name: "started"},
			{Name: "send_model", Fields: []plan.Field{{Name: "model_size", In: plan.EventProperties, Kind: plan.Bytes}}},
			{Name: "run_model"},
		},
	}
}

// change returns a deep enough copy of p after fn has changed it.
func change(p *plan.Plan, fn func(*plan.Plan)) *plan.Plan {
	c := *p
	c.Fields = slices.Clone(p.Fields)
	c.Events = slices.Clone(p.Events)
	for i := range c.Fields {
		c.Fields[i].Values = slices.Clone(c.Fields[i].Values)
		c.Fields[i].Bounds = slices.Clone(c.Fields[i].Bounds)
	}
	for i := range c.Events {
		c.Events[i].Fields = slices.Clone(c.Events[i].Fields)
	}
	fn(&c)
	return &c
}

// field returns the field of p called name, to be changed.
func field(p *plan.Plan, name string) *plan.Field {
	for i := range p.Fields {
		if p.Fields[i].Name == name {
			return &p.Fields[i]
		}
	}
	panic("test: no field " + name)
}
