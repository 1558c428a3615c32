package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A layout says how the records of a plan lie in tables. An app has two: one
// row per distinct session in the first, one per event in the second. Columns
// of the store's own start with "_", which no name in a plan does.
//
// DuckDB packs integers to the bits they need, so a wide type costs no disk,
// only a little memory and log.
type layout struct { // not changed once it is made
	plan *plan.Plan

	SessionTable, EventTable string // exported for the queries

	session, own []column // in the order of a record's Session and Own

	shape uint32 // see newShape

	// tagged holds the indexes of session in an order that an extended plan
	// keeps and adds to. See sessionKey.
	tagged []int
}

// A part is a column of a table. A field has one or two.
type part struct {
	name string
	as   partType
}

// A partType is how DuckDB keeps a part.
type partType uint8

const (
	partInt64 partType = iota
	partUint8
	partUint16
	partBool
	partText
	partUUID
)

var partTypeNames = [...]string{"BIGINT", "UTINYINT", "USMALLINT", "BOOLEAN", "VARCHAR", "UUID"}

// String returns the type as CREATE TABLE wants it.
func (t partType) String() string { return partTypeNames[t] }

// The store's own columns, as query/create_*.sql declares them.
var (
	ownSessionParts = []part{
		{"_session", partInt64}, // the session's number, from 1
		{"_sender", partInt64},  // the number that stands for the sender's id in the file ids
		{"_hyphens", partBool},  // whether the id came with hyphens
	}
	ownEventParts = []part{
		{"_session", partInt64},  // of its session
		{"_seq", partInt64},      // the sequence number of an own insert id, or null
		{"_insert", partUUID},    // a foreign insert id, or null
		{"_time", partInt64},     // when it happened, ms since 1970: a number, because charts compute with it
		{"_received", partInt64}, // when it arrived, likewise
		{"_type", partUint8},     // the index of the event in the plan
	}
)

// A column holds one field.
type column struct {
	plan.Field
	labels []string // of the indexes; nil if the kind has none
}

// newLayout returns the layout of p, which extends that of old if there is one.
func newLayout(p *plan.Plan, old *layout) *layout {
	l := &layout{plan: p, SessionTable: p.App + "_sessions", EventTable: p.App + "_events"} // an app's name has no "_"
	for _, f := range p.SessionColumns() {
		l.session = append(l.session, column{f, f.Labels()})
	}
	for _, f := range p.EventColumns() {
		l.own = append(l.own, column{f, f.Labels()})
	}
	if old != nil {
		for _, i := range old.tagged {
			l.tagged = append(l.tagged, slices.IndexFunc(l.session, func(c column) bool { return c.Name == old.session[i].Name }))
		}
	}
	for i := range l.session {
		if !slices.Contains(l.tagged, i) {
			l.tagged = append(l.tagged, i)
		}
	}
	l.shape = newShape(l)
	return l
}

// sessionParts returns all columns of SessionTable that the plan knows, the
// store's own first. eventParts does so for EventTable.
func (l *layout) sessionParts() []part { return parts(ownSessionParts, l.session) }
func (l *layout) eventParts() []part   { return parts(ownEventParts, l.own) }

func parts(own []part, columns []column) []part {
	all := slices.Clone(own)
	for _, c := range columns {
		all = append(all, c.parts()...)
	}
	return all
}

// SessionParts and EventParts return the names of these.
func (l *layout) SessionParts() []string { return names(l.sessionParts()) }
func (l *layout) EventParts() []string   { return names(l.eventParts()) }

func names(parts []part) []string {
	all := make([]string, len(parts))
	for i, p := range parts {
		all[i] = p.name
	}
	return all
}

// SessionDefinitions and EventDefinitions return the plan's columns of each
// table, as CREATE TABLE wants them.
func (l *layout) SessionDefinitions() []string { return definitions(parts(nil, l.session)) }
func (l *layout) EventDefinitions() []string   { return definitions(parts(nil, l.own)) }

func definitions(parts []part) []string {
	all := make([]string, len(parts))
	for i, p := range parts {
		all[i] = quote(p.name) + " " + p.as.String()
	}
	return all
}

// newShape returns a number that tells the columns of l from those of another.
func newShape(l *layout) uint32 {
	var b []byte
	for _, table := range [][]part{l.sessionParts(), l.eventParts()} {
		for _, p := range table {
			b = append(b, p.name...)
			b = append(b, 0, byte(p.as))
		}
	}
	return crc32.Checksum(b, castagnoli)
}

// column returns the column of the field called name; session tells in which
// table.
func (l *layout) column(name string) (c column, session, ok bool) {
	for _, c := range l.session {
		if c.Name == name {
			return c, true, true
		}
	}
	for _, c := range l.own {
		if c.Name == name {
			return c, false, true
		}
	}
	return column{}, false, false
}

// as is the smallest type that takes every value of the kind.
func (c *column) as() partType {
	switch c.Kind {
	case plan.Enum, plan.Bucket: // 256 labels at most
		return partUint8
	case plan.System:
		return partUint16
	case plan.Flag:
		return partBool
	case plan.Version:
		return partText
	case plan.RandomID:
		return partUUID
	default:
		return partInt64
	}
}

// hyphens names the column that says how a random id was written. It is there
// for that kind only.
func (c *column) hyphens() string { return "_hyphens_" + c.Name }

// parts returns the columns that hold c.
func (c *column) parts() []part {
	p := []part{{c.Name, c.as()}}
	if c.Kind == plan.RandomID {
		p = append(p, part{c.hyphens(), partBool})
	}
	return p
}

// quote makes an identifier of any name.
func quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// check holds a value against the column, so that none can be stored that could
// not be read back. The guard has looked at it closer. The error does not hold
// the value.
func (c *column) check(v *plan.Value) error {
	ok := true
	switch {
	case !v.Set:
	case c.labels != nil:
		ok = v.Int >= 0 && v.Int < int64(len(c.labels))
	case c.Kind == plan.Version:
		ok = plan.ValidVersion(v.Text)
	case c.Kind == plan.Flag || c.Kind == plan.RandomID:
		ok = v.Int == 0 || v.Int == 1
	default:
		_, ok = c.FromInt(v.Int)
	}
	if !ok {
		return fmt.Errorf("field %s does not hold %s", c.Name, c.Kind.Rule())
	}
	return nil
}

// checkEvent holds what a record says of its event against the layout.
func (l *layout) checkEvent(r *store.Record) error {
	switch {
	case r.Event < 0 || r.Event >= len(l.plan.Events):
		return errors.New("the plan has no such event")
	case r.Insert.Own && r.Insert.Seq < 0:
		return errors.New("the sequence number is below 0")
	case len(r.Own) != len(l.own):
		return fmt.Errorf("there are %d values for %d columns of events", len(r.Own), len(l.own))
	}
	for i := range l.own {
		if err := l.own[i].check(&r.Own[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkSession does so for what it says of its session.
func (l *layout) checkSession(r *store.Record) error {
	switch {
	case r.ID == plan.ID{}:
		return errors.New("the sender is missing")
	case len(r.Session) != len(l.session):
		return fmt.Errorf("there are %d values for %d columns of sessions", len(r.Session), len(l.session))
	}
	for i := range l.session {
		if err := l.session[i].check(&r.Session[i]); err != nil {
			return err
		}
	}
	return nil
}

// sessionKey appends a text to dst that two sessions share only if they are the
// same. A missing value adds nothing, so the keys of sessions stay what they
// are when the plan is extended.
func (l *layout) sessionKey(dst []byte, sender int64, hyphens bool, values []plan.Value) []byte {
	dst = binary.AppendVarint(dst, sender)
	dst = append(dst, bit(hyphens))
	for tag, i := range l.tagged {
		v := values[i]
		if !v.Set {
			continue
		}
		dst = append(dst, byte(tag)) // a plan has 64 fields at most
		switch l.session[i].Kind {
		case plan.Version:
			dst = binary.AppendUvarint(dst, uint64(len(v.Text)))
			dst = append(dst, v.Text...)
		case plan.RandomID:
			dst = append(dst, v.ID[:]...)
			dst = append(dst, byte(v.Int))
		default:
			dst = binary.AppendVarint(dst, v.Int)
		}
	}
	return dst
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}
