package duckdb

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Ask implements store.Store.
func (s *Store) Ask(ctx context.Context, q store.Question) (*store.Answer, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	p, l, err := s.app(q.App)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	a, err := newAsk(l, q)
	if err != nil {
		return nil, err
	}
	if err := s.loader.catchUp(ctx, p); err != nil {
		return nil, fmt.Errorf("ask app %s: %w", q.App, err)
	}
	answer, err := a.run(ctx, s.database)
	if err != nil {
		return nil, fmt.Errorf("ask app %s: %w", q.App, err)
	}
	return answer, nil
}

// An ask is a question that has been held against a plan. The exported fields
// are for ask.sql.
type ask struct {
	*layout
	from, to, every int64 // ms
	starts          []time.Time
	limit           int
	labels          []string

	Uniques       bool
	NeedsSessions bool
	OneEvent      bool
	Event         int    // its index
	Group         string // an expression
}

// Labels reports whether Group is an index of labels.
func (a *ask) Labels() bool { return a.labels != nil }

// newAsk refuses what cannot be asked. It names the part of the question, not
// what was in it.
func newAsk(l *layout, q store.Question) (*ask, error) {
	refuse := func(why string) (*ask, error) {
		return nil, fmt.Errorf("%w: %s", store.ErrQuestion, why)
	}
	a := &ask{layout: l, from: milliseconds(q.From), to: milliseconds(q.To), limit: q.Limit, Group: "''"}
	switch q.Measure {
	case store.Events:
	case store.Uniques:
		a.Uniques, a.NeedsSessions = true, true
	default:
		return refuse("there is no such measure")
	}

	if a.to <= a.from {
		return refuse("the range is empty; its end must be after its start")
	}
	if q.Every < 0 || q.Every%time.Millisecond != 0 {
		return refuse("the step must be a whole number of milliseconds, 0 or more")
	}
	if q.Limit < 0 {
		return refuse("the limit must be 0 or more")
	}
	if a.limit == 0 {
		a.limit = store.DefaultLimit
	}
	steps := int64(1)
	a.every = a.to - a.from
	if q.Every > 0 {
		a.every = q.Every.Milliseconds()
		steps = (a.to-a.from-1)/a.every + 1
	}
	if steps > store.MaxSteps {
		return refuse(fmt.Sprintf("the range has more than %d steps; choose a longer step or a shorter range", store.MaxSteps))
	}
	a.starts = make([]time.Time, steps)
	for i, t := 0, q.From.UTC(); i < len(a.starts); i, t = i+1, t.Add(q.Every) {
		a.starts[i] = t
	}

	if q.Event != "" {
		if a.Event = l.plan.EventIndex(q.Event); a.Event < 0 {
			return refuse("the plan does not declare that event")
		}
		a.OneEvent = true
	}
	switch q.By {
	case "":
	case "event_type":
		a.Group = "_type"
		for _, e := range l.plan.Events {
			a.labels = append(a.labels, e.Name)
		}
	default:
		c, session, ok := l.column(q.By)
		if !ok {
			return refuse("the plan does not declare the field to group by, or it is the identity or the time")
		}
		a.NeedsSessions = a.NeedsSessions || session
		a.labels = c.labels
		a.Group = quote(c.Name)
		if c.Kind == plan.RandomID {
			a.Group = fmt.Sprintf("if(%s, CAST(%[2]s AS VARCHAR), replace(CAST(%[2]s AS VARCHAR), '-', ''))", quote(c.hyphens()), quote(c.Name))
		}
	}
	return a, nil
}

func (a *ask) run(ctx context.Context, d *database) (*store.Answer, error) {
	args := []any{a.from, a.to, a.every, plan.None, a.limit}
	if a.Labels() {
		args = append(args, a.labels)
	}
	answer := &store.Answer{Starts: a.starts}
	err := d.read(func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, query("ask.sql", a), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		var last *store.Series
		for rows.Next() {
			var label string
			var total, step, n int64
			if err := rows.Scan(&label, &total, &step, &n); err != nil {
				return err
			}
			if last == nil || last.Label != label {
				answer.Series = append(answer.Series, store.Series{Label: label, Values: make([]int64, len(a.starts)), Total: total})
				last = &answer.Series[len(answer.Series)-1]
			}
			last.Values[step] = n
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}
