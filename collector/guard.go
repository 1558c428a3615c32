package collector

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"strconv"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A guard holds events against one app's plan. What the plan does not declare
// does not get past it. It is safe for concurrent use.
type guard struct {
	plan     *plan.Plan
	events   map[string]int
	top      map[string]slot
	user     map[string]slot
	common   map[string]slot   // event_properties of every event
	own      []map[string]slot // event_properties of each event
	ownTop   []map[string]slot // top-level fields of each event
	ownUser  []map[string]slot
	sessions int // number of session columns
	columns  int // number of event columns
	counts   *refusedCounts
	shapes   shapes // what has been learned of the events that come
}

// A slot says where the value of a declared field goes.
type slot struct {
	field *plan.Field
	role  role
	index int
}

type role uint8

const (
	identity role = iota
	eventTime
	sessionColumn
	eventColumn
)

func newGuard(p *plan.Plan, counts *refusedCounts) *guard {
	g := &guard{
		plan: p, counts: counts, events: map[string]int{},
		top: map[string]slot{}, user: map[string]slot{}, common: map[string]slot{},
	}
	columns := map[string]slot{}
	session, event := p.SessionColumns(), p.EventColumns()
	g.sessions, g.columns = len(session), len(event)
	for i := range session {
		columns[session[i].Name] = slot{&session[i], sessionColumn, i}
	}
	for i := range event {
		columns[event[i].Name] = slot{&event[i], eventColumn, i}
	}
	place := func(f *plan.Field, top, user, props map[string]slot) {
		s, ok := columns[f.Name]
		switch {
		case f.Name == p.Identity:
			s = slot{f, identity, 0}
		case f.Name == "time":
			s = slot{f, eventTime, 0}
		case !ok:
			return // cannot be: every other field is a column
		}
		switch f.In {
		case plan.Top:
			top[f.Name] = s
		case plan.UserProperties:
			user[f.Name] = s
		case plan.EventProperties:
			props[f.Name] = s
		}
	}
	for i := range p.Fields {
		place(&p.Fields[i], g.top, g.user, g.common)
	}
	for i := range p.Events {
		top, user, props := map[string]slot{}, map[string]slot{}, map[string]slot{}
		for j := range p.Events[i].Fields {
			place(&p.Events[i].Fields[j], top, user, props)
		}
		g.events[p.Events[i].Name] = i
		g.ownTop, g.ownUser, g.own = append(g.ownTop, top), append(g.ownUser, user), append(g.own, props)
	}
	return g
}

// A refusal says why an event is not taken: the field at fault, and whether it
// is missing or has a value outside its kind.
type refusal struct {
	field   string
	missing bool
}

// check turns an event into a record. The record's values are new; nothing of
// the event is kept. received is in milliseconds since 1970 UTC.
func (g *guard) check(e *amplitude.Event, received int64) (store.Record, *refusal) {
	if e.NotObject {
		return store.Record{}, &refusal{field: "event_type", missing: true}
	}
	if e.TooMany {
		return store.Record{}, &refusal{field: "event_properties"}
	}
	var eventType, insertID *amplitude.Member
	for i := range e.Top {
		switch m := &e.Top[i]; string(m.Name) {
		case "event_type":
			eventType = m
		case "insert_id":
			insertID = m
		}
	}
	if eventType == nil || eventType.Type == amplitude.Null {
		return store.Record{}, &refusal{field: "event_type", missing: true}
	}
	if special := identifying(eventType.Bytes); special != nil {
		return store.Record{}, special
	}
	index, declared := g.events[string(eventType.Bytes)]
	if eventType.Type != amplitude.String || !declared {
		return store.Record{}, &refusal{field: "event_type"}
	}

	values := make([]plan.Value, g.sessions+g.columns)
	r := store.Record{
		Event: index, Time: received, Received: received,
		Session: values[:g.sessions:g.sessions], Own: values[g.sessions:],
	}
	known := false
	put := func(m *amplitude.Member, s slot) bool {
		var v plan.Value // of a null, which also takes back an earlier one
		if m.Type != amplitude.Null {
			var ok bool
			if v, ok = value(s.field, m); !ok {
				return false
			}
		}
		switch s.role {
		case identity:
			r.ID, r.Hyphens, known = v.ID, v.Int != 0, v.Set
		case eventTime:
			if r.Time = v.Int; !v.Set {
				r.Time = received
			}
		case sessionColumn:
			r.Session[s.index] = v
		case eventColumn:
			r.Own[s.index] = v
		}
		return true
	}
	for _, part := range []struct {
		members     []amplitude.Member
		common, own map[string]slot
	}{
		{e.Top, g.top, g.ownTop[index]},
		{e.UserProperties, g.user, g.ownUser[index]},
		{e.EventProperties, g.common, g.own[index]},
	} {
		for i := range part.members {
			m := &part.members[i]
			s, ok := part.common[string(m.Name)]
			if !ok {
				s, ok = part.own[string(m.Name)]
			}
			if !ok || m.Op != amplitude.Set {
				if m != eventType && m != insertID {
					g.counts.undeclaredFields.Add(1)
				}
				continue
			}
			if !put(m, s) {
				return store.Record{}, &refusal{field: s.field.Name}
			}
		}
	}
	if !known {
		return store.Record{}, &refusal{field: g.plan.Identity, missing: true}
	}
	var key []byte
	if insertID != nil && insertID.Type != amplitude.Null {
		if insertID.Type != amplitude.String {
			return store.Record{}, &refusal{field: "insert_id"}
		}
		key = insertID.Bytes
	}
	r.Insert = insert(key, r.ID, r.Hyphens)
	return r, nil
}

// value reads one member by its field's kind.
func value(f *plan.Field, m *amplitude.Member) (plan.Value, bool) {
	switch m.Type {
	case amplitude.String:
		return f.FromString(m.Bytes)
	case amplitude.Number:
		return f.FromNumber(m.Bytes)
	case amplitude.Bool:
		return f.FromBool(string(m.Bytes) == "true")
	}
	return plan.Value{}, false
}

// insert reads an idempotency key. Ours is the sender's id, a hyphen and a
// decimal number. Of anything else 16 bytes are kept: those of a UUID, or of a
// hash, because an arbitrary text may say anything. An event without a key can
// not be recognised when it is repeated, so it gets a random one.
func insert(key []byte, id plan.ID, hyphens bool) store.InsertID {
	if len(key) == 0 {
		var in store.InsertID
		rand.Read(in.Foreign[:])
		return in
	}
	// Our own form is longer than a UUID, or has its first hyphen elsewhere.
	if foreign, _, ok := plan.ParseID(key); ok {
		return store.InsertID{Foreign: foreign}
	}
	var buf [40]byte
	prefix := append(plan.AppendID(buf[:0], id, hyphens), '-')
	if len(key) > len(prefix) && bytes.EqualFold(key[:len(prefix)], prefix) { // a hyphenated id may be in capitals
		if seq, ok := sequence(key[len(prefix):]); ok {
			return store.InsertID{Own: true, Seq: seq}
		}
	}
	sum := sha256.Sum256(key)
	return store.InsertID{Foreign: plan.ID(sum[:16])}
}

// sequence reads a sequence number as our client writes it: no sign, no leading
// zero, at most plan.MaxInt.
func sequence(digits []byte) (int64, bool) {
	if len(digits) == 0 || len(digits) > 16 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits), 10, 63)
	return int64(n), err == nil && n <= plan.MaxInt
}
