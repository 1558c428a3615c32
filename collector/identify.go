package collector

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Identifying is how Amplitude's SDKs say a user property: once, by an event
// `$identify`, and never again with the events that follow (seen with the SDK for
// Go, 1.3.0). It is no event: nothing is stored and nothing is counted as
// activity. What it says of the plan's user properties is kept here in memory
// and put into the sender's following events where those do not say it
// themselves, and so it reaches the store.
//
// `$set`, plain properties, null, `$setOnce`, `$add`, `$unset` and `$clearAll` are
// understood, and applied in the order in which SDKs do it (amplitude/analytics
// core: clearAll, unset, set, setOnce, add). The operations on lists are dropped
// like any undeclared field: no kind is a list.
//
// A restart of the collector forgets it all: a sender that has not identified
// itself since is as one that never did. To keep it over restarts would take a
// file of ids that erasures have to reach, for a field that then is null.
// 2026-11.

// maxIdentified bounds the properties that are kept over all senders, and with
// it the memory for them: 45 MB if each is a sender's only one (measured). Beyond
// it, the sender that was not heard of for the longest time is forgotten.
const maxIdentified = 200_000

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

// maxHeard is how many identifications of a sender are remembered by their
// insert ids, so that a request that comes again does not add twice, nor undo
// what was said since. A request seldom has more than one or two.
const maxHeard = 16

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
	name  string
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
				who.says = append(who.says, operation{property{s.field.Name, v}, m.Op})
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

// identities is what is kept of identifications. It is safe for concurrent use.
type identities struct {
	tombstones *tombstones
	size       atomic.Int64 // properties kept; read without mu by who only wants to know if there are any

	mu     sync.Mutex // guards what follows
	byName map[sender]*list.Element
	recent *list.List // of *identified, last heard of first
}

// A sender is told apart within its app only.
type sender struct {
	app string
	id  plan.ID
}

type identified struct {
	sender
	properties []property
	heard      []uint64 // insert ids of the last identifications, the oldest first
}

func newIdentities(t *tombstones) *identities {
	return &identities{tombstones: t, byName: map[sender]*list.Element{}, recent: list.New()}
}

// apply keeps what the identifications of one request say, and completes its
// records, in the order in which they came.
func (k *identities) apply(app string, g *guard, records []store.Record, said []identification) {
	if len(said) == 0 && k.size.Load() == 0 {
		return // the usual case
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range records {
		for len(said) > 0 && said[0].before <= i {
			k.keep(app, g, &said[0])
			said = said[1:]
		}
		k.complete(app, g, &records[i])
	}
	for i := range said {
		k.keep(app, g, &said[i])
	}
}

// keep notes an identification. The caller holds mu.
func (k *identities) keep(app string, g *guard, said *identification) {
	name := sender{app, said.id}
	// Asked under mu: an erasure writes the tombstone first and then calls
	// forget, so that whatever slipped in before is taken out.
	if k.tombstones.has(app, said.id) {
		return
	}
	at := k.byName[name]
	who := &identified{sender: name}
	if at != nil {
		k.recent.MoveToFront(at)
		who = at.Value.(*identified)
		if said.insert != 0 && slices.Contains(who.heard, said.insert) {
			return
		}
	}
	before := len(who.properties)
	who.apply(g, said)
	switch {
	case len(who.properties) == 0:
		k.size.Add(-int64(before)) // drop finds none any more
		k.drop(at)
		return
	case at == nil:
		k.byName[name] = k.recent.PushFront(who)
	}
	k.size.Add(int64(len(who.properties) - before))
	for k.size.Load() > maxIdentified {
		k.drop(k.recent.Back())
	}
}

// apply does what an identification says.
func (who *identified) apply(g *guard, said *identification) {
	if said.clear {
		who.properties = nil
	}
	for _, o := range said.says {
		who.operate(g, o)
	}
	if said.insert != 0 {
		if len(who.heard) == maxHeard {
			who.heard = who.heard[1:]
		}
		who.heard = append(who.heard, said.insert)
	}
}

func (who *identified) operate(g *guard, o operation) {
	at := slices.IndexFunc(who.properties, func(p property) bool { return p.name == o.name })
	switch {
	case o.op == amplitude.SetOnce && at >= 0:
		return
	case o.op == amplitude.Add:
		var now plan.Value
		if at >= 0 {
			now = who.properties[at].value
		}
		// A sum that the kind does not take leaves the number as it is.
		sum, ok := g.user[o.name].field.FromInt(now.Int + o.value.Int)
		if !ok {
			return
		}
		o.value = sum
	}
	switch {
	case !o.value.Set && at >= 0:
		who.properties = slices.Delete(who.properties, at, at+1)
	case !o.value.Set:
	case at >= 0:
		who.properties[at].value = o.value
	default:
		who.properties = append(who.properties, o.property)
	}
}

// complete fills in what an event does not say of its sender. What it does say
// is for this event alone: repeats come late and in any order, so they must not
// change what is kept. The caller holds mu.
func (k *identities) complete(app string, g *guard, r *store.Record) {
	at := k.byName[sender{app, r.ID}]
	if at == nil {
		return
	}
	k.recent.MoveToFront(at)
	for _, p := range at.Value.(*identified).properties {
		s, ok := g.user[p.name]
		if !ok {
			continue
		}
		if s.role == eventColumn {
			if !r.Own[s.index].Set {
				r.Own[s.index] = p.value
			}
			continue
		}
		if !r.Session[s.index].Set {
			// Records of one session share its values.
			r.Session = slices.Clone(r.Session)
			r.Session[s.index] = p.value
		}
	}
}

// drop forgets one sender, if there is one. The caller holds mu.
func (k *identities) drop(at *list.Element) {
	if at == nil {
		return
	}
	who := k.recent.Remove(at).(*identified)
	delete(k.byName, who.sender)
	k.size.Add(-int64(len(who.properties)))
}

// identify keeps what the identifications of one request say, and completes its
// records.
func (c *Collector) identify(app *App, g *guard, records []store.Record, said []identification) {
	if len(said) > 0 {
		c.metrics.identifys.WithLabelValues(app.Name).Add(float64(len(said)))
	}
	c.identities.apply(app.Name, g, records, said)
}

// forget is a part of an erasure.
func (k *identities) forget(app string, id plan.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(k.byName[sender{app, id}])
}

// forgetApp forgets all senders of an app.
func (k *identities) forgetApp(app string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, at := range k.byName {
		if name.app == app {
			k.drop(at)
		}
	}
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
	in := identifyIntake{find: c.find, refused: c.refuse, groups: groups}
	var d amplitude.Decoder
	err := d.Decode(append(append(body, said...), '}'), amplitude.MaxEvents, &in)
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
	c.identify(in.app, in.guard, nil, in.said)
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
