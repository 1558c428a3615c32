package telemetry

import "github.com/blindai-go/blindai/telemetry/plan"

// The types of values that an event can carry. All of them are whole numbers;
// a string cannot be converted to any of them.
type (
	Bytes        int64 // a size in bytes, 0 or more
	Count        int64 // a number of things, 0 or more
	Seconds      int64 // a duration, 0 or more
	Milliseconds int64 // a duration, 0 or more
	Measured     int64 // a number of which only the declared range is sent
	Flag         uint8 // No or Yes; FlagOf makes one from a bool
)

const (
	No  Flag = 0
	Yes Flag = 1
)

// FlagOf returns Yes for true.
func FlagOf(b bool) Flag {
	if b {
		return Yes
	}
	return No
}

// A Value is what can be recorded: one of the types above, or an integer type
// of the program's own for an enum, whose constants count from 0 in the order
// of the declared words.
type Value interface {
	Bytes | Count | Seconds | Milliseconds | Measured | ~uint8
}

// A Field declares one value of an event. A value that does not fit its kind
// (below 0, above plan.MaxInt, an enum constant without a word) is sent as
// missing, and counted in Stats.
type Field[V Value] struct{ field plan.Field }

func field[V Value](kind plan.Kind, name, doc string) Field[V] {
	return Field[V]{plan.Field{Name: name, In: plan.EventProperties, Kind: kind, Doc: doc}}
}

// BytesField declares a size in bytes.
func BytesField(name, doc string) Field[Bytes] { return field[Bytes](plan.Bytes, name, doc) }

// CountField declares a number of things.
func CountField(name, doc string) Field[Count] { return field[Count](plan.Count, name, doc) }

// SecondsField declares a duration in whole seconds.
func SecondsField(name, doc string) Field[Seconds] { return field[Seconds](plan.Seconds, name, doc) }

// MillisecondsField declares a duration in whole milliseconds.
func MillisecondsField(name, doc string) Field[Milliseconds] {
	return field[Milliseconds](plan.Milliseconds, name, doc)
}

// FlagField declares a yes or no.
func FlagField(name, doc string) Field[Flag] { return field[Flag](plan.Flag, name, doc) }

// BucketField declares a number of which only the range leaves the process: the
// bounds 10 and 100 make the ranges "0-9", "10-99" and "100+".
func BucketField(name, doc string, bounds ...int64) Field[Measured] {
	f := field[Measured](plan.Bucket, name, doc)
	f.field.Bounds = bounds
	return f
}

// EnumField declares one of a few words. E is a type of the program's own:
// its constant 0 stands for the first word, and so on.
func EnumField[E ~uint8](name, doc string, words ...string) Field[E] {
	f := field[E](plan.Enum, name, doc)
	f.field.Values = words
	return f
}

// A Session is a field that has one value for all events of a session.
type Session[V Value] struct {
	c     *Client
	index int
}

// NewSession declares a field of the session. It travels in user_properties.
func NewSession[V Value](c *Client, f Field[V]) Session[V] {
	return Session[V]{c, c.declareSession(f.field)}
}

// Set gives the field its value. It takes effect if called before Open; a field
// that was not set is sent as missing.
func (s Session[V]) Set(v V) { s.c.setSession(s.index, int64(v)) }

// maxOwn bounds the fields that one event has of its own, which fixes the size
// of a record.
const maxOwn = 4

// Event0 is an event without fields of its own. Like all events it is safe for
// concurrent use, and may be recorded before Open and after Close, when it is
// counted as dropped (or ignored, where telemetry is off).
type Event0 struct {
	c     *Client
	index uint8
}

// NewEvent declares an event without fields of its own.
func NewEvent(c *Client, name, doc string) Event0 {
	return Event0{c, c.declareEvent(name, doc)}
}

// Record notes that the event happened now.
func (e Event0) Record() { e.c.record(e.index, [maxOwn]int64{}) }

// Event1 is an event with one field.
type Event1[A Value] struct{ e Event0 }

// NewEvent1 declares an event with one field.
func NewEvent1[A Value](c *Client, name, doc string, a Field[A]) Event1[A] {
	return Event1[A]{Event0{c, c.declareEvent(name, doc, a.field)}}
}

// Record notes that the event happened now.
func (e Event1[A]) Record(a A) { e.e.c.record(e.e.index, [maxOwn]int64{int64(a)}) }

// Event2 is an event with two fields.
type Event2[A, B Value] struct{ e Event0 }

// NewEvent2 declares an event with two fields.
func NewEvent2[A, B Value](c *Client, name, doc string, a Field[A], b Field[B]) Event2[A, B] {
	return Event2[A, B]{Event0{c, c.declareEvent(name, doc, a.field, b.field)}}
}

// Record notes that the event happened now.
func (e Event2[A, B]) Record(a A, b B) {
	e.e.c.record(e.e.index, [maxOwn]int64{int64(a), int64(b)})
}

// Event3 is an event with three fields.
type Event3[A, B, C Value] struct{ e Event0 }

// NewEvent3 declares an event with three fields.
func NewEvent3[A, B, C Value](c *Client, name, doc string, a Field[A], b Field[B], f Field[C]) Event3[A, B, C] {
	return Event3[A, B, C]{Event0{c, c.declareEvent(name, doc, a.field, b.field, f.field)}}
}

// Record notes that the event happened now.
func (e Event3[A, B, C]) Record(a A, b B, c C) {
	e.e.c.record(e.e.index, [maxOwn]int64{int64(a), int64(b), int64(c)})
}

// Event4 is an event with four fields.
type Event4[A, B, C, D Value] struct{ e Event0 }

// NewEvent4 declares an event with four fields.
func NewEvent4[A, B, C, D Value](c *Client, name, doc string, a Field[A], b Field[B], f Field[C], d Field[D]) Event4[A, B, C, D] {
	return Event4[A, B, C, D]{Event0{c, c.declareEvent(name, doc, a.field, b.field, f.field, d.field)}}
}

// Record notes that the event happened now.
func (e Event4[A, B, C, D]) Record(a A, b B, c C, d D) {
	e.e.c.record(e.e.index, [maxOwn]int64{int64(a), int64(b), int64(c), int64(d)})
}
