package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// threeDays appends the events that the questions of testAsk are about.
func threeDays(f *fixture) {
	f.append(
		f.record(ada, 0, "started", at(0, 0), "app_version=1.0.0 mode=SW uptime=0"),
		f.record(ada, 1, "send_model", at(0, 6), "app_version=1.0.0 mode=SW uptime=10 model_size=100"),
		f.record(bob, 0, "started", at(0, 23), "app_version=1.1.0 mode=HW uptime=0"),
		f.record(ada, 2, "run_model", at(1, 0), "app_version=1.0.0 mode=SW uptime=10"),
		f.record(ada, 3, "run_model", at(1, 1), "app_version=1.0.0 mode=SW uptime=10"),
		f.record(bob, 1, "run_model", at(1, 2), "app_version=1.1.0 mode=HW"),
		f.record(cyd, 0, "started", at(2, 0), "mode=SW"),
		f.record(ada, 4, "run_model", at(3, 0), "app_version=1.0.0 mode=SW"), // after the range
	)
}

func testAsk(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	threeDays(f)
	const day = 24 * time.Hour
	for _, test := range []struct {
		name string
		q    store.Question
		want string
	}{
		{"events", store.Question{}, " 7: 7\n"},
		{"events a day", store.Question{Every: day}, " 7: 3 3 1\n"},
		{"events a day by type", store.Question{Every: day, By: "event_type"},
			"run_model 3: 0 3 0\nstarted 3: 2 0 1\nsend_model 1: 1 0 0\n"},
		{"senders", store.Question{Measure: store.Uniques}, " 3: 3\n"},
		{"senders a day are no sum", store.Question{Measure: store.Uniques, Every: day}, " 3: 2 2 1\n"},
		{"senders by version", store.Question{Measure: store.Uniques, By: "app_version", Every: day},
			"(none) 1: 0 0 1\n1.0.0 1: 1 1 0\n1.1.0 1: 1 1 0\n"},
		{"senders by mode", store.Question{Measure: store.Uniques, By: "mode"}, "SW 2: 2\nHW 1: 1\n"},
		{"senders of one event", store.Question{Measure: store.Uniques, Event: "run_model", Every: day}, " 2: 0 2 0\n"},
		{"events by mode", store.Question{By: "mode"}, "SW 5: 5\nHW 2: 2\n"},
		{"events by a number", store.Question{By: "uptime"}, "10 3: 3\n(none) 2: 2\n0 2: 2\n"},
		{"events by a size", store.Question{By: "model_size", Event: "send_model"}, "100 1: 1\n"},
		{"one event", store.Question{Event: "started", Every: day}, " 3: 2 0 1\n"},
		{"one event by type", store.Question{Event: "started", By: "event_type"}, "started 3: 3\n"},
		{"limit", store.Question{By: "event_type", Limit: 2}, "run_model 3: 3\nstarted 3: 3\n"},
		{"limit 1 of equals, by label", store.Question{By: "app_version", Measure: store.Uniques, Limit: 1}, "(none) 1: 1\n"},
		{"from is included", store.Question{From: at(1, 0), To: at(1, 1)}, " 1: 1\n"},
		{"to is not", store.Question{From: at(0, 0), To: at(1, 0)}, " 3: 3\n"},
		{"parts of a millisecond", store.Question{From: at(0, 0).Add(1), To: at(1, 0).Add(1)}, " 3: 3\n"},
		{"the last step is short", store.Question{From: at(0, 0), To: at(1, 2), Every: day}, " 5: 3 2\n"},
		{"a step longer than the range", store.Question{From: at(0, 0), To: at(1, 0), Every: 400 * day}, " 3: 3\n"},
		{"steps begin where the range does", store.Question{From: at(0, 12), To: at(2, 12), Every: day}, " 5: 4 1\n"},
		{"nothing there", store.Question{From: at(10, 0), To: at(20, 0), Every: day}, ""},
		{"nothing by", store.Question{From: at(10, 0), To: at(20, 0), By: "app_version"}, ""},
		{"all of time", store.Question{From: time.Unix(0, 0), To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, " 8: 8\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := *f
			g.T = t
			if test.q.From.IsZero() {
				test.q.From, test.q.To = at(0, 0), at(3, 0)
			}
			if got := g.ask(test.q); got != test.want {
				t.Errorf("got:\n%swant:\n%s", got, test.want)
			}
		})
	}
}

// testAskRefinesSteps checks where steps start, and the sum over fine ones.
func testAskRefinesSteps(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	threeDays(f)
	zone := time.FixedZone("east", 2*3600)
	a, err := f.Ask(f.Context(), store.Question{App: "models", From: at(0, 0).In(zone), To: at(366, 0), Every: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Starts) != store.MaxSteps || len(a.Series) != 1 || a.Series[0].Total != 8 {
		t.Fatalf("got %d steps and %d series", len(a.Starts), len(a.Series))
	}
	sum := int64(0)
	for i, n := range a.Series[0].Values {
		if want := at(0, i); !a.Starts[i].Equal(want) || a.Starts[i].Location() != time.UTC {
			t.Fatalf("step %d starts at %v, want %v", i, a.Starts[i], want)
		}
		sum += n
	}
	if sum != 8 {
		t.Errorf("the steps add up to %d, want 8", sum)
	}
}

func testAskEveryKind(t *testing.T, open Open) {
	f := newFixture(t, open, kinds())
	values := map[string]string{
		"enum": "HW", "version": "1.2.3-rc.1", "system": "linux/amd64", "random": "0123456789abcdef0123456789abcdef",
		"bytes": "9007199254740991", "count": "1", "seconds": "2", "ms": "3", "bucket": "10-99",
		"when": "1772323200000", "flag": "true",
	}
	text := ""
	for name, value := range values {
		text += fmt.Sprintf("s.%s=%s e.%s=%s ", name, value, name, value)
	}
	f.append(
		f.record(ada, 0, "everything", at(0, 0), text),
		f.record(ada, 1, "everything", at(0, 1), text),
		f.record(bob, 0, "nothing", at(0, 2), ""),
	)
	for name, value := range values {
		for _, prefix := range []string{"s.", "e."} {
			q := store.Question{From: at(0, 0), To: at(1, 0), By: prefix + name}
			if got, want := f.ask(q), value+" 2: 2\n(none) 1: 1\n"; got != want {
				t.Errorf("events by %s: got %q, want %q", q.By, got, want)
			}
			q.Measure = store.Uniques
			if got, want := f.ask(q), "(none) 1: 1\n"+value+" 1: 1\n"; got != want {
				t.Errorf("senders by %s: got %q, want %q", q.By, got, want)
			}
		}
	}
	f.append(f.record(cyd, 0, "everything", at(0, 3), "e.random=01234567-89ab-cdef-0123-456789abcdef e.flag=false e.bucket=0-9"))
	for by, want := range map[string]string{
		"e.random": "0123456789abcdef0123456789abcdef 2: 2\n(none) 1: 1\n01234567-89ab-cdef-0123-456789abcdef 1: 1\n",
		"e.flag":   "true 2: 2\n(none) 1: 1\nfalse 1: 1\n",
		"e.bucket": "10-99 2: 2\n(none) 1: 1\n0-9 1: 1\n",
	} {
		if got := f.ask(store.Question{From: at(0, 0), To: at(1, 0), By: by}); got != want {
			t.Errorf("by %s: got %q, want %q", by, got, want)
		}
	}
}

func testAskRefuses(t *testing.T, open Open) {
	f := newFixture(t, open, models("models"))
	f.define(change(models("models"), func(p *plan.Plan) {
		p.Fields = append(p.Fields, plan.Field{Name: "added", In: plan.EventProperties, Kind: plan.Count})
	}))
	for name, spoil := range map[string]func(*store.Question){
		"an empty range":      func(q *store.Question) { q.To = q.From },
		"no range":            func(q *store.Question) { q.From, q.To = time.Time{}, time.Time{} },
		"a range turned":      func(q *store.Question) { q.From, q.To = q.To, q.From },
		"too many steps":      func(q *store.Question) { q.To = q.From.Add((store.MaxSteps + 1) * time.Hour) },
		"far too many steps":  func(q *store.Question) { q.From = time.Unix(0, 0); q.Every = time.Millisecond },
		"a step below 0":      func(q *store.Question) { q.Every = -time.Hour },
		"a step of a moment":  func(q *store.Question) { q.Every = time.Microsecond },
		"a limit below 0":     func(q *store.Question) { q.Limit = -1 },
		"an unknown measure":  func(q *store.Question) { q.Measure = 99 },
		"an unknown event":    func(q *store.Question) { q.Event = "stopped" },
		"an unknown field":    func(q *store.Question) { q.By = "country" },
		"the identity":        func(q *store.Question) { q.By = "user_id" },
		"the time":            func(q *store.Question) { q.By = "time" },
		"a store's column":    func(q *store.Question) { q.By = "_sender" },
		"a field in capitals": func(q *store.Question) { q.By = "MODE" },
		"an injection":        func(q *store.Question) { q.By = `mode" FROM x; --` },
	} {
		q := store.Question{App: "models", From: at(0, 0), To: at(1, 0), Every: time.Hour}
		spoil(&q)
		_, err := f.Ask(f.Context(), q)
		f.wantError("Ask: "+name, err, store.ErrQuestion)
	}
	if got := f.ask(store.Question{From: at(0, 0), To: at(1, 0), By: "added"}); got != "" {
		t.Errorf("got %q", got)
	}
}
