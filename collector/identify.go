package collector

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Identifying is how Amplitude's SDKs say a user property: once, by an event
// `$identify`, and never again with the events that follow (seen with the SDK for
// Go, 1.3.0). It is no event: nothing is stored and nothing is counted as
// activity. What it says of the plan's user properties is kept and put into the sender's following events where those do not say it
// themselves, and so it reaches the store.
//
// `$set`, plain properties, null, `$setOnce`, `$add`, `$unset` and `$clearAll` are
// understood, and applied in the order in which SDKs do it (amplitude/analytics
// core: clearAll, unset, set, setOnce, add). The operations on lists are dropped
// like any undeclared field: no kind is a list.
//
// What is kept, and how it outlives the collector, stands in identities.go.

// What guard.check answers in place of a record for the two names that are no
// event.
var (
	identifies      = &refusal{field: "$identify"}
	identifiesGroup = &refusal{field: "$groupidentify"}
)

// identifying returns which of the two an event type is, or nil.
func identifying(eventType []byte) *refusal {
	if len(eventType) == 0 || eventType[0] != '$' {
		return nil
	}
	switch string(eventType) {
	case identifies.field:
		return identifies
	case identifiesGroup.field:
		return identifiesGroup
	}
	return nil
}

// An identification is what one `$identify` says.
type identification struct {
	id     plan.ID
	insert uint64 // stands for its insert id; 0 if it has none
	clear  bool   // forget what was said before
	says   []operation
	before int // how many records of the same request came before it
}

// An operation is to be done to a user property. Setting null takes it back. What
// is added may be below 0.
type operation struct {
	property
	op amplitude.Operation
}

// A property is a user property with its value.
type property struct {
	field *plan.Field
	value plan.Value
}

// identify holds an identification against the plan, as check does an event.
// All declared fields must be of their kinds; only user properties count.
func (g *guard) identify(e *amplitude.Event) (identification, *refusal) {
	if e.TooMany {
		return identification{}, &refusal{field: "user_properties"}
	}
	var who identification
	known := false
	refuse := func(s slot) (identification, *refusal) { return identification{}, &refusal{field: s.field.Name} }
	for _, part := range []struct {
		members  []amplitude.Member
		declared map[string]slot
	}{{e.Top, g.top}, {e.UserProperties, g.user}, {e.EventProperties, nil}} {
		for i := range part.members {
			m := &part.members[i]
			s, ok := part.declared[string(m.Name)]
			if !ok {
				switch string(m.Name) {
				case "$clearAll":
					who.clear = true
				case "insert_id":
					if m.Type == amplitude.String && len(m.Bytes) > 0 {
						sum := sha256.Sum256(m.Bytes)
						who.insert = binary.BigEndian.Uint64(sum[:])
					}
				case "event_type":
				default:
					g.counts.undeclaredFields.Add(1)
				}
				continue
			}
			var v plan.Value
			switch {
			case m.Op == amplitude.Unset:
			case m.Op == amplitude.Add:
				if v, ok = addend(s.field, m); !ok {
					return refuse(s)
				}
			case m.Type != amplitude.Null:
				if v, ok = value(s.field, m); !ok {
					return refuse(s)
				}
			}
			switch {
			case s.role == identity && v.Set:
				who.id, known = v.ID, true
			case s.field.In == plan.UserProperties:
				who.says = append(who.says, operation{property{s.field, v}, m.Op})
			}
		}
	}
	if !known {
		return identification{}, &refusal{field: g.plan.Identity, missing: true}
	}
	slices.SortStableFunc(who.says, func(a, b operation) int { return ranks[a.op] - ranks[b.op] })
	return who, nil
}

// ranks is the order in which operations are applied.
var ranks = [...]int{amplitude.Unset: 0, amplitude.Set: 1, amplitude.SetOnce: 2, amplitude.Add: 3}

// addend reads what is to be added to a whole number, which a moment is not.
func addend(f *plan.Field, m *amplitude.Member) (plan.Value, bool) {
	if m.Type != amplitude.Number || !f.Kind.Number() || f.Kind == plan.Timestamp {
		return plan.Value{}, false
	}
	digits, negative := bytes.CutPrefix(m.Bytes, []byte{'-'})
	v, ok := f.FromNumber(digits)
	if negative {
		v.Int = -v.Int
	}
	return v, ok
}

// handleIdentify answers Amplitude's Identify API: a form, or a query, with the
// API key and JSON, one object or an array of them, each like an event without
// a type. Which properties count and what is refused is as for `$identify`.
//
// Its twin for groups takes the same form. Plans declare nothing of groups, so what
// it says is answered 200 and thrown away.
func (c *Collector) handleIdentify(w http.ResponseWriter, r *http.Request) {
	c.takeIdentification(w, r, false)
}

func (c *Collector) handleGroupIdentify(w http.ResponseWriter, r *http.Request) {
	c.takeIdentification(w, r, true)
}

func (c *Collector) takeIdentification(w http.ResponseWriter, r *http.Request, groups bool) {
	size := int64(len(r.URL.RawQuery))
	if r.Method == http.MethodPost {
		body, err := readBody(nil, r, maxHTTPBody)
		if errors.Is(err, errTooLarge) || errors.Is(err, errSlow) {
			refuseBody(w, err)
			return
		}
		if err != nil {
			refuseIdentification(w, "it did not arrive whole")
			return
		}
		size = int64(len(body))
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	// Nothing is written to a file: all of the body fits into the memory given.
	if err := r.ParseMultipartForm(maxHTTPBody); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		refuseIdentification(w, "the form cannot be read")
		return
	}
	switch {
	case !r.Form.Has("api_key"):
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "Request missing required field", MissingField: "api_key"})
		return
	case !r.Form.Has("identification"):
		refuseIdentification(w, "it is not there")
		return
	}
	said := bytes.TrimSpace([]byte(r.Form.Get("identification")))
	if !json.Valid(said) {
		refuseIdentification(w, "it is not JSON")
		return
	}
	if said[0] != '[' {
		said = append(append([]byte{'['}, said...), ']')
	}
	body := append(amplitude.AppendString([]byte(`{"api_key":`), r.Form.Get("api_key")), `,"events":`...)
	body = append(append(body, said...), '}')
	in := identifyIntake{find: c.find, refused: c.refuse, groups: groups}
	for {
		err := in.decode(body)
		switch {
		case errors.Is(err, amplitude.ErrTooMany), errors.Is(err, errKey):
			refuseBody(w, err)
			return
		case err != nil:
			refuseIdentification(w, "its nesting is too deep")
			return
		case in.bad.answer != nil:
			writeError(w, in.bad.answer)
			return
		}
		if !c.limiter.allow(in.app.Name, in.index, nil) {
			c.tooFast(w, in.app)
			return
		}
		err = c.writer.append(in.app, in.guard, nil, in.said)
		if errors.Is(err, errStale) {
			continue // the folder has the app as it is now
		}
		if err != nil {
			c.unavailable(w, "keep identifications", err)
			return
		}
		break
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(amplitude.AppendOK(nil, in.index, int(size), c.now().UnixMilli()))
}

// An identifyIntake turns the objects of the Identify API into identifications.
// It is the decoder's Sink.
type identifyIntake struct {
	find    func(key []byte) (*App, *guard)
	refused func(app string, r *refusal)
	groups  bool // they are groups, and nobody asks what they say

	app   *App
	guard *guard
	said  []identification
	bad   refusals
	index int
}

func (in *identifyIntake) decode(body []byte) error {
	*in = identifyIntake{find: in.find, refused: in.refused, groups: in.groups}
	var d amplitude.Decoder
	return d.Decode(body, amplitude.MaxEvents, in)
}

// Key implements amplitude.Sink.
func (in *identifyIntake) Key(key []byte) error {
	if in.app, in.guard = in.find(key); in.app == nil {
		return errKey
	}
	return nil
}

// Known implements amplitude.Sink.
func (in *identifyIntake) Known([]byte, int) int { return 0 }

// Event implements amplitude.Sink.
func (in *identifyIntake) Event(e *amplitude.Event) error {
	defer func() { in.index++ }()
	if in.groups {
		return nil
	}
	who, refused := in.guard.identify(e)
	if refused != nil {
		in.refused(in.app.Name, refused)
		in.bad.add(refused, in.index)
		return nil
	}
	in.said = append(in.said, who)
	return nil
}

// refuseIdentification names the field in every 400, as refuseBody does.
// "missing_event" is what Amplitude's documentation tells senders to look for.
func refuseIdentification(w http.ResponseWriter, why string) {
	writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "missing_event: identification cannot be taken: " + why, MissingField: "identification"})
}
