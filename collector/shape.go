package collector

import (
	"encoding/binary"
	"math"
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
	column  int // of a number that is the event's own

	// A number is taken from least to most: the bounds of its field.
	least, most int64
}

type slotKind uint8

const (
	slotID      slotKind = iota // the identity, as long as the learned one
	slotInsert                  // the identity again, a hyphen, and a sequence number
	slotForeign                 // any other insert id
	slotTime
	slotColumn
	slotNumber // a whole number that the plan does not declare
	slotText   // a text that the plan does not declare
)

const (
	// maxShapes bounds what a guard has learned. A program has about one shape
	// for each event and version.
	maxShapes = 32

	// maxShape bounds one shape, and with it the memory: 32 times 4 KiB an app,
	// and what maxSlots adds.
	maxShape = 4 << 10
	maxSlots = 64

	// maxLearned bounds what one request teaches, because to learn costs more
	// than to read: events that are alike in nothing are not worth it.
	maxLearned = 8
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
// nil for events that are too long, or written in a way that slots do not fit.
func (g *guard) learn(body []byte, e *amplitude.Event, rec *store.Record) *shape {
	if e.End-e.Start > maxShape {
		return nil
	}
	sh := &shape{record: *rec}
	sh.record.Session, sh.record.Own = append([]plan.Value(nil), rec.Session...), append([]plan.Value(nil), rec.Own...)
	var slots []*amplitude.Member
	var kinds []part
	ids, inserts, types := 0, 0, 0
	nulls := map[*plan.Field]bool{} // of the fields so far, whether they are null
	collect := func(members []amplitude.Member, common, own map[string]slot, top bool) bool {
		for i := range members {
			m := &members[i]
			p, isSlot := part{}, true
			s, declared := common[string(m.Name)]
			if !declared {
				s, declared = own[string(m.Name)]
			}
			if declared = declared && m.Op == amplitude.Set; declared {
				null := m.Type == amplitude.Null
				if was, twice := nulls[s.field]; twice && was != null {
					return false // the last one counts, and a slot cannot tell
				}
				nulls[s.field] = null
			}
			switch {
			case top && string(m.Name) == "event_type":
				types++
				isSlot = false
			case top && string(m.Name) == "insert_id":
				inserts++
				p.slot = slotForeign
				if rec.Insert.Own {
					p.slot, p.most = slotInsert, plan.MaxInt
				}
				isSlot = m.Type == amplitude.String
			case !declared:
				sh.undeclared++
				switch {
				case m.Type == amplitude.Number && isWhole(m.Bytes):
					p.slot, p.most = slotNumber, math.MaxInt64
				case m.Type == amplitude.String && isPlain(m.Bytes):
					p.slot = slotText
				default:
					isSlot = false
				}
			case m.Type == amplitude.Null:
				isSlot = false
			case s.role == identity:
				ids++
				p.slot = slotID
			case s.role == eventTime:
				p.slot = slotTime
				p.least, p.most = bounds(s.field)
			case s.role == eventColumn && s.field.Kind.Number():
				p.slot, p.column = slotColumn, s.index
				p.least, p.most = bounds(s.field)
			default:
				isSlot = false
			}
			if !isSlot {
				continue
			}
			if m.Type == amplitude.String && !verbatim(body, m) {
				return false
			}
			slots, kinds = append(slots, m), append(kinds, p)
		}
		return true
	}
	if !collect(e.Top, g.top, g.ownTop[rec.Event], true) ||
		!collect(e.UserProperties, g.user, g.ownUser[rec.Event], false) ||
		!collect(e.EventProperties, g.common, g.own[rec.Event], false) {
		return nil
	}
	// A name that comes twice is left to the long way.
	if ids != 1 || inserts > 1 || types > 1 || len(slots) > maxSlots {
		return nil
	}
	at, hasID := e.Start, false
	for _, next := range byPlace(slots) {
		m, p := slots[next], kinds[next]
		begin := m.At
		if m.Type == amplitude.String {
			begin++
		}
		if begin < at {
			return nil
		}
		hasID = hasID || p.slot == slotID
		if p.slot == slotInsert && !hasID {
			return nil // the id is needed first
		}
		p.literal = append([]byte(nil), body[at:begin]...)
		sh.parts = append(sh.parts, p)
		at = begin + len(m.Bytes)
	}
	sh.tail = append([]byte(nil), body[at:e.End]...)
	return sh
}

// verbatim reports whether a text lies in the body as it is. Written with an
// escape it would not be found again.
func verbatim(body []byte, m *amplitude.Member) bool {
	at := m.At + 1
	return isPlain(m.Bytes) && at+len(m.Bytes) < len(body) && string(body[at:at+len(m.Bytes)]) == string(m.Bytes)
}

// bounds returns the least and the largest whole number that f takes.
func bounds(f *plan.Field) (least, most int64) {
	if f.Kind == plan.Timestamp {
		return plan.MinTime, plan.MaxTime
	}
	return 0, plan.MaxInt
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
	id      []byte // text of the identity
	foreign []byte // text of an insert id that is not ours; nil if there is none
	seq     int64  // of one that is
	time    int64
	set     bool // time is
	end     int

	numbers []int64 // of the event's own columns, in the order of the parts
}

// match holds the body at pos against the shape. It appends to f.numbers.
func (sh *shape) match(body []byte, pos int, f *fit) bool {
	for i := range sh.parts {
		p := &sh.parts[i]
		if len(body)-pos < len(p.literal) || string(body[pos:pos+len(p.literal)]) != string(p.literal) {
			return false
		}
		pos += len(p.literal)
		switch p.slot {
		case slotID:
			n := 32
			if sh.record.Hyphens {
				n = 36
			}
			if len(body)-pos < n {
				return false
			}
			f.id = body[pos : pos+n]
			pos += n
			continue
		case slotForeign, slotText:
			n := plainLength(body[pos:])
			if p.slot == slotForeign {
				f.foreign = body[pos : pos+n]
			}
			pos += n
			continue
		case slotInsert:
			n := len(f.id)
			if len(body)-pos <= n || string(body[pos:pos+n]) != string(f.id) || body[pos+n] != '-' {
				return false
			}
			pos += n + 1
		}
		n, digits := wholeNumber(body[pos:])
		if digits == 0 || n < p.least || n > p.most {
			return false
		}
		pos += digits
		switch p.slot {
		case slotInsert:
			f.seq = n
		case slotTime:
			f.time, f.set = n, true
		case slotColumn:
			f.numbers = append(f.numbers, n)
		}
	}
	if len(body)-pos < len(sh.tail) || string(body[pos:pos+len(sh.tail)]) != string(sh.tail) {
		return false
	}
	f.end = pos + len(sh.tail)
	return true
}

// wholeNumber reads up to 16 digits at the start of b, and returns how many. A
// leading zero is none: JSON does not have it, and our client does not write it.
func wholeNumber(b []byte) (n int64, digits int) {
	if len(b) >= 8 {
		// Eight digits at once: each byte is one if it is '0' to '9', and pairs,
		// then fours, then all are added up within the word.
		w := binary.LittleEndian.Uint64(b)
		d := w ^ 0x3030303030303030
		if (d|(d+0x7676767676767676))&0x8080808080808080 == 0 {
			d = d*10 + d>>8
			d = (d&0x00FF00FF00FF00FF)*100 + d>>16&0x00FF00FF00FF00FF
			d = (d&0x0000FFFF0000FFFF)*10000 + d>>32&0x0000FFFF0000FFFF
			n, digits = int64(d&0xFFFFFFFF), 8
		}
	}
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

// isWhole reports whether wholeNumber reads all of b.
func isWhole(b []byte) bool {
	_, digits := wholeNumber(b)
	return digits > 0 && digits == len(b)
}

// plainLength returns how many bytes at the start of b are printable ASCII that
// stands for itself in a JSON text.
func plainLength(b []byte) int {
	for i, c := range b {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return i
		}
	}
	return len(b)
}

func isPlain(b []byte) bool { return plainLength(b) == len(b) }
