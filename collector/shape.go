package collector

import (
	"sync/atomic"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Events of one program look alike: between two of them a handful of numbers and
// the id differ, and every other byte is the same. A shape is what the guard has
// learned from one accepted event: the bytes that stay, and between them the
// slots whose values change. An event that fits a shape was guarded when the
// shape was learned, but for its slots, and those are held against their fields
// again; so it needs no decoding. Anything that does not fit goes the long way.
//
// Whatever is in a shape came past the guard, and a fitting event is JSON because
// the learned one was and digits or an id were put in the place of digits or an
// id. FuzzShapes holds both ways against each other.
type shape struct {
	parts  []part
	tail   []byte // behind the last slot
	record store.Record

	undeclared int64 // fields of the event that the plan does not declare
}

// A part is a literal and the slot behind it.
type part struct {
	literal []byte
	slot    slotKind
	field   *plan.Field // of a number
	column  int         // of a number that is the event's own
}

type slotKind uint8

const (
	slotID     slotKind = iota // the identity, as long as the learned one
	slotInsert                 // the identity again, a hyphen, and a sequence number
	slotTime
	slotColumn
)

const (
	// maxShapes bounds what a guard has learned. A program has about one shape
	// for each event and version.
	maxShapes = 32

	// maxShape bounds one shape, and with it the memory: 32 times 4 KiB an app.
	maxShape = 4 << 10
)

// shapes is what a guard has learned, newest last. It is replaced whole, so that
// readers need no lock; two that learn at once may lose one, which is learned
// again.
type shapes struct {
	list atomic.Pointer[[]*shape]
}

func (s *shapes) get() []*shape {
	if list := s.list.Load(); list != nil {
		return *list
	}
	return nil
}

// add keeps a shape. The oldest goes when there are too many.
func (s *shapes) add(sh *shape) {
	old := s.get()
	if len(old) >= maxShapes {
		old = old[1:]
	}
	list := append(append(make([]*shape, 0, len(old)+1), old...), sh)
	s.list.Store(&list)
}

// learn makes a shape of an event that the guard has accepted as rec. It returns
// nil for events that no other will fit: without an own insert id, or too long.
func (g *guard) learn(body []byte, e *amplitude.Event, rec *store.Record) *shape {
	if !rec.Insert.Own || e.End-e.Start > maxShape {
		return nil
	}
	sh := &shape{record: *rec}
	sh.record.Session, sh.record.Own = append([]plan.Value(nil), rec.Session...), append([]plan.Value(nil), rec.Own...)
	at := e.Start
	put := func(m *amplitude.Member, begin, length int, p part) bool {
		if begin < at || begin+length > len(body) {
			return false
		}
		p.literal = append([]byte(nil), body[at:begin]...)
		sh.parts = append(sh.parts, p)
		at = begin + length
		return true
	}
	idLength := 32
	if rec.Hyphens {
		idLength = 36
	}
	var slots []*amplitude.Member
	var kinds []part
	collect := func(members []amplitude.Member, common, own map[string]slot, top bool) bool {
		for i := range members {
			m := &members[i]
			if top && string(m.Name) == "insert_id" {
				slots, kinds = append(slots, m), append(kinds, part{slot: slotInsert})
				continue
			}
			s, ok := common[string(m.Name)]
			if !ok {
				s, ok = own[string(m.Name)]
			}
			if !ok {
				if !top || string(m.Name) != "event_type" {
					sh.undeclared++
				}
				continue
			}
			switch {
			case m.Type == amplitude.Null:
			case s.role == identity:
				// Written with an escape it would not be found again.
				if m.Type != amplitude.String || body[m.At] != '"' || len(m.Bytes) != idLength || string(body[m.At+1:m.At+1+idLength]) != string(m.Bytes) {
					return false
				}
				slots, kinds = append(slots, m), append(kinds, part{slot: slotID})
			case s.role == eventTime:
				slots, kinds = append(slots, m), append(kinds, part{slot: slotTime, field: s.field})
			case s.role == eventColumn && s.field.Kind.Number():
				slots, kinds = append(slots, m), append(kinds, part{slot: slotColumn, field: s.field, column: s.index})
			}
		}
		return true
	}
	if !collect(e.Top, g.top, g.ownTop[rec.Event], true) ||
		!collect(e.UserProperties, g.user, g.ownUser[rec.Event], false) ||
		!collect(e.EventProperties, g.common, g.own[rec.Event], false) {
		return nil
	}
	ids, inserts := 0, 0
	for _, next := range byPlace(slots) {
		m, p := slots[next], kinds[next]
		begin, length := m.At, len(m.Bytes)
		switch p.slot {
		case slotID:
			begin++
			ids++
		case slotInsert:
			// The text must lie in the body as it is, behind the id.
			if string(body[m.At+1:min(m.At+1+len(m.Bytes), len(body))]) != string(m.Bytes) {
				return nil
			}
			begin++
			inserts++
			if ids == 0 {
				return nil // the id is needed first
			}
		}
		if !put(m, begin, length, p) {
			return nil
		}
	}
	// A name that comes twice is left to the long way.
	if ids != 1 || inserts != 1 {
		return nil
	}
	sh.tail = append([]byte(nil), body[at:e.End]...)
	return sh
}

// byPlace returns the indexes of members by their place in the body.
func byPlace(members []*amplitude.Member) []int {
	indexes := make([]int, len(members))
	for i := range indexes {
		indexes[i] = i
		for j := i; j > 0 && members[indexes[j]].At < members[indexes[j-1]].At; j-- {
			indexes[j], indexes[j-1] = indexes[j-1], indexes[j]
		}
	}
	return indexes
}

// A fit is what the slots of a shape hold in one event.
type fit struct {
	id   []byte // text of the identity
	seq  int64
	time int64
	set  bool // time is
	end  int
}

// match holds the body at pos against the shape and writes the numbers of the
// event's own columns into own, which has the length of the record's.
func (sh *shape) match(body []byte, pos int, own []plan.Value) (f fit, ok bool) {
	for i := range sh.parts {
		p := &sh.parts[i]
		if len(body)-pos < len(p.literal) || string(body[pos:pos+len(p.literal)]) != string(p.literal) {
			return fit{}, false
		}
		pos += len(p.literal)
		switch p.slot {
		case slotID:
			n := 32
			if sh.record.Hyphens {
				n = 36
			}
			if len(body)-pos < n {
				return fit{}, false
			}
			f.id = body[pos : pos+n]
			pos += n
			continue
		case slotInsert:
			n := len(f.id)
			if len(body)-pos <= n || string(body[pos:pos+n]) != string(f.id) || body[pos+n] != '-' {
				return fit{}, false
			}
			pos += n + 1
		}
		n, digits := wholeNumber(body[pos:])
		if digits == 0 {
			return fit{}, false
		}
		pos += digits
		switch p.slot {
		case slotInsert:
			if n > plan.MaxInt {
				return fit{}, false
			}
			f.seq = n
		case slotTime:
			v, ok := p.field.FromInt(n)
			if !ok {
				return fit{}, false
			}
			f.time, f.set = v.Int, true
		case slotColumn:
			v, ok := p.field.FromInt(n)
			if !ok {
				return fit{}, false
			}
			own[p.column] = v
		}
	}
	if len(body)-pos < len(sh.tail) || string(body[pos:pos+len(sh.tail)]) != string(sh.tail) {
		return fit{}, false
	}
	f.end = pos + len(sh.tail)
	return f, true
}

// wholeNumber reads up to 16 digits at the start of b, and returns how many. A
// leading zero is none: JSON does not have it, and our client does not write it.
func wholeNumber(b []byte) (n int64, digits int) {
	for digits < len(b) && digits < 17 {
		c := b[digits] - '0'
		if c > 9 {
			break
		}
		n = n*10 + int64(c)
		digits++
	}
	if digits > 16 || digits > 1 && b[0] == '0' {
		return 0, 0
	}
	return n, digits
}
