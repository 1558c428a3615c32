package console

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A view is the question that a URL asks: which app, which range, what is
// counted and by what it is cut.
//
//	app=NAME                    the first app if left out
//	range=24h|7d|30d|90d        30d if left out
//	from=DATE&to=DATE           instead of range: whole UTC days, both included
//	measure=events|sessions     events if left out
//	by=event_type|FIELD         event_type if left out
type view struct {
	plan     *plan.Plan
	preset   string // "" for a range of dates
	from, to time.Time
	now      time.Time
	measure  store.Measure
	by       string
}

// presets are the ranges that have a name. Each ends with the step under way.
var presets = []struct {
	key, short, long string
	steps            int
	step             time.Duration
}{
	{"24h", "24 h", "24 hours", 24, time.Hour},
	{"7d", "7 d", "7 days", 7, day},
	{"30d", "30 d", "30 days", 30, day},
	{"90d", "90 d", "90 days", 90, day},
}

const (
	day           = 24 * time.Hour
	defaultPreset = "30d"
	eventType     = "event_type"
	dateForm      = "2006-01-02"

	// maxDays bounds a range of dates: ten years, 522 steps of a week.
	maxDays = 3653
)

func bad(text string) error { return &problem{Code: http.StatusBadRequest, Text: text} }

// parseView reads the question of a URL. Parameters that it does not know are
// left alone, so that a link survives what mail programs add to it.
func parseView(q url.Values, plans []*plan.Plan, now time.Time) (*view, error) {
	p, err := chooseApp(q, plans)
	if err != nil {
		return nil, err
	}
	v := &view{plan: p, now: now.UTC(), by: eventType}
	if err := v.readRange(q); err != nil {
		return nil, err
	}
	switch q.Get("measure") {
	case "", "events":
	case "sessions":
		v.measure = store.Uniques
	default:
		return nil, bad("The measure must be events or sessions.")
	}
	if by := q.Get("by"); by != "" && by != eventType {
		if !grouped(p, by) {
			return nil, bad("The app's plan has no such field to group by.")
		}
		v.by = by
	}
	return v, nil
}

func chooseApp(q url.Values, plans []*plan.Plan) (*plan.Plan, error) {
	name := q.Get("app")
	for _, p := range plans {
		if name == "" || p.App == name {
			return p, nil
		}
	}
	return nil, &problem{Code: http.StatusNotFound, Text: "The collector has no such app."}
}

func (v *view) readRange(q url.Values) error {
	key, from, to := q.Get("range"), q.Get("from"), q.Get("to")
	if key == "" && (from != "" || to != "") {
		return v.readDates(from, to)
	}
	if key == "" {
		key = defaultPreset
	}
	for _, p := range presets {
		if p.key == key {
			v.preset = key
			v.to = v.now.Truncate(p.step).Add(p.step)
			v.from = v.to.Add(-time.Duration(p.steps) * p.step)
			return nil
		}
	}
	return bad("The range must be 24h, 7d, 30d or 90d, or two dates as from and to.")
}

func (v *view) readDates(from, to string) error {
	if from == "" || to == "" {
		return bad("A range of dates needs both its ends, from and to.")
	}
	first, err1 := time.Parse(dateForm, from)
	last, err2 := time.Parse(dateForm, to)
	if err1 != nil || err2 != nil {
		return bad("Dates are written as year, month and day, like 2026-01-31.")
	}
	if first.UnixMilli() < plan.MinTime || last.UnixMilli() >= plan.MaxTime {
		return bad("Dates must be between the years 2010 and 2099.")
	}
	if last.Before(first) {
		return bad("The range runs backwards: its first date must not be after its last.")
	}
	v.from, v.to = first, last.Add(day)
	if v.days() > maxDays {
		return bad("The range must not be longer than ten years.")
	}
	return nil
}

// grouped reports whether answers can be cut by a field of the session.
func grouped(p *plan.Plan, name string) bool {
	for _, f := range groups(p) {
		if f.Name == name {
			return true
		}
	}
	return false
}

// groups are the fields that get a card and can cut the chart: those of the
// session with few values. The cards are bounded, and so are a page's questions.
func groups(p *plan.Plan) []plan.Field {
	const most = 6
	var fields []plan.Field
	for _, kind := range []plan.Kind{plan.Enum, plan.Version, plan.System} {
		for _, f := range p.SessionColumns() {
			if f.Kind == kind && len(fields) < most {
				fields = append(fields, f)
			}
		}
	}
	return fields
}

func (v *view) days() int { return int(v.to.Sub(v.from) / day) }

// Step is the width of a chart's steps: hours as long as they can be told
// apart, days for up to a year, then weeks.
func (v *view) Step() time.Duration {
	switch days := v.days(); {
	case days <= 2:
		return time.Hour
	case days <= 366:
		return day
	default:
		return 7 * day
	}
}

// StepName is the word for Step.
func (v *view) StepName() string {
	switch v.Step() {
	case time.Hour:
		return "hour"
	case day:
		return "day"
	}
	return "week"
}

// before returns the range that this one is compared with: the same length just
// before it. Of a range that is still running only the part that has passed
// counts, so that a day begun is not held against a whole one. ok is false if
// none of the range has passed.
func (v *view) before() (from, to time.Time, ok bool) {
	end := v.to
	if v.now.Before(end) {
		end = v.now
	}
	length := v.to.Sub(v.from)
	return v.from.Add(-length), end.Add(-length), end.After(v.from)
}

// App is the name of the app.
func (v *view) App() string { return v.plan.App }

// Preset is the key of a range with a name, "" for a range of dates.
func (v *view) Preset() string { return v.preset }

// By is what the chart is cut by; Measure what is counted.
func (v *view) By() string { return v.by }

// Measure is the word for what the chart counts.
func (v *view) Measure() string {
	if v.measure == store.Uniques {
		return "sessions"
	}
	return "events"
}

// From is the first date and To the last, both included.
func (v *view) From() string { return v.from.Format(dateForm) }

// To is the last date of the range.
func (v *view) To() string { return v.to.Add(-1).Format(dateForm) }

// Custom reports whether the range is one of dates.
func (v *view) Custom() bool { return v.preset == "" }

// Name says the range in words.
func (v *view) Name() string {
	for _, p := range presets {
		if p.key == v.preset {
			return "the last " + p.long
		}
	}
	return v.Dates()
}

// Dates says a range of dates in words, as short as it can be said.
func (v *view) Dates() string {
	first, last := v.from, v.to.Add(-1)
	switch {
	case first.Format(dateForm) == last.Format(dateForm):
		return first.Format("2 Jan 2006")
	case first.Year() != last.Year():
		return first.Format("2 Jan 2006") + " – " + last.Format("2 Jan 2006")
	case first.Month() != last.Month():
		return first.Format("2 Jan") + " – " + last.Format("2 Jan 2006")
	}
	return first.Format("2") + "–" + last.Format("2 Jan 2006")
}

// Before says the range that this one is compared with.
func (v *view) Before() string {
	for _, p := range presets {
		if p.key == v.preset {
			return "the " + p.long + " before"
		}
	}
	if n := v.days(); n > 1 {
		return "the " + strconv.Itoa(n) + " days before"
	}
	return "the day before"
}

// URL is the address of this view.
func (v *view) URL() string { return home(v.query()) }

func (v *view) query() url.Values {
	q := url.Values{"app": {v.plan.App}}
	if v.preset != "" {
		q.Set("range", v.preset)
	} else {
		q.Set("from", v.From())
		q.Set("to", v.To())
	}
	if v.measure == store.Uniques {
		q.Set("measure", "sessions")
	}
	if v.by != eventType {
		q.Set("by", v.by)
	}
	return q
}

// LiveURL is where the latest events are polled from.
func (v *view) LiveURL() string {
	return "/console/live?" + url.Values{"app": {v.plan.App}}.Encode()
}

// Ranges are the links of the range picker.
func (v *view) Ranges() []choice {
	var list []choice
	for _, p := range presets {
		other := *v
		other.preset = p.key
		list = append(list, choice{Name: p.short, URL: other.URL(), Current: p.key == v.preset})
	}
	return list
}

// Groupings are the links that cut the chart another way.
func (v *view) Groupings() []choice {
	list := []choice{{Name: "Type", URL: v.groupedBy(eventType), Current: v.by == eventType}}
	for _, f := range groups(v.plan) {
		list = append(list, choice{Name: fieldName(f.Name), URL: v.groupedBy(f.Name), Current: v.by == f.Name})
	}
	return list
}

func (v *view) groupedBy(by string) string {
	other := *v
	other.by = by
	return other.URL()
}

func (v *view) measured(m store.Measure) string {
	other := *v
	other.measure = m
	return other.URL()
}
