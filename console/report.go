package console

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A report is all that the page shows of a view.
type report struct {
	Tiles []tile
	Main  chart
	Cards []card
	Note  string // what a session is
}

// A tile is a headline number.
type tile struct {
	Title   string
	Value   string
	Change  string // "+12.5%", or "" if there is nothing to compare with
	Up      bool
	Down    bool
	Note    string
	URL     string // switches the chart to this measure, or ""
	Current bool
}

// A chart is drawn from the table that it is rendered as, so that both say the
// same, and readers without the picture lose nothing.
type chart struct {
	ID      string
	Title   string
	Summary string
	Unit    string // what is counted
	Step    string
	Stacked bool
	Series  []series
	Rows    []chartRow
}

// A series has the number of one of the palette's colours; 0 is the grey of
// everything else.
type series struct {
	Label, Doc string
	Colour     int
	Values     []int64
	Total      int64
}

type chartRow struct {
	Start   time.Time
	Name    string
	Running bool // has not ended yet
	Values  []int64
}

// A card shows how the sessions spread over the values of one field.
type card struct {
	Title string
	Doc   string
	Chart *chart // nil for systems: which ones there are hardly changes
	Tall  bool   // stands beside two others
	Lines []line
}

type line struct {
	Label  string
	Count  int64
	Share  string
	Width  string // of the bar, in SVG's terms
	Colour int
}

const (
	colours  = 6 // of the palette, beside the grey of all others
	maxLines = 8 // of a card; smaller values are only ever added up
)

func (c *console) ask(ctx context.Context, v *view, m store.Measure, by string, every time.Duration) (*store.Answer, error) {
	a, err := c.Store.Ask(ctx, store.Question{App: v.plan.App, From: v.from, To: v.to, Measure: m, By: by, Every: every})
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	return a, nil
}

func (c *console) askBefore(ctx context.Context, v *view, m store.Measure, by string) (*store.Answer, error) {
	from, to, ok := v.before()
	if !ok {
		return &store.Answer{}, nil
	}
	a, err := c.Store.Ask(ctx, store.Question{App: v.plan.App, From: from, To: to, Measure: m, By: by})
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	return a, nil
}

// report asks the store all that the page shows. It returns nil if there is no
// event in the range. The number of questions is bounded by the plan's groups.
func (c *console) report(ctx context.Context, v *view) (*report, error) {
	events, err := c.ask(ctx, v, store.Events, "", v.Step())
	if err != nil {
		return nil, err
	}
	if total(events) == 0 {
		return nil, nil
	}
	sessions, err := c.ask(ctx, v, store.Uniques, "", v.Step())
	if err != nil {
		return nil, err
	}
	r := &report{Note: note(v.plan)}
	for _, m := range []struct {
		title   string
		measure store.Measure
		answer  *store.Answer
	}{{"Events", store.Events, events}, {"Sessions", store.Uniques, sessions}} {
		prior, err := c.askBefore(ctx, v, m.measure, "")
		if err != nil {
			return nil, err
		}
		t := countTile(v, m.title, total(m.answer), total(prior))
		t.URL, t.Current = v.measured(m.measure), v.measure == m.measure
		r.Tiles = append(r.Tiles, t)
	}

	whole := events
	if v.measure == store.Uniques {
		whole = sessions
	}
	main, err := c.ask(ctx, v, v.measure, v.by, v.Step())
	if err != nil {
		return nil, err
	}
	r.Main = newChart(v, "main", v.by, v.measure, main, whole)

	// The first version and the first enum of the plan are headlines.
	var version, enum bool
	for i, f := range groups(v.plan) {
		every := v.Step()
		if f.Kind == plan.System {
			every = 0
		}
		answer, err := c.ask(ctx, v, store.Uniques, f.Name, every)
		if err != nil {
			return nil, err
		}
		card := newCard(v, "card-"+strconv.Itoa(i), f, answer, sessions)
		card.Tall = f.Kind == plan.Version && !version && len(groups(v.plan)) > 2
		r.Cards = append(r.Cards, card)
		if f.Kind == plan.Version && !version || f.Kind == plan.Enum && !enum {
			prior, err := c.askBefore(ctx, v, store.Uniques, f.Name)
			if err != nil {
				return nil, err
			}
			if f.Kind == plan.Version {
				version = true
				r.Tiles = slices.Insert(r.Tiles, 2, versionTile(answer, prior))
			} else {
				enum = true
				r.Tiles = append(r.Tiles, shareTile(v, f, answer, prior))
			}
		}
	}
	return r, nil
}

// note says what a session is, in the words of the plan.
func note(p *plan.Plan) string {
	s := "A session is everything that arrived under one " + p.Identity
	if f, ok := p.Lookup(p.Identity); ok && f.Doc != "" {
		s += ": " + strings.TrimSuffix(f.Doc, ".")
	}
	return s + "."
}

func total(a *store.Answer) int64 {
	var n int64
	for _, s := range a.Series {
		n += s.Total
	}
	return n
}

func find(a *store.Answer, label string) int64 {
	for _, s := range a.Series {
		if s.Label == label {
			return s.Total
		}
	}
	return 0
}

func countTile(v *view, title string, n, before int64) tile {
	t := tile{Title: title, Value: number(n)}
	if before == 0 {
		t.Note = "none in " + v.Before()
		return t
	}
	t.Note = "vs. " + v.Before()
	t.set(100*float64(n-before)/float64(before), "%")
	return t
}

// set states a change. One that rounds to nothing has no direction.
func (t *tile) set(change float64, unit string) {
	decimals := 1
	if change >= 100 {
		decimals = 0
	}
	s := strconv.FormatFloat(change, 'f', decimals, 64)
	switch {
	case s == "0.0" || s == "-0.0":
		t.Change = "±0" + unit
	case change > 0:
		t.Change, t.Up = "+"+s+unit, true
	default:
		t.Change, t.Down = "−"+strings.TrimPrefix(s, "-")+unit, true
	}
}

func versionTile(now, before *store.Answer) tile {
	t := tile{Title: "Latest version", Value: "–", Note: "no session gave one"}
	latest := newest(now)
	if latest == "" {
		return t
	}
	t.Value = latest
	t.Note = "in " + percent(find(now, latest), total(now)) + " of sessions"
	if old := newest(before); old != "" && old != latest {
		t.Note += " · before: " + old
	}
	return t
}

func newest(a *store.Answer) string {
	var latest string
	for _, s := range a.Series {
		if s.Label != plan.None && (latest == "" || compareVersions(s.Label, latest) > 0) {
			latest = s.Label
		}
	}
	return latest
}

func shareTile(v *view, f plan.Field, now, before *store.Answer) tile {
	h, ok := headlines[f.Name]
	if !ok || !slices.Contains(f.Values, h.value) {
		h.value = now.Series[0].Label // the largest: a report has events
		h.title = fieldName(f.Name) + " " + valueName(f.Name, h.value)
	}
	n, all := find(now, h.value), total(now)
	t := tile{Title: h.title, Value: percent(n, all)}
	was := total(before)
	if was == 0 {
		t.Note = number(n) + " of " + number(all) + " sessions"
		return t
	}
	t.Note = "vs. " + v.Before()
	t.set(100*(float64(n)/float64(all)-float64(find(before, h.value))/float64(was)), " points")
	return t
}

// arrange chooses the largest series of an answer, orders them as they are shown
// and gives them colours, as many as the palette has. Words of the plan keep the
// plan's order and so, whatever the range, their colours; versions come newest
// first, and the newest is never left out; systems as they are, largest first.
func arrange(p *plan.Plan, by string, a *store.Answer) []series {
	words := plannedWords(p, by)
	fixed := len(words) > 0 && len(words) <= colours
	var list []series
	painted := 0
	f, _ := p.Lookup(by)
	chosen := slices.Clone(a.Series)
	if latest := newest(a); f.Kind == plan.Version && latest != "" {
		i := slices.IndexFunc(chosen, func(s store.Series) bool { return s.Label == latest })
		chosen = slices.Insert(slices.Delete(chosen, i, i+1), 0, a.Series[i])
	}
	for _, s := range chosen[:min(len(chosen), maxLines)] {
		item := series{Label: s.Label, Values: s.Values, Total: s.Total}
		switch {
		case s.Label == plan.None:
		case fixed:
			item.Colour = 1 + slices.Index(words, s.Label)
		case painted < colours:
			painted++
			item.Colour = painted
		}
		list = append(list, item)
	}
	switch {
	case words != nil:
		slices.SortStableFunc(list, func(a, b series) int { return slices.Index(words, a.Label) - slices.Index(words, b.Label) })
	case f.Kind == plan.Version:
		slices.SortStableFunc(list, func(a, b series) int { return compareVersions(b.Label, a.Label) })
	}
	// A colour that stands for nothing but a place goes by the order shown.
	next := 1
	for i := range list {
		if !fixed && list[i].Colour > 0 {
			list[i].Colour = next
			next++
		}
		if by == eventType {
			if e := p.EventIndex(list[i].Label); e >= 0 {
				list[i].Doc = p.Events[e].Doc
			}
		} else {
			list[i].Label = valueName(by, list[i].Label)
		}
	}
	return list
}

// plannedWords are the values that the plan lists for by, nil if it does not.
func plannedWords(p *plan.Plan, by string) []string {
	if by != eventType {
		f, _ := p.Lookup(by)
		return f.Values
	}
	var words []string
	for _, e := range p.Events {
		words = append(words, e.Name)
	}
	return words
}

// eventColour is the colour of an event type wherever it is shown, or 0 if the
// plan has more types than the palette has colours.
func eventColour(p *plan.Plan, name string) int {
	if len(p.Events) > colours {
		return 0
	}
	return 1 + p.EventIndex(name)
}

// newChart makes a chart out of an answer cut by a field. whole is the answer
// to the same question uncut, from which all others are told. Sessions cut by
// event type are not stacked: one session counts in each of its types.
func newChart(v *view, id, by string, m store.Measure, a, whole *store.Answer) chart {
	c := chart{ID: id, Step: v.StepName(), Unit: "events", Stacked: true}
	if m == store.Uniques {
		c.Unit = "sessions"
		c.Stacked = by != eventType
	}
	c.Title = strings.ToUpper(c.Unit[:1]) + c.Unit[1:] + " per " + c.Step

	for _, s := range arrange(v.plan, by, a) {
		if s.Colour != 0 || s.Label == valueName(by, plan.None) {
			c.Series = append(c.Series, s)
		}
	}
	if c.Stacked && len(c.Series) < len(a.Series) && len(whole.Series) > 0 {
		rest := others(whole.Series[0], c.Series)
		rest.Label = "all others"
		if len(a.Series) == len(c.Series)+1 {
			rest.Label = left(by, a, c.Series) // one has a name
		}
		if rest.Total > 0 {
			c.Series = append(c.Series, rest)
		}
	}
	// New versions grow on top of old ones.
	if f, _ := v.plan.Lookup(by); f.Kind == plan.Version {
		slices.Reverse(c.Series)
	}
	for i, start := range a.Starts {
		end := v.to
		if i+1 < len(a.Starts) {
			end = a.Starts[i+1]
		}
		row := chartRow{Start: start.UTC(), Name: stepName(v, start.UTC()), Running: !v.now.Before(start) && v.now.Before(end)}
		for _, s := range c.Series {
			row.Values = append(row.Values, s.Values[i])
		}
		c.Rows = append(c.Rows, row)
	}
	c.Summary = summary(v, c)
	return c
}

// others is what is left of the whole when the shown series are taken away.
func others(whole store.Series, shown []series) series {
	s := series{Total: whole.Total, Values: slices.Clone(whole.Values)}
	for _, other := range shown {
		s.Total -= other.Total
		for i := range s.Values {
			s.Values[i] = max(0, s.Values[i]-other.Values[i])
		}
	}
	return s
}

// left is the label of the one series of an answer that is not shown.
func left(by string, a *store.Answer, shown []series) string {
	for _, s := range a.Series {
		label := s.Label
		if by != eventType {
			label = valueName(by, label)
		}
		if !slices.ContainsFunc(shown, func(other series) bool { return other.Label == label }) {
			return label
		}
	}
	return ""
}

func stepName(v *view, t time.Time) string {
	switch v.Step() {
	case time.Hour:
		return t.Format("2 Jan 15:04")
	case day:
		return t.Format("Mon 2 Jan 2006")
	}
	return t.Format("week of 2 Jan 2006")
}

// summary says a chart in one sentence, for who cannot see it.
func summary(v *view, c chart) string {
	var parts []string
	for _, s := range c.Series {
		parts = append(parts, s.Label+" "+number(s.Total))
	}
	return c.Title + " for " + v.Name() + ": " + strings.Join(parts, ", ") + ". The table below has every number."
}

// newCard makes the card of a field: a line for each of its larger values, and,
// unless it is a system, how they went over time.
func newCard(v *view, id string, f plan.Field, a, sessions *store.Answer) card {
	c := card{Title: fieldName(f.Name), Doc: f.Doc}
	if f.Kind != plan.System {
		ch := newChart(v, id, f.Name, store.Uniques, a, sessions)
		ch.Title = c.Title + ", sessions per " + ch.Step
		ch.Summary = summary(v, ch)
		c.Chart = &ch
	}
	all := total(a)
	left := all
	for _, s := range arrange(v.plan, f.Name, a) {
		left -= s.Total
		c.Lines = append(c.Lines, newLine(s.Label, s.Total, all, s.Colour))
	}
	if left > 0 {
		c.Lines = append(c.Lines, newLine("all others", left, all, 0))
	}
	if f.Kind == plan.System {
		for i := range c.Lines {
			c.Lines[i].Colour = 1 // one chart, one colour: nothing refers to them
		}
	}
	return c
}

func newLine(label string, n, all int64, colour int) line {
	width := 100 * float64(n) / float64(max(all, 1))
	return line{Label: label, Count: n, Share: percent(n, all), Colour: colour,
		Width: strconv.FormatFloat(width, 'f', 2, 64) + "%"}
}
