package console

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// liveRows is how many of the latest events are shown: what a screen holds.
const liveRows = 20

// live is the table of the latest events, whatever the range.
type live struct {
	URL     string
	Columns []column
	Rows    []liveRow
}

// A column is a field of the plan.
type column struct {
	Name, Doc string
	Numeric   bool
}

type liveRow struct {
	Key     string // the same for an event whenever it is shown; tells nothing else
	Time    time.Time
	Clock   string // of the day, with the date if it is another day
	Age     string
	Event   string
	Colour  int
	Session string // the first digits of the sender's id
	Cells   []cell
}

type cell struct {
	Text, Exact   string
	Numeric, Null bool
}

// live reads the newest events back. They come in the order of arrival, and
// show the time at which they happened.
func (c *console) live(ctx context.Context, p *plan.Plan) (*live, error) {
	l := &live{URL: (&view{plan: p}).LiveURL()}
	session, own := p.SessionColumns(), p.EventColumns()
	for _, f := range append(session[:len(session):len(session)], own...) {
		l.Columns = append(l.Columns, column{Name: fieldName(f.Name), Doc: f.Doc, Numeric: f.Kind.Number()})
	}
	now := c.now().UTC()
	err := c.Store.List(ctx, store.Listing{App: p.App, Limit: liveRows, Newest: true}, func(r *store.Record) error {
		t := time.UnixMilli(r.Time).UTC()
		row := liveRow{Key: key(r), Time: t, Clock: clock(t, now), Age: age(t, now), Session: r.ID.String()[:8]}
		if r.Event >= 0 && r.Event < len(p.Events) {
			row.Event = p.Events[r.Event].Name
			row.Colour = eventColour(p, row.Event)
		}
		row.Cells = append(cells(session, r.Session), cells(own, r.Own)...)
		l.Rows = append(l.Rows, row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

func cells(fields []plan.Field, values []plan.Value) []cell {
	list := make([]cell, len(fields))
	for i := range fields {
		var v plan.Value // null for a field that is younger than the record
		if i < len(values) {
			v = values[i]
		}
		text, exact := show(&fields[i], v)
		list[i] = cell{Text: text, Exact: exact, Numeric: fields[i].Kind.Number(), Null: !v.Set}
	}
	return list
}

func clock(t, now time.Time) string {
	if t.Truncate(day).Equal(now.Truncate(day)) {
		return t.Format("15:04:05")
	}
	return t.Format("2 Jan 15:04:05")
}

// key is a digest of what tells an event from every other. The page needs it to
// see which rows are new; the ids themselves have no business there.
func key(r *store.Record) string {
	b := append([]byte(nil), r.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Insert.Seq))
	b = append(b, r.Insert.Foreign[:]...)
	s := sha256.Sum256(b)
	return "e" + hex.EncodeToString(s[:8])
}
