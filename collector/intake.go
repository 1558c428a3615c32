package collector

import (
	"errors"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// errKey: no app has the API key of the request.
var errKey = errors.New("no app here has the API key")

// An intake turns one request into records. It is the decoder's Sink: it finds
// the app by its key, lets through what fits a learned shape, and holds the rest
// against the plan. If one event is refused, none is taken, and bad names all
// that are: the sender drops those and sends the rest again.
//
// It is reused; what it holds belongs to one request at a time.
type intake struct {
	find    func(key []byte) (*App, *guard)
	refused func(app string, r *refusal) // told of each refused event; may be nil

	body     []byte
	received int64 // milliseconds since 1970 UTC

	app     *App
	guard   *guard
	records []store.Record
	said    []identification // what is no event
	arena   values
	bad     refusals
	index   int // of the event

	undeclared int64
	fitted     int // events that fitted a shape
	learned    int // shapes that this request has taught
	numbers    [maxSlots]int64
	shapes     []*shape
	hint       int // the shape that fitted last
	last       lastID
}

// lastID is the sender of the event before: a request seldom has many, and a
// session's values are shared by all of its records.
type lastID struct {
	text    [36]byte
	n       int
	id      plan.ID
	shape   *shape
	session []plan.Value
}

// decode reads a request. What it returns is valid until the next call.
func (in *intake) decode(d *amplitude.Decoder, body []byte, received int64) error {
	*in = intake{find: in.find, refused: in.refused, body: body, received: received, records: in.records[:0], arena: in.arena}
	in.arena.used = 0
	err := d.Decode(body, amplitude.MaxEvents, in)
	if in.guard != nil {
		in.guard.counts.undeclaredFields.Add(in.undeclared)
	}
	return err
}

// Key implements amplitude.Sink.
func (in *intake) Key(key []byte) error {
	if in.app, in.guard = in.find(key); in.app == nil {
		return errKey
	}
	in.shapes = in.guard.shapes.get()
	return nil
}

// Known implements amplitude.Sink.
func (in *intake) Known(body []byte, start int) int {
	n := len(in.shapes)
	for i := range n {
		at := in.hint + i
		if at >= n {
			at -= n
		}
		sh := in.shapes[at]
		f := fit{numbers: in.numbers[:0]}
		if !sh.match(body, start, &f) {
			continue
		}
		in.hint = at
		if string(in.last.text[:in.last.n]) != string(f.id) {
			id, hyphens, ok := plan.ParseID(f.id)
			if !ok || hyphens != sh.record.Hyphens {
				return 0
			}
			in.last = lastID{id: id, n: copy(in.last.text[:], f.id), text: in.last.text}
		}
		if in.last.shape == nil || in.last.shape != sh && !sameValues(in.last.session, sh.record.Session) {
			in.last.session = sh.record.Session
		}
		in.last.shape = sh
		// What the learned event had besides numbers, as an enum, stays.
		own := in.arena.take(len(sh.record.Own))
		copy(own, sh.record.Own)
		taken := 0
		for j := range sh.parts {
			if p := &sh.parts[j]; p.slot == slotColumn {
				own[p.column].Int = f.numbers[taken]
				taken++
			}
		}
		in.records = append(in.records, store.Record{
			ID: in.last.id, Hyphens: sh.record.Hyphens, Insert: store.InsertID{Own: true, Seq: f.seq},
			Event: sh.record.Event, Time: in.received, Received: in.received, Session: in.last.session, Own: own,
		})
		r := &in.records[len(in.records)-1]
		if !sh.record.Insert.Own {
			r.Insert = insert(f.foreign, r.ID, r.Hyphens)
		}
		if f.set {
			r.Time = f.time
		}
		in.undeclared += sh.undeclared
		in.fitted++
		in.index++
		return f.end
	}
	return 0
}

// sameValues reports whether two sessions of one sender are the same.
func sameValues(a, b []plan.Value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Event implements amplitude.Sink.
func (in *intake) Event(e *amplitude.Event) error {
	defer func() { in.index++ }()
	rec, refused := in.guard.check(e, in.received)
	switch refused {
	case nil:
		in.records = append(in.records, rec)
		if in.learned < maxLearned {
			if sh := in.guard.learn(in.body, e, &rec); sh != nil {
				in.learned++
				in.guard.shapes.add(sh)
				in.shapes = in.guard.shapes.get()
			}
		}
		return nil
	case identifiesGroup:
		return nil // of groups a plan can declare nothing
	case identifies:
		var who identification
		if who, refused = in.guard.identify(e); refused == nil {
			who.before = len(in.records)
			in.said = append(in.said, who)
			return nil
		}
	}
	if in.refused != nil {
		in.refused(in.app.Name, refused)
	}
	in.bad.add(refused, in.index)
	return nil
}

// values is memory for the values of a request's records.
type values struct {
	buf  []plan.Value
	used int
}

// take returns n values, which the caller sets all.
func (v *values) take(n int) []plan.Value {
	if v.used+n > len(v.buf) {
		// Records hold on to what was taken, so the old memory is left to them.
		v.buf, v.used = make([]plan.Value, max(1024, 2*len(v.buf), n)), 0
	}
	out := v.buf[v.used : v.used+n : v.used+n]
	v.used += n
	return out
}
