package privacy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Figures are for everyone, so nobody may be found in them. Four things see to
// that.
//
// Groups of fewer than minSessions sessions are folded into "other". That alone
// is not enough: whoever knows a total has the hidden group by subtraction, from
// the same table or from another one with the same total. So a group is never
// left out: "other" takes in the smallest groups that are left, until it is of
// minSessions sessions itself. If all together are fewer, nothing is shown. So what
// is shown adds up to the whole in every table, and no subtraction gives a group
// that is not shown.
//
// A session may be in several groups, as one that has started and run a model is,
// so the sizes of groups must not be added up to get the size of "other". What
// counts is how many sessions it holds at least; see fold.
//
// Only whole weeks that have ended are shown, each by itself. A page that moved
// with every event would tell who looks at it twice what came between, and so
// would weeks that slide into each other.
//
// What comes late or is erased still changes a week, and shows in the difference
// of two looks. So sessions are rounded down to a multiple of minSessions, and
// events to two digits, of which a single session seldom changes any. That hides
// small differences between groups, too: those who started and never ran a model.
//
// All this holds against who reads. Who sends, and the API key that it takes is in
// every copy of the program, can make up four sessions of a group and see whether a
// fifth is there, and how many events it has. No folding helps against that, so the
// maintainer who publishes figures is told (app publish).
const minSessions = 5

// figureWeeks is how far back the figures go: a quarter of a year.
const figureWeeks = 12

// others is the label of what is folded.
const others = "(other)"

const week = 7 * 24 * time.Hour

// Figures asks what the page of figures shows, and returns it in HTML. It goes out
// with Policy. ask is a store's Ask.
func Figures(ctx context.Context, p *plan.Plan, now time.Time, ask func(context.Context, store.Question) (*store.Answer, error)) ([]byte, error) {
	d := &document{Title: "Figures of " + p.App}
	end := monday(now)
	q := questioner{ctx: ctx, ask: ask, app: p.App}

	about := d.section("")
	about.say(fmt.Sprintf("What the events of %s add up to, for whole weeks from Monday to Monday (UTC) that have ended. Groups of fewer than %d sessions are folded into %s; "+
		"numbers are rounded down to a multiple of %d, and events to two digits. A session is one %s, and no user.", p.App, minSessions, others, minSessions, p.Identity))

	byType := d.section("Events by week")
	weeks, err := q.groups("event_type", end.Add(-figureWeeks*week), end)
	if err != nil {
		return nil, err
	}
	t := byType.table("week of", "event", "sessions", "events", "")
	shown, most := make([][]group, len(weeks)), int64(0)
	for i := range weeks {
		shown[i] = fold(weeks[i])
		most = max(most, largest(shown[i]))
	}
	for i := len(weeks) - 1; i >= 0; i-- {
		of := weeks[i].start.Format(time.DateOnly)
		for _, g := range shown[i] {
			t.row(text(of), code(g.label), text(decimal(rounded(g.sessions))), text(decimal(digits(g.events))), bar(rounded(g.sessions), most))
			of = "" // once for each week
		}
	}
	said(byType, t)

	for _, f := range p.SessionColumns() {
		if f.Kind == plan.RandomID || f.Kind.Number() {
			continue // an id groups nothing, a number is a group by itself
		}
		last, err := q.groups(f.Name, end.Add(-week), end)
		if err != nil {
			return nil, err
		}
		s := d.section("By " + f.Name + ", in the week of " + last[0].start.Format(time.DateOnly))
		if f.Doc != "" {
			s.say(f.Doc)
		}
		t := s.table(f.Name, "sessions", "events", "")
		shown := fold(last[0])
		for _, g := range shown {
			t.row(code(g.label), text(decimal(rounded(g.sessions))), text(decimal(digits(g.events))), bar(rounded(g.sessions), largest(shown)))
		}
		said(s, t)
	}
	return d.html(), nil
}

// said replaces a table without rows.
func said(s *section, t *table) {
	if len(t.Rows) == 0 {
		s.Blocks[len(s.Blocks)-1] = block{Text: "Too few sessions to show anything."}
	}
}

// monday returns the start of the week of t.
func monday(t time.Time) time.Time {
	t = t.UTC()
	back := (int(t.Weekday()) + 6) % 7
	return time.Date(t.Year(), t.Month(), t.Day()-back, 0, 0, 0, 0, time.UTC)
}

// A tally is one week: its groups and its whole.
type tally struct {
	start  time.Time
	groups []group
	whole  group
}

// A group is so many sessions with so many events.
type group struct {
	label            string
	sessions, events int64
}

type questioner struct {
	ctx context.Context
	ask func(context.Context, store.Question) (*store.Answer, error)
	app string
}

// groups counts by a field, week by week.
func (q *questioner) groups(by string, from, to time.Time) ([]tally, error) {
	weeks := make([]tally, int(to.Sub(from)/week))
	index := map[string]int{}
	for _, measure := range []store.Measure{store.Uniques, store.Events} {
		for _, by := range []string{by, ""} {
			answer, err := q.ask(q.ctx, store.Question{App: q.app, From: from, To: to, Measure: measure, By: by, Every: week})
			if err != nil {
				return nil, fmt.Errorf("ask for figures: %w", err)
			}
			for _, series := range answer.Series {
				at, ok := index[series.Label]
				if !ok && by != "" {
					at = len(index)
					index[series.Label] = at
					for i := range weeks {
						weeks[i].groups = append(weeks[i].groups, group{label: series.Label})
					}
				}
				for i := range weeks {
					g := &weeks[i].whole
					if by != "" {
						g = &weeks[i].groups[at]
					}
					if measure == store.Uniques {
						g.sessions = series.Values[i]
					} else {
						g.events = series.Values[i]
					}
				}
			}
		}
	}
	for i := range weeks {
		weeks[i].start = from.Add(time.Duration(i) * week)
	}
	return weeks, nil
}

// fold returns the groups that may be shown, the largest first and "other" last.
func fold(t tally) []group {
	shown := slices.DeleteFunc(slices.Clone(t.groups), func(g group) bool { return g.sessions == 0 })
	slices.SortFunc(shown, func(a, b group) int {
		return cmp.Or(cmp.Compare(b.sessions, a.sessions), cmp.Compare(a.label, b.label))
	})
	// What the store has not told apart, because there were too many groups, is
	// part of the whole, and so of "other".
	other := group{label: others, events: t.whole.events}
	largest, sum := int64(0), int64(0) // the largest group in "other", and the sum of those that are shown
	for _, g := range shown {
		other.events -= g.events
		sum += g.sessions
	}
	for {
		// The sessions in "other" are at least those of its largest group, and
		// at least those of the whole that no shown group has.
		other.sessions = max(largest, t.whole.sessions-sum)
		enough := other.sessions >= minSessions || other.sessions <= 0 && other.events <= 0
		n := len(shown)
		switch {
		case n > 0 && (!enough || shown[n-1].sessions < minSessions):
			last := shown[n-1]
			shown, sum, largest = shown[:n-1], sum-last.sessions, max(largest, last.sessions)
			other.events += last.events
		case !enough:
			return nil // all together are too few
		case other.sessions > 0:
			return append(shown, other)
		default:
			return shown
		}
	}
}

// largest returns the most sessions of a group, as they are shown.
func largest(groups []group) (most int64) {
	for _, g := range groups {
		most = max(most, rounded(g.sessions))
	}
	return most
}

// rounded rounds down to a multiple of minSessions.
func rounded(n int64) int64 { return n / minSessions * minSessions }

// digits rounds down to two digits, and to a multiple of minSessions.
func digits(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	unit = max(unit, minSessions)
	return n / unit * unit
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
