package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
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
type layout struct {
	plan *plan.Plan

	SessionTable, EventTable string // exported for the queries

	session, own []column // in the order of a record's Session and Own

	// tagged holds the indexes of session in an order that an extended plan
	// keeps and adds to. See sessionKey.
	tagged []int
}

// The store's own columns, as query/create_*.sql declares them.
var (
	ownSessionParts = []string{
		"_session", // the session's number, from 1
		"_sender",  // the number that stands for the sender's id in the file ids
		"_hyphens", // whether the id came with hyphens
	}
	ownEventParts = []string{
		"_row",      // the event's number in the order of storage, from 1
		"_session",  // of its session
		"_seq",      // the sequence number of an own insert id, or null
		"_insert",   // a foreign insert id, or null
		"_time",     // when it happened, ms since 1970: a number, because charts compute with it
		"_received", // when it arrived, likewise
		"_type",     // the index of the event in the plan
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
	return l
}

// SessionParts returns the names of all columns of SessionTable that the plan
// knows, the store's own first. EventParts does so for EventTable.
func (l *layout) SessionParts() []string { return parts(ownSessionParts, l.session) }
func (l *layout) EventParts() []string   { return parts(ownEventParts, l.own) }

func parts(own []string, columns []column) []string {
	all := slices.Clone(own)
	for _, c := range columns {
		all = append(all, c.parts()...)
	}
	return all
}

// SessionDefinitions and EventDefinitions return the plan's columns of each
// table, as CREATE TABLE wants them.
func (l *layout) SessionDefinitions() []string { return definitions(l.session) }
func (l *layout) EventDefinitions() []string   { return definitions(l.own) }

func definitions(columns []column) []string {
	var all []string
	for _, c := range columns {
		all = append(all, c.definitions()...)
	}
	return all
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

// sqlType is the smallest type that takes every value of the kind.
func (c column) sqlType() string {
	switch c.Kind {
	case plan.Enum, plan.Bucket: // 256 labels at most
		return "UTINYINT"
	case plan.System:
		return "USMALLINT"
	case plan.Flag:
		return "BOOLEAN"
	case plan.Version:
		return "VARCHAR"
	case plan.RandomID:
		return "UUID"
	default:
		return "BIGINT"
	}
}

// hyphens names the column that says how a random id was written. It is there
// for that kind only.
func (c column) hyphens() string { return "_hyphens_" + c.Name }

// parts returns the names of the columns that hold c.
func (c column) parts() []string {
	if c.Kind == plan.RandomID {
		return []string{c.Name, c.hyphens()}
	}
	return []string{c.Name}
}

// definitions returns the columns of c as CREATE TABLE and ALTER TABLE want them.
func (c column) definitions() []string {
	d := []string{quote(c.Name) + " " + c.sqlType()}
	if c.Kind == plan.RandomID {
		d = append(d, quote(c.hyphens())+" BOOLEAN")
	}
	return d
}

// quote makes an identifier of any name.
func quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// check holds a value against the column, so that none can be stored that could
// not be read back. The guard has looked at it closer. The error does not hold
// the value.
func (c column) check(v plan.Value) error {
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

// check holds a whole record against the layout.
func (l *layout) check(r *store.Record) error {
	switch {
	case r.ID == plan.ID{}:
		return errors.New("the sender is missing")
	case r.Event < 0 || r.Event >= len(l.plan.Events):
		return errors.New("the plan has no such event")
	case r.Insert.Own && r.Insert.Seq < 0:
		return errors.New("the sequence number is below 0")
	case len(r.Session) != len(l.session) || len(r.Own) != len(l.own):
		return fmt.Errorf("there are %d and %d values for %d and %d columns", len(r.Session), len(r.Own), len(l.session), len(l.own))
	}
	for i, c := range l.session {
		if err := c.check(r.Session[i]); err != nil {
			return err
		}
	}
	for i, c := range l.own {
		if err := c.check(r.Own[i]); err != nil {
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
