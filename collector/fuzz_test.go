package collector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// What one upload may allocate in all, until its records are there: for each
// byte of its body (unpacked, as far as it is taken) perByte, and perUpload.
//
// A buffer that grows by a quarter at a time, as large ones do in Go, has
// allocated up to 6.25 times what it holds in the end. So it is with the body
// itself, and with the texts that are not in the body as they are, in which one
// byte that is not UTF-8 becomes three: 6.25 + 3*6.25 = 25. An event that is
// stored takes at least 76 bytes of the body, and a record with its values, also
// in buffers that grow, 20 times that. perUpload is for the unpacker, for the
// members of one event, for eight shapes that are learned, and for naming 2,000
// events that are refused.
const (
	perByte   = 32
	perUpload = 2 << 20
)

// FuzzAllocation holds uploads to that, whatever is in them.
func FuzzAllocation(f *testing.F) {
	add := func(body string) {
		for form := range byte(3) {
			f.Add([]byte(body), form)
		}
	}
	in := func(members string) string { return req(`{"event_properties":{` + members + `}}`) }
	minimal := func(i int) string { return fmt.Sprintf(`{"user_id":"%032x","event_type":"started"}`, i+1) }
	add(req(event(idA, 0), event(idA, 1)))
	add(in(strings.Repeat(`"":1,`, 100_000) + `"":1`))
	add(in(`"` + strings.Repeat("\xff", 500_000) + `":1`))
	add(in(`"a":"` + strings.Repeat(`\n`, 250_000) + `"`))
	add(req(strings.Repeat(`{},`, 1999) + `{}`))
	add(req(strings.Repeat(`{},`, 100_000) + `{}`))
	add(`{"events":` + strings.Repeat("[", 500_000))
	add(strings.Repeat(" ", 1<<20+1))
	add(strings.Repeat("\x00", 4<<20))
	var stored, different []string
	for i := range 2000 {
		stored = append(stored, minimal(i))
		different = append(different, strings.Replace(minimal(i), "{", fmt.Sprintf(`{"%d":1,`, i), 1))
	}
	add(req(stored...))
	add(req(different...))
	add(req(strings.Repeat(identify(idA, `{"$set":{"sgx_mode":"HW"}}`)+",", 1000) + "{}"))
	f.Add([]byte(zipped(strings.Repeat("\x00", 16<<20))), byte(2))
	f.Add([]byte(strings.Repeat(zipped(""), 10_000)), byte(2))

	find := func(g *guard) func([]byte) (*App, *guard) {
		app := &App{Name: events.App, Plan: g.plan}
		return func([]byte) (*App, *guard) { return app, g }
	}
	f.Fuzz(func(t *testing.T, b []byte, form byte) {
		r := httptest.NewRequest("POST", "/2/httpapi", nil)
		switch form % 3 {
		case 1: // packed
			b = []byte(zipped(string(b)))
			fallthrough
		case 2: // packed already, or so it says
			asGzip(r)
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		unsized(r)
		g := newGuard(events.Plan(), new(refusedCounts))
		u := &upload{intake: intake{find: find(g)}}

		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body, err := readBody(nil, r, maxHTTPBody)
		if err == nil {
			err = u.intake.decode(&u.decoder, body, 1_800_000_000_000)
		}
		runtime.ReadMemStats(&after)

		used, most := after.TotalAlloc-before.TotalAlloc, uint64(perByte*max(len(body), len(b))+perUpload)
		if used > most {
			t.Fatalf("an upload of %d bytes, %d unpacked, allocates %d, want %d at most (%v)", len(b), len(body), used, most, err)
		}
	})
}

// everyKind is a plan with a field of each kind, in every place where one may be.
func everyKind(t testing.TB) *plan.Plan {
	p := &plan.Plan{App: "kinds", Version: 1, Identity: "user_id", Fields: []plan.Field{
		{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true},
		{Name: "time", In: plan.Top, Kind: plan.Timestamp},
		{Name: "app_version", In: plan.Top, Kind: plan.Version, Session: true},
		{Name: "platform", In: plan.Top, Kind: plan.System},
	}}
	for _, f := range []plan.Field{
		{Name: "enum", Kind: plan.Enum, Values: []string{"A", "B"}}, {Name: "version", Kind: plan.Version}, {Name: "system", Kind: plan.System},
		{Name: "id", Kind: plan.RandomID}, {Name: "bytes", Kind: plan.Bytes}, {Name: "count", Kind: plan.Count}, {Name: "seconds", Kind: plan.Seconds},
		{Name: "milliseconds", Kind: plan.Milliseconds}, {Name: "bucket", Kind: plan.Bucket, Bounds: []int64{10, 100}},
		{Name: "timestamp", Kind: plan.Timestamp}, {Name: "flag", Kind: plan.Flag},
	} {
		user := f
		user.Name, user.In, user.Session = "my_"+f.Name, plan.UserProperties, true
		f.In = plan.EventProperties
		p.Fields = append(p.Fields, f, user)
	}
	p.Events = []plan.Event{
		{Name: "one", Fields: []plan.Field{{Name: "only", In: plan.EventProperties, Kind: plan.Count}}},
		{Name: "two"},
	}
	if err := plan.Check(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// FuzzDeclared holds what gets past the guard against encoding/json: each value
// of a record is that of the member that the plan declares, in its place, and one
// that its kind takes. So nothing else of a body, and no part of an undeclared
// member, can be in what is handed to the store. The events come twice, so that
// the second time a learned shape may have taken them.
func FuzzDeclared(f *testing.F) {
	p := everyKind(f)
	all := `{"user_id":"` + idA + `","event_type":"one","time":1795442093123,"app_version":"1.2","platform":"linux/amd64","canary":"canary",
		"event_properties":{"enum":"A","version":"1.2.3","system":"windows/arm64","id":"01234567-89AB-cdef-0123-456789abcdef","bytes":1,"count":2,"seconds":3,
		"milliseconds":4,"bucket":"10-99","timestamp":1795442093123,"flag":true,"only":7,"my_count":"canary","canary":{"count":5}},
		"user_properties":{"my_enum":"B","$set":{"my_flag":false,"my_count":9007199254740991,"canary":"canary"},"count":5,"$setOnce":{"my_seconds":1},"$add":{"my_bytes":-5},"$unset":{"my_enum":"-"}},"count":6}`
	for _, s := range []string{
		all, strings.Replace(all, `"one"`, `"two"`, 1), strings.Replace(all, `"one"`, `"$identify"`, 1),
		strings.Replace(all, `"count":2`, `"count":2,"count":null,"enum":"A","enum":"B"`, 1), strings.Replace(all, `"flag":true`, `"flag":1`, 1),
		`{"user_id":"` + idA + `","event_type":"two","event_properties":{"only":1}}`, event(idA, 0),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		body := amplitude.AppendTail(amplitude.AppendEvent(amplitude.AppendEvent(amplitude.AppendHead(nil, "k"), 0, b), 1, b))
		in, err := decodeWith(newGuard(p, new(refusedCounts)), body)
		if err != nil || in.bad.answer != nil {
			return
		}
		var sent struct{ Events []json.RawMessage }
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatalf("encoding/json does not take it: %v", err)
		}
		if len(in.records)+len(in.said) != len(sent.Events) {
			t.Fatalf("%d records and %d identifications of %d events", len(in.records), len(in.said), len(sent.Events))
		}
		identified := 0
		for i, raw := range sent.Events {
			var e map[string]any
			d := json.NewDecoder(bytes.NewReader(raw))
			d.UseNumber()
			if err := d.Decode(&e); err != nil {
				t.Fatal(err)
			}
			if e["event_type"] == "$identify" {
				identified++
				continue
			}
			if err := declared(p, raw, e, &in.records[i-identified]); err != nil {
				t.Fatal(err)
			}
		}
		for _, who := range in.said {
			for _, says := range who.says {
				field, ok := p.Lookup(says.field.Name)
				if !ok || field.In != plan.UserProperties {
					t.Fatalf("the name %q is kept of an identification", says.field.Name)
				}
				if says.op == amplitude.Add { // may be below 0
					says.value.Int = max(says.value.Int, -says.value.Int)
				}
				if err := within(&field, says.value); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// declared reports what of a record is not what the plan declares of the event.
func declared(p *plan.Plan, raw []byte, e map[string]any, r *store.Record) error {
	if r.Event < 0 || r.Event >= len(p.Events) || e["event_type"] != p.Events[r.Event].Name {
		return fmt.Errorf("event_type is kept as %d", r.Event)
	}
	id, hyphens, _ := plan.ParseID([]byte(fmt.Sprint(e["user_id"])))
	if r.ID != id || r.Hyphens != hyphens || id == (plan.ID{}) {
		return errors.New("the sender is not the one that the event names")
	}
	if at := e["time"]; at != nil && at != json.Number(fmt.Sprint(r.Time)) || at == nil && r.Time != r.Received || r.Received != 1_800_000_000_000 {
		return fmt.Errorf("the time is %d, and the event's %v", r.Time, at)
	}
	set := map[string][]any{}
	for _, part := range membersOf(raw) {
		if part.name != "user_properties" {
			continue
		}
		clear(set) // the last one counts
		for _, m := range membersOf(part.value) {
			if m.name != "$set" {
				set[m.name] = append(set[m.name], m.value)
				continue
			}
			for _, m := range membersOf(m.value) { // all of these count
				set[m.name] = append(set[m.name], m.value)
			}
		}
	}
	own := map[string]bool{}
	for _, f := range p.Events[r.Event].Fields {
		own[f.Name] = true
	}
	check := func(fields []plan.Field, values []plan.Value) error {
		if len(fields) != len(values) {
			return fmt.Errorf("%d values for %d fields", len(values), len(fields))
		}
		for i := range fields {
			f, v := &fields[i], values[i]
			if err := within(f, v); err != nil {
				return err
			}
			if !v.Set {
				continue
			}
			if f.Name == "only" && !own["only"] {
				return errors.New("a field of another event is kept")
			}
			var said []any
			switch f.In {
			case plan.Top:
				said = []any{e[f.Name]}
			case plan.EventProperties:
				props, _ := e["event_properties"].(map[string]any)
				said = []any{props[f.Name]}
			case plan.UserProperties:
				said = append(said, set[f.Name]...)
			}
			kept, ok := string(f.AppendJSON(nil, v)), false
			for _, s := range said {
				b := text(s)
				if f.Kind == plan.RandomID {
					b = bytes.ToLower(b)
				}
				ok = ok || string(b) == kept
			}
			if !ok {
				return fmt.Errorf("%s is kept as %s, which the event does not say", f.Name, kept)
			}
		}
		return nil
	}
	return errors.Join(check(p.SessionColumns(), r.Session), check(p.EventColumns(), r.Own))
}

type member struct {
	name  string
	value json.RawMessage
}

// membersOf returns those of an object, with names that come twice, in their order.
func membersOf(raw []byte) (all []member) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		var m member
		if err != nil || d.Decode(&m.value) != nil {
			return all
		}
		m.name, _ = name.(string)
		all = append(all, m)
	}
	return all
}

// text returns a value's JSON with every escape undone that can be.
func text(v any) []byte {
	if raw, ok := v.(json.RawMessage); ok {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		_ = d.Decode(&v) // it was decoded before
	}
	b, _ := json.Marshal(v)
	return b
}

// within reports a value that is not of the field's kind: one that does not come
// out again as it went in.
func within(f *plan.Field, v plan.Value) error {
	if !v.Set {
		if v != (plan.Value{}) {
			return fmt.Errorf("null holds a value of %s", f.Name)
		}
		return nil
	}
	var again plan.Value
	var ok bool
	switch b := f.AppendJSON(nil, v); {
	case f.Kind == plan.Flag:
		again, ok = f.FromBool(string(b) == "true")
	case f.Kind.Number():
		again, ok = f.FromNumber(b)
	default:
		again, ok = f.FromString(bytes.Trim(b, `"`))
	}
	if !ok || again != v {
		return fmt.Errorf("a value of %s is not %s", f.Name, f.Kind.Rule())
	}
	return nil
}
