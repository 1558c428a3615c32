package amplitude

import (
	"errors"
	"fmt"
)

// A Type is the JSON type of a member's value.
type Type uint8

const (
	Null   Type = iota
	String      // Bytes holds the text, unescaped
	Number      // Bytes holds the number as written
	Bool        // Bytes holds "true" or "false"
	Other       // an object or an array; Bytes is empty
)

// A Member is one name and value of an event. Both slices point into the
// decoded body or into the Decoder, and are valid until its next Decode.
type Member struct {
	Name  []byte
	Type  Type
	Bytes []byte
}

// An Event is one element of the request's "events". A name may come twice; as
// in encoding/json the last one counts.
type Event struct {
	Top             []Member // without user_properties and event_properties
	UserProperties  []Member // plain ones, and those under "$set"
	EventProperties []Member
	NotObject       bool // the element is not an object at all
}

// A Request is a decoded upload.
type Request struct {
	APIKey    []byte
	HasKey    bool // api_key is there, as a string
	HasEvents bool // events is there, as an array
	Events    []Event
}

// ErrJSON is the reason for refusing a body that is not JSON of the right form.
// The errors that wrap it name a position, never a part of the body.
var ErrJSON = errors.New("invalid JSON request body")

// ErrTooMany is the reason for refusing a request with more events than the
// caller takes.
var ErrTooMany = errors.New("too many events in one request")

// maxDepth bounds nesting. Amplitude allows 40 levels in properties.
const maxDepth = 64

// A Decoder reads uploads. It reuses its memory from one Decode to the next. It
// is not safe for concurrent use; its zero value is ready.
type Decoder struct {
	body    []byte
	pos     int
	text    []byte   // unescaped strings
	members []Member // of all events, shared out as sub-slices
	spans   []span
	events  []Event
}

// span notes where an event's members lie in Decoder.members while that still
// grows and moves.
type span struct {
	top, user, props [2]int
	notObject        bool
}

// Decode reads one request with at most maxEvents events. The result is valid
// until the next call. Unknown members of the envelope are skipped. The memory
// used is bounded by a constant times len(body).
func (d *Decoder) Decode(body []byte, maxEvents int) (Request, error) {
	d.body, d.pos = body, 0
	d.text, d.members, d.spans, d.events = d.text[:0], d.members[:0], d.spans[:0], d.events[:0]
	if cap(d.text) < len(body) {
		// Room for all of it from the start: only bytes that are not UTF-8
		// lengthen text, threefold at most.
		d.text = make([]byte, 0, len(body))
	}
	var r Request
	d.space()
	if d.peek() != '{' {
		return Request{}, d.fail("an object is expected")
	}
	err := d.object(1, func(name []byte) error {
		switch string(name) {
		case "api_key":
			m, err := d.scalar(2)
			r.APIKey, r.HasKey = m.Bytes, m.Type == String
			return err
		case "events":
			if d.peek() != '[' {
				r.HasEvents = false
				return d.skip(2)
			}
			r.HasEvents = true
			d.members, d.spans = d.members[:0], d.spans[:0]
			return d.array(2, func() error {
				if len(d.spans) == maxEvents {
					return ErrTooMany
				}
				return d.event()
			})
		}
		return d.skip(2)
	})
	if err != nil {
		return Request{}, err
	}
	d.space()
	if d.pos != len(body) {
		return Request{}, d.fail("nothing may follow the object")
	}
	for _, s := range d.spans {
		d.events = append(d.events, Event{
			Top:             d.members[s.top[0]:s.top[1]:s.top[1]],
			UserProperties:  d.members[s.user[0]:s.user[1]:s.user[1]],
			EventProperties: d.members[s.props[0]:s.props[1]:s.props[1]],
			NotObject:       s.notObject,
		})
	}
	r.Events = d.events
	return r, nil
}

// event reads one element of "events". The members of the three parts have to
// lie together, while their objects may come in any order and may repeat; so
// nested parts are only marked at first and read after the event's own members.
func (d *Decoder) event() error {
	var s span
	if d.peek() != '{' {
		s.notObject = true
		d.spans = append(d.spans, s)
		return d.skip(3)
	}
	user, props := -1, -1
	s.top[0] = len(d.members)
	err := d.object(3, func(name []byte) error {
		switch string(name) {
		case "user_properties":
			if user = -1; d.peek() == '{' {
				user = d.pos
			}
			return d.skip(4)
		case "event_properties":
			if props = -1; d.peek() == '{' {
				props = d.pos
			}
			return d.skip(4)
		}
		return d.member(name, 4)
	})
	if err != nil {
		return err
	}
	s.top[1] = len(d.members)
	end := d.pos
	s.user[0] = len(d.members)
	if user >= 0 {
		d.pos = user
		err = d.object(4, func(name []byte) error {
			if string(name) == "$set" && d.peek() == '{' {
				return d.object(5, func(name []byte) error { return d.member(name, 6) })
			}
			return d.member(name, 5)
		})
		if err != nil {
			return err
		}
	}
	s.user[1] = len(d.members)
	s.props[0] = len(d.members)
	if props >= 0 {
		d.pos = props
		if err := d.object(4, func(name []byte) error { return d.member(name, 5) }); err != nil {
			return err
		}
	}
	s.props[1] = len(d.members)
	d.pos = end
	d.spans = append(d.spans, s)
	return nil
}

func (d *Decoder) member(name []byte, depth int) error {
	m, err := d.scalar(depth)
	m.Name = name
	d.members = append(d.members, m)
	return err
}

// scalar reads a value; of an object or an array only that it is one.
func (d *Decoder) scalar(depth int) (Member, error) {
	switch c := d.peek(); {
	case c == '"':
		s, err := d.string()
		return Member{Type: String, Bytes: s}, err
	case c == '{' || c == '[':
		return Member{Type: Other}, d.skip(depth)
	case c == 't':
		return d.word("true", Bool)
	case c == 'f':
		return d.word("false", Bool)
	case c == 'n':
		m, err := d.word("null", Null)
		m.Bytes = nil
		return m, err
	default:
		n, err := d.number()
		return Member{Type: Number, Bytes: n}, err
	}
}

func (d *Decoder) fail(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrJSON, what, d.pos)
}
