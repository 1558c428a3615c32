package amplitude

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A listing is a Sink that writes a request down in a form that tests can read.
type listing struct {
	b      strings.Builder
	events int
}

func (l *listing) Key(key []byte) error {
	fmt.Fprintf(&l.b, "key %s;", key)
	return nil
}

func (l *listing) Known([]byte, int) int { return 0 }

func (l *listing) Event(e *Event) error {
	l.events++
	if e.NotObject {
		l.b.WriteString(" [not an object]")
		return nil
	}
	fmt.Fprintf(&l.b, " [%s|%s|%s]", showMembers(e.Top), showMembers(e.UserProperties), showMembers(e.EventProperties))
	return nil
}

func showMembers(ms []Member) string {
	var s []string
	for _, m := range ms {
		s = append(s, fmt.Sprintf("%s%s=%s:%s", [...]string{"", "$setOnce ", "$add ", "$unset "}[m.Op], m.Name, [...]string{"null", "string", "number", "bool", "other"}[m.Type], m.Bytes))
	}
	return strings.Join(s, " ")
}

func TestDecode(t *testing.T) {
	var d Decoder
	f := func(body, want string) {
		t.Helper()
		var l listing
		err := d.Decode([]byte(body), 3, &l)
		got := l.b.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || (err == nil && got != want) {
			t.Errorf("%s\ngot  %s\nwant %s", body, got, want)
		}
	}
	f(`{"api_key":"k","events":[]}`, `key k;`)
	f(" {\n\"api_key\" : \"k\" , \"events\" : [ { \"a\" : 1 } ] } \t\r\n", `key k; [a=number:1||]`)
	f(`{"api_key":"k","events":[{"event_type":"x","time":1,"n":null,"t":true,"f":false,"o":{"a":[1]},"l":[1,{}]}]}`,
		`key k; [event_type=string:x time=number:1 n=null: t=bool:true f=bool:false o=other: l=other:||]`)
	f(`{"events":[{"user_properties":{"a":1},"event_type":"x","event_properties":{"b":"2","c":{}}}],"api_key":"k"}`,
		`key k; [event_type=string:x|a=number:1|b=string:2 c=other:]`)
	f(`{"api_key":"k","events":[{"user_properties":{"$set":{"a":1},"$unset":{"b":"-"}}}]}`, `key k; [|a=number:1 $unset b=string:-|]`)
	f(`{"api_key":"k","events":[{"user_properties":{"$setOnce":{"a":1},"$add":{"a":2},"$append":{"a":3},"$unset":"-","$clearAll":{"-":null},"a":4}}]}`,
		`key k; [|$setOnce a=number:1 $add a=number:2 $append=other: $unset=string:- $clearAll=other: a=number:4|]`)
	f(`{"api_key":"k","events":[{"event_properties":{"$set":{"a":1}}}]}`, `key k; [||$set=other:]`)
	f(`{"api_key":"k","events":[{"user_properties":{"a":1},"user_properties":{"b":2}}]}`, `key k; [|b=number:2|]`)
	f(`{"api_key":"k","events":[{"user_properties":{"a":1},"user_properties":null,"event_properties":[1]}]}`, `key k; [||]`)
	f(`{"api_key":"k","events":[1,"x",null]}`, `key k; [not an object] [not an object] [not an object]`)
	f(`{"options":{"min_id_length":1},"api_key":"b","events":[{"c":1}],"x":[]}`, `key b; [c=number:1||]`)
	f(`{"api_key":1,"events":[]}`, ErrNoKey.Error())
	f(`{"events":[]}`, ErrNoKey.Error())
	f(`{"api_key":"k","events":{}}`, ErrNoEvents.Error())
	f(`{"Events":[{}],"api_key":"k"}`, ErrNoEvents.Error())
	f(`{"api_key":"a","api_key":"b","events":[]}`, "api_key comes twice")
	f(`{"api_key":"a","events":[],"events":[]}`, "events comes twice")
	f(`{"events":[],"events":[],"api_key":"a"}`, "events comes twice")
	f(`{"api_key":"k","events":[{"a":"\u0041\n\"\\\/\ud83d\ude00é"}]}`, "key k; [a=string:A\n\"\\/😀é||]")
	f(`{"api_key":"k","events":[{"a":"\ud83dx\ude00"}]}`, "key k; [a=string:\ufffdx\ufffd||]")
	f("{\"api_key\":\"k\",\"events\":[{\"a\":\"\xff\"}]}", "key k; [a=string:\ufffd||]")
	f(`{"api_key":"k","events":[{"a":-0.5e+3}]}`, `key k; [a=number:-0.5e+3||]`)

	f(``, "an object is expected at byte 0")
	f(`[`, "an object is expected")
	f(`{`, "a name is expected")
	f(`{}`, ErrNoKey.Error())
	f(`{}x`, "nothing may follow")
	f(`{"a"}`, "a colon is expected")
	f(`{"a":}`, "a value is expected")
	f(`{"a":1,}`, "a name is expected")
	f(`{"a":01}`, "a comma or the end")
	f(`{"a":1.}`, "a digit is expected")
	f(`{"a":.5}`, "a value is expected")
	f(`{"a":+5}`, "a value is expected")
	f(`{"a":1e}`, "a digit is expected")
	f(`{"a":tru}`, "a value is expected")
	f(`{"a":NaN}`, "a value is expected")
	f(`{"a":"\x"}`, "an escape is expected")
	f(`{"a":"\u12g4"}`, "four hex digits")
	f("{\"a\":\"\x00\"}", "a control character")
	f(`{"a":"`, "the end of a string is missing")
	f(`{"api_key":"k","events":[{},{},{},{}]}`, ErrTooMany.Error())
	f(`{"events":[{"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}]}`, "nesting is too deep")
	f(`{"events":[{"user_properties":{"a":{`, "a name is expected")
}

// TestMembersAreBounded: an event with too many members is told from others,
// and the one after it is whole.
func TestMembersAreBounded(t *testing.T) {
	for _, part := range []string{"%s", `"event_properties":{%s}`, `"user_properties":{"$set":{%s}}`} {
		for n, want := range map[int][]bool{maxMembers: {false, false}, maxMembers + 1: {true, false}, 1 << 20: {true, false}} {
			members := strings.TrimSuffix(strings.Repeat(`"":1,`, n), ",")
			sink := &memberCount{}
			d := Decoder{}
			if err := d.Decode(fmt.Appendf(nil, `{"api_key":"k","events":[{`+part+`},{"a":1}]}`, members), 2, sink); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(sink.tooMany) != fmt.Sprint(want) || sink.most > maxMembers || cap(d.members) > 2*maxMembers {
				t.Errorf("%d members: got %v with %d members in memory for %d, want %v", n, sink.tooMany, sink.most, cap(d.members), want)
			}
		}
	}
}

type memberCount struct {
	tooMany []bool
	most    int
}

func (c *memberCount) Key([]byte) error      { return nil }
func (c *memberCount) Known([]byte, int) int { return 0 }
func (c *memberCount) Event(e *Event) error {
	c.tooMany = append(c.tooMany, e.TooMany)
	c.most = max(c.most, len(e.Top)+len(e.UserProperties)+len(e.EventProperties))
	return nil
}

// TestErrorsHoldNoPartOfTheBody: what a sender wrote must not reach a log.
func TestErrorsHoldNoPartOfTheBody(t *testing.T) {
	var d Decoder
	for _, body := range []string{`canary`, `{"canary"}`, `{"a":canary}`, `{"a":"canary\x"}`, `{"a":"canary`} {
		err := d.Decode([]byte(body), 10, new(listing))
		if !errors.Is(err, ErrJSON) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want ErrJSON without the body", body, err)
		}
	}
}

func TestDecoderIsReusable(t *testing.T) {
	var d Decoder
	for range 3 {
		var l listing
		if err := d.Decode([]byte(`{"api_key":"k\u0041","events":[{"a":"\u0042"},{"b":1}]}`), 10, &l); err != nil {
			t.Fatal(err)
		}
		if got, want := l.b.String(), `key kA; [a=string:B||] [b=number:1||]`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A comparison is a Sink that holds each event against what encoding/json has.
type comparison struct {
	t    *testing.T
	body []byte
	want map[string]any
	key  []byte
	n    int
}

func (c *comparison) Key(key []byte) error {
	c.key = append([]byte{}, key...)
	return nil
}

func (c *comparison) Known([]byte, int) int { return 0 }

func (c *comparison) Event(e *Event) error {
	events, _ := c.want["events"].([]any)
	if c.n >= len(events) {
		return errNotJSON // of a body that is going to be refused
	}
	if c.key == nil {
		c.t.Fatal("an event comes before the key")
	}
	var whole any
	if err := json.Unmarshal(c.body[e.Start:e.End], &whole); err != nil {
		c.t.Fatalf("the place of the event is wrong: %v", err)
	}
	object, isObject := events[c.n].(map[string]any)
	if isObject == e.NotObject {
		c.t.Fatal("an event that is no object is taken for one, or the other way round")
	}
	compare(c.t, object, e.Top)
	props, _ := object["event_properties"].(map[string]any)
	compare(c.t, props, e.EventProperties)
	for _, m := range append(e.Top[:len(e.Top):len(e.Top)], e.EventProperties...) {
		if m.Type == Number && !bytes.HasPrefix(c.body[m.At:], m.Bytes) {
			c.t.Fatalf("the place of member %q is wrong", m.Name)
		}
	}
	c.n++
	return nil
}

var errNotJSON = errors.New("encoding/json has fewer events")

// FuzzDecode compares with encoding/json: the same bodies are JSON, and every
// member has the same value. Names that come twice in the envelope are refused
// here, and so are more levels than maxDepth.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"api_key":"k","events":[{"event_type":"x","time":1,"user_properties":{"a":"\u00e9"},"event_properties":{"b":[{}]}}]}`,
		`{"events":[{"user_properties":{"$set":{"a":1}}},{"a":"\ud800"}],"api_key":"k"}`, `{"api_key":1}`, `[]`, "{\"a\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var d Decoder
		var want any
		jerr := json.Unmarshal(body, &want)
		m, isObject := want.(map[string]any)
		c := comparison{t: t, body: body, want: m}
		err := d.Decode(body, 1<<30, &c)
		if jerr != nil || !isObject {
			if err == nil {
				t.Fatalf("accepted (%v), but encoding/json says %v", err, jerr)
			}
			return
		}
		_, hasKey := m["api_key"].(string)
		events, hasEvents := m["events"].([]any)
		switch {
		case err == nil:
			if !hasKey || !hasEvents || c.n != len(events) || m["api_key"] != string(c.key) {
				t.Fatalf("%d events with key %q, want %d", c.n, c.key, len(events))
			}
		case errors.Is(err, ErrNoKey):
			if hasKey && bytes.Count(body, []byte("key")) < 2 {
				t.Fatal("the key is not found")
			}
		case errors.Is(err, ErrNoEvents):
			if hasEvents && bytes.Count(body, []byte("events")) < 2 {
				t.Fatal("the events are not found")
			}
		case !strings.Contains(err.Error(), "nesting") && !strings.Contains(err.Error(), "twice"):
			t.Fatalf("refused (%v), but encoding/json accepts it", err)
		}
	})
}

func compare(t *testing.T, want map[string]any, ms []Member) {
	last := map[string]Member{}
	for _, m := range ms {
		last[string(m.Name)] = m
	}
	for name, m := range last {
		v, ok := want[name]
		if !ok {
			t.Fatalf("member %q is not in the body", name)
		}
		switch m.Type {
		case String:
			if v != string(m.Bytes) {
				t.Fatalf("member %q is %q, want %q", name, m.Bytes, v)
			}
		case Number:
			var n any
			if json.Unmarshal(m.Bytes, &n) != nil || n != v {
				t.Fatalf("member %q is %s, want %v", name, m.Bytes, v)
			}
		case Bool:
			if v != bytes.Equal(m.Bytes, []byte("true")) {
				t.Fatalf("member %q is %s, want %v", name, m.Bytes, v)
			}
		case Null:
			if v != nil {
				t.Fatalf("member %q is null, want %v", name, v)
			}
		}
	}
}
