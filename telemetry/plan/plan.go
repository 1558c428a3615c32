package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Plan is the exhaustive list of what one app may send. Treat a Plan that has
// passed Check as immutable; it is then safe for concurrent use.
type Plan struct {
	// App is the short name of the program: lower-case letters, digits and
	// hyphens, 1 to 32 of them.
	App string `json:"app"`

	// Version is the number of this plan, from 1. A new version may only add.
	Version int `json:"version"`

	// Identity names the top-level field that tells senders apart: user_id or
	// device_id. It is declared in Fields with kind random_id.
	Identity string `json:"identity"`

	// Fields are carried by every event. One of them is the top-level "time".
	Fields []Field `json:"fields"`

	// Events are the values that event_type may have.
	Events []Event `json:"events"`

	// Delivery lists what travels for delivery only and is not part of an
	// answer: the insert_id, and the request headers. Published, never stored
	// as columns.
	Delivery []Item `json:"delivery,omitempty"`
}

// An Event is one value of event_type.
type Event struct {
	Name   string  `json:"name"`
	Doc    string  `json:"doc,omitempty"`
	Fields []Field `json:"fields,omitempty"` // the event's own, beside the plan's
}

// A Field is one thing that is collected.
type Field struct {
	Name string `json:"name"`
	In   Place  `json:"in"`
	Kind Kind   `json:"kind"`

	// Values are the words of an Enum, in a fixed order; a new plan version
	// may only append.
	Values []string `json:"values,omitempty"`

	// Bounds cut a Bucket into ranges: {10, 100} makes "0-9", "10-99" and "100+".
	Bounds []int64 `json:"bounds,omitempty"`

	// Session marks a field that is the same for all events of one session, so
	// that it is stored once a session. The identity always is.
	Session bool `json:"session,omitempty"`

	Doc string `json:"doc,omitempty"`
}

// An Item is a part of a request that is listed for completeness.
type Item struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
}

// MaxFields bounds the fields of a plan, and MaxEvents its events, so that
// neither a record nor a table row can grow without limit. 2026-11.
const (
	MaxFields = 64
	MaxEvents = 255
)

// maxValues bounds the words of an Enum and the ranges of a Bucket.
const maxValues = 255

// topNames are the top-level fields that a plan may declare: those of
// Amplitude's upload format that can be filled without free text. "ip" and the
// location, advertising and device-model fields are left out on purpose.
var topNames = map[string]bool{
	"user_id": true, "device_id": true, "time": true, "app_version": true,
	"version_name": true, "platform": true, "os_name": true, "os_version": true,
	"session_id": true, "event_id": true, "quantity": true,
}

// Parse reads a plan in JSON and checks it. Unknown keys are faults: a plan
// with a misspelt key would otherwise promise less than its author thinks.
func Parse(b []byte) (*Plan, error) {
	p := new(Plan)
	if err := ReadJSON(b, p); err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	if err := Check(p); err != nil {
		return nil, err
	}
	return p, nil
}

// ReadJSON reads one JSON object into v as plans are read: no unknown member, and
// nothing behind it. Its errors are for people and repeat no value.
func ReadJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return inWords(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more after the end; keep one JSON object in the file")
	}
	return nil
}

// inWords says what is wrong with JSON for people, and repeats no value of it.
func inWords(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("this is not JSON, at byte %d", syntax.Offset)
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("this must be a JSON object, and is a JSON %s", kind.Value)
	case errors.As(err, &kind):
		return fmt.Errorf("%s must not be a JSON %s", kind.Field, kind.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("this is not a whole JSON object")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: ")) // an unknown field, or what a kind's own reader says
}

// JSON returns the plan in the form that Parse reads, indented, ending in a
// newline. The same plan always gives the same bytes.
func (p *Plan) JSON() []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		// Only a kind or place out of its set can fail, and Check refuses those.
		panic("plan: JSON of an unchecked plan: " + err.Error())
	}
	return buf.Bytes()
}

// Check reports every fault of a plan at once, joined, each naming its place.
// A nil error means that all other functions of this package accept p.
func Check(p *Plan) error {
	c := checker{columns: map[string]Field{}}
	if !validApp(p.App) {
		c.fault("app", "must be 1 to 32 lower-case letters, digits and hyphens, starting with a letter")
	}
	if p.Version < 1 {
		c.fault("version", "must be 1 or more")
	}
	if p.Identity != "user_id" && p.Identity != "device_id" {
		c.fault("identity", "must be user_id or device_id")
	}
	if len(p.Events) == 0 {
		c.fault("events", "must declare at least one event")
	}
	if len(p.Events) > MaxEvents {
		c.fault("events", fmt.Sprintf("must be %d or fewer", MaxEvents))
	}
	c.fields("fields", p.Fields, nil)
	if f, ok := p.field(p.Identity); !ok || f.Kind != RandomID || f.In != Top {
		c.fault("fields", "must declare the identity field, at the top, of kind random_id")
	}
	if f, ok := p.field("time"); !ok || f.Kind != Timestamp || f.In != Top || f.Session {
		c.fault("fields", "must declare time, at the top, of kind timestamp, not of the session")
	}
	names := map[string]bool{}
	for i, e := range p.Events {
		at := fmt.Sprintf("events[%d]", i)
		if !validName(e.Name) {
			c.fault(at+".name", nameRule)
		}
		if names[e.Name] {
			c.fault(at+".name", "is declared twice")
		}
		names[e.Name] = true
		c.fields(at+".fields", e.Fields, p.Fields)
		for j, f := range e.Fields {
			if f.Session {
				c.fault(fmt.Sprintf("%s.fields[%d].session", at, j), "must be left out: a field of the session belongs to every event, so declare it in the plan's fields")
			}
		}
	}
	if len(c.columns) > MaxFields {
		c.fault("fields", fmt.Sprintf("must be %d or fewer over all events", MaxFields))
	}
	return errors.Join(c.faults...)
}

func (p *Plan) field(name string) (Field, bool) {
	for _, f := range p.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// checker collects the faults of one plan.
type checker struct {
	faults  []error
	columns map[string]Field // by lower-case name: databases fold case
}

func (c *checker) fault(at, rule string) {
	c.faults = append(c.faults, fmt.Errorf("plan: %s %s", at, rule))
}

// fields checks one list of fields; outer are those that it may not repeat.
func (c *checker) fields(at string, fields, outer []Field) {
	seen := map[string]bool{}
	for _, f := range outer {
		seen[strings.ToLower(f.Name)] = true
	}
	for i, f := range fields {
		at := fmt.Sprintf("%s[%d]", at, i)
		key := strings.ToLower(f.Name)
		if !validName(f.Name) {
			c.fault(at+".name", nameRule)
		}
		if seen[key] {
			c.fault(at+".name", "is declared twice (upper and lower case count as the same)")
		}
		seen[key] = true
		if !f.In.valid() {
			c.fault(at+".in", "must be top, user_properties or event_properties")
		}
		if f.In == Top && !topNames[f.Name] {
			c.fault(at+".name", "is not a top-level field that a plan may declare; put it into event_properties or user_properties")
		}
		if !f.Kind.valid() {
			c.fault(at+".kind", "must be one of enum, version, system, random_id, bytes, count, seconds, milliseconds, bucket, timestamp, flag")
		}
		c.values(at, f)
		// Two events may share a field: then it is one column, so it must be
		// one definition.
		if prior, ok := c.columns[key]; ok && !prior.Same(f) {
			c.fault(at, "differs from another event's field of the same name; use one definition or two names")
		} else if !ok {
			c.columns[key] = f
		}
	}
}

func (c *checker) values(at string, f Field) {
	if (f.Kind == Enum) != (len(f.Values) > 0) {
		c.fault(at+".values", "must be given for an enum, and only for an enum")
	}
	if (f.Kind == Bucket) != (len(f.Bounds) > 0) {
		c.fault(at+".bounds", "must be given for a bucket, and only for a bucket")
	}
	if len(f.Values) > maxValues || len(f.Bounds) > maxValues {
		c.fault(at, fmt.Sprintf("must have %d values or bounds at most", maxValues))
	}
	seen := map[string]bool{}
	for j, v := range f.Values {
		if !validName(v) {
			c.fault(fmt.Sprintf("%s.values[%d]", at, j), nameRule)
		}
		if seen[v] {
			c.fault(fmt.Sprintf("%s.values[%d]", at, j), "is declared twice")
		}
		seen[v] = true
	}
	last := int64(0)
	for j, b := range f.Bounds {
		if b <= last || b > MaxInt {
			c.fault(fmt.Sprintf("%s.bounds[%d]", at, j), "must be greater than the one before, and than 0")
		}
		last = b
	}
}

// Same reports whether two fields carry the same in the same place: all but what
// is said about them is equal. Fields of one name that are the same can share a
// column.
func (f Field) Same(g Field) bool {
	return f.Name == g.Name && f.In == g.In && f.Kind == g.Kind && slices.Equal(f.Values, g.Values) && slices.Equal(f.Bounds, g.Bounds)
}

const nameRule = "must be 1 to 64 letters, digits, spaces and _ - . : / + $ ( ) [ ], not starting with a space or _"

// validName accepts the names of events, fields and enum values. They are the
// plan author's own words, published with the plan. The set is narrow so that
// a name needs no escaping in JSON, HTML or CSV; a leading "_" is kept for the
// store's own columns.
func validName(s string) bool {
	if len(s) == 0 || len(s) > 64 || s[0] == '_' || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte(" _-.:/+$()[]", c) >= 0:
		default:
			return false
		}
	}
	return true
}

func validApp(s string) bool {
	if len(s) == 0 || len(s) > 32 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
