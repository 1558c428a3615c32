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
// decoded body or into the Decoder, and are valid during the call only.
type Member struct {
	Name  []byte
	Type  Type
	Op    Operation
	Bytes []byte
	At    int // where the value begins in the body, a string's with its quote
}

// An Operation is what a member of UserProperties is to do. SDKs write the others
// in `$identify` only.
type Operation uint8

const (
	Set     Operation = iota // "$set", and plain properties
	SetOnce                  // "$setOnce": if nothing is set
	Add                      // "$add": to a number
	Unset                    // "$unset"; the value means nothing
)

// operation returns what a name in user_properties stands for, if it is one of these.
func operation(name []byte) (Operation, bool) {
	switch string(name) {
	case "$set":
		return Set, true
	case "$setOnce":
		return SetOnce, true
	case "$add":
		return Add, true
	case "$unset":
		return Unset, true
	}
	return Set, false
}

// An Event is one element of the request's "events". A name may come twice; as
// in encoding/json the last one counts.
type Event struct {
	Top             []Member // without user_properties and event_properties
	UserProperties  []Member // plain ones, and those under an Operation
	EventProperties []Member
	NotObject       bool // the element is not an object at all
	TooMany         bool // it has more than maxMembers, and the rest is left out
	Start, End      int  // where the element lies in the body
}

// A Sink takes in a request as it is decoded. The API key comes before any
// event, wherever it stands in the body. An error ends the decoding and is
// returned as it is.
type Sink interface {
	// Key is called once.
	Key(key []byte) error

	// Known is asked at the start of each event. A Sink that recognises what
	// lies there takes it and returns where it ends; then it answers for its
	// being JSON. 0 leaves the event to the Decoder and to Event.
	Known(body []byte, start int) (end int)

	// Event takes one decoded event.
	Event(e *Event) error
}

var (
	// ErrJSON is the reason for refusing a body that is not JSON of the right
	// form. The errors that wrap it name a position, never a part of the body.
	ErrJSON = errors.New("invalid JSON request body")

	// ErrTooMany: the request has more events than the caller takes.
	ErrTooMany = errors.New("too many events in one request")

	// ErrNoKey and ErrNoEvents: api_key is missing or no string, events is
	// missing or no array.
	ErrNoKey    = errors.New("api_key is missing")
	ErrNoEvents = errors.New("events is missing")
)

// maxDepth bounds nesting. Amplitude allows 40 levels in properties.
const maxDepth = 64

// maxMembers bounds the members of one event, and with it the memory for them:
// 256 KiB. Without it a body of 20 MiB could hold four million. Amplitude's SDKs
// stop at about a thousand in each part. 2026-11.
const maxMembers = 4096

// A Decoder reads uploads. It reuses its memory from one Decode to the next. It
// is not safe for concurrent use; its zero value is ready.
type Decoder struct {
	body    []byte
	pos     int
	text    []byte   // unescaped strings
	members []Member // of one event, shared out as sub-slices
	tooMany bool     // members of one event
}

// Decode reads one request with at most maxEvents events and hands it to sink.
// Unknown members of the envelope are skipped; api_key and events may come once.
// Events reach the sink before the rest of the body was seen: if Decode returns
// an error, what the sink has taken counts for nothing. The memory used is
// bounded by a constant times len(body).
func (d *Decoder) Decode(body []byte, maxEvents int, sink Sink) error {
	d.body, d.pos, d.text = body, 0, d.text[:0]
	d.space()
	if d.peek() != '{' {
		return d.fail("an object is expected")
	}
	hasKey, events := false, -1 // events lies ahead of the key
	done := false
	err := d.object(1, func(name []byte) error {
		switch string(name) {
		case "api_key":
			if hasKey {
				return d.fail("api_key comes twice")
			}
			key, err := d.scalar(2)
			switch {
			case err != nil:
				return err
			case key.Type != String:
				return ErrNoKey
			}
			hasKey = true
			return sink.Key(key.Bytes)
		case "events":
			if done || events >= 0 {
				return d.fail("events comes twice")
			}
			if d.peek() != '[' {
				return d.skip(2)
			}
			if !hasKey {
				events = d.pos
				return d.skip(2)
			}
			done = true
			return d.events(maxEvents, sink)
		}
		return d.skip(2)
	})
	if err != nil {
		return err
	}
	d.space()
	if d.pos != len(body) {
		return d.fail("nothing may follow the object")
	}
	switch {
	case !hasKey:
		return ErrNoKey
	case events >= 0:
		d.pos = events
		return d.events(maxEvents, sink)
	case !done:
		return ErrNoEvents
	}
	return nil
}

// events reads the array of events.
func (d *Decoder) events(maxEvents int, sink Sink) error {
	n := 0
	return d.array(2, func() error {
		if n++; n > maxEvents {
			return ErrTooMany
		}
		if end := sink.Known(d.body, d.pos); end > 0 {
			d.pos = end
			return nil
		}
		return d.event(sink)
	})
}

// event reads one element of "events". The members of the three parts have to
// lie together, while their objects may come in any order and may repeat; so
// nested parts are only marked at first and read after the event's own members.
func (d *Decoder) event(sink Sink) error {
	d.members, d.text, d.tooMany = d.members[:0], d.text[:0], false
	e := Event{Start: d.pos}
	if d.peek() != '{' {
		e.NotObject = true
		if err := d.skip(3); err != nil {
			return err
		}
		e.End = d.pos
		return sink.Event(&e)
	}
	user, props := -1, -1
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
	e.End = d.pos
	top := len(d.members)
	if user >= 0 {
		d.pos = user
		err = d.object(4, func(name []byte) error {
			if op, ok := operation(name); ok && d.peek() == '{' {
				return d.object(5, func(name []byte) error {
					kept := len(d.members)
					err := d.member(name, 6)
					if len(d.members) > kept {
						d.members[kept].Op = op
					}
					return err
				})
			}
			return d.member(name, 5)
		})
		if err != nil {
			return err
		}
	}
	own := len(d.members)
	if props >= 0 {
		d.pos = props
		if err := d.object(4, func(name []byte) error { return d.member(name, 5) }); err != nil {
			return err
		}
	}
	d.pos = e.End
	e.TooMany = d.tooMany
	e.Top, e.UserProperties, e.EventProperties = d.members[:top:top], d.members[top:own:own], d.members[own:]
	return sink.Event(&e)
}

func (d *Decoder) member(name []byte, depth int) error {
	at := d.pos
	m, err := d.scalar(depth)
	m.Name, m.At = name, at
	if len(d.members) < maxMembers {
		d.members = append(d.members, m)
	} else {
		d.tooMany = true
	}
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
