package amplitude

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// show writes a decoded request in a form that tests can read.
func show(r Request) string {
	var b strings.Builder
	if r.HasKey {
		fmt.Fprintf(&b, "key %s;", r.APIKey)
	}
	if !r.HasEvents {
		b.WriteString("no events;")
	}
	for _, e := range r.Events {
		if e.NotObject {
			b.WriteString(" [not an object]")
			continue
		}
		fmt.Fprintf(&b, " [%s|%s|%s]", showMembers(e.Top), showMembers(e.UserProperties), showMembers(e.EventProperties))
	}
	return b.String()
}

func showMembers(ms []Member) string {
	var s []string
	for _, m := range ms {
		s = append(s, fmt.Sprintf("%s=%s:%s", m.Name, [...]string{"null", "string", "number", "bool", "other"}[m.Type], m.Bytes))
	}
	return strings.Join(s, " ")
}

func TestDecode(t *testing.T) {
	var d Decoder
	f := func(body, want string) {
		t.Helper()
		r, err := d.Decode([]byte(body), 3)
		got := show(r)
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
	f(`{"api_key":"k","events":[{"user_properties":{"$set":{"a":1},"$unset":{"b":"-"}}}]}`, `key k; [|a=number:1 $unset=other:|]`)
	f(`{"api_key":"k","events":[{"event_properties":{"$set":{"a":1}}}]}`, `key k; [||$set=other:]`)
	f(`{"api_key":"k","events":[{"user_properties":{"a":1},"user_properties":{"b":2}}]}`, `key k; [|b=number:2|]`)
	f(`{"api_key":"k","events":[{"user_properties":{"a":1},"user_properties":null,"event_properties":[1]}]}`, `key k; [||]`)
	f(`{"api_key":"k","events":[1,"x",null]}`, `key k; [not an object] [not an object] [not an object]`)
	f(`{"api_key":1,"events":{}}`, `no events;`)
	f(`{"api_key":"a","api_key":"b","events":[{}],"events":[{"c":1}],"options":{"min_id_length":1}}`, `key b; [c=number:1||]`)
	f(`{"Events":[{}],"api_key":"k"}`, `key k;no events;`)
	f(`{"api_key":"k","events":[{"a":"\u0041\n\"\\\/\ud83d\ude00é"}]}`, "key k; [a=string:A\n\"\\/😀é||]")
	f(`{"api_key":"k","events":[{"a":"\ud83dx\ude00"}]}`, "key k; [a=string:\ufffdx\ufffd||]")
	f("{\"api_key\":\"k\",\"events\":[{\"a\":\"\xff\"}]}", "key k; [a=string:\ufffd||]")
	f(`{"api_key":"k","events":[{"a":-0.5e+3}]}`, `key k; [a=number:-0.5e+3||]`)

	f(``, "an object is expected at byte 0")
	f(`[`, "an object is expected")
	f(`{`, "a name is expected")
	f(`{}`, "no events;")
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
	f(`{"events":[{},{},{},{}]}`, ErrTooMany.Error())
	f(`{"events":[{"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}]}`, "nesting is too deep")
	f(`{"events":[{"user_properties":{"a":{`, "a name is expected")
}

// TestErrorsHoldNoPartOfTheBody: what a sender wrote must not reach a log.
func TestErrorsHoldNoPartOfTheBody(t *testing.T) {
	var d Decoder
	for _, body := range []string{`canary`, `{"canary"}`, `{"a":canary}`, `{"a":"canary\x"}`, `{"a":"canary`} {
		_, err := d.Decode([]byte(body), 10)
		if !errors.Is(err, ErrJSON) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want ErrJSON without the body", body, err)
		}
	}
}

func TestDecoderIsReusable(t *testing.T) {
	var d Decoder
	for range 3 {
		r, err := d.Decode([]byte(`{"api_key":"k\u0041","events":[{"a":"\u0042"},{"b":1}]}`), 10)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := show(r), `key kA; [a=string:B||] [b=number:1||]`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// FuzzDecode compares with encoding/json: the same bodies are JSON, and every
// member has the same value.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"api_key":"k","events":[{"event_type":"x","time":1,"user_properties":{"a":"\u00e9"},"event_properties":{"b":[{}]}}]}`,
		`{"events":[{"user_properties":{"$set":{"a":1}}},{"a":"\ud800"}],"events":null}`, `{"api_key":1}`, `[]`, "{\"a\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var d Decoder
		r, err := d.Decode(body, 1<<30)
		var want any
		jerr := json.Unmarshal(body, &want)
		m, isObject := want.(map[string]any)
		if jerr != nil || !isObject {
			if err == nil {
				t.Fatalf("accepted, but encoding/json says %v", jerr)
			}
			return
		}
		if err != nil {
			if strings.Contains(err.Error(), "nesting") {
				return
			}
			t.Fatalf("refused (%v), but encoding/json accepts it", err)
		}
		if k, ok := m["api_key"].(string); ok != r.HasKey || (ok && k != string(r.APIKey)) {
			t.Fatalf("api_key is %q, %v; want %q, %v", r.APIKey, r.HasKey, k, ok)
		}
		events, ok := m["events"].([]any)
		if ok != r.HasEvents || len(events) != len(r.Events) && ok {
			t.Fatalf("%d events, want %d", len(r.Events), len(events))
		}
		for i, e := range r.Events {
			if !ok {
				break
			}
			object, isObject := events[i].(map[string]any)
			if isObject == e.NotObject {
				t.Fatal("an event that is no object is taken for one, or the other way round")
			}
			compare(t, object, e.Top)
			props, _ := object["event_properties"].(map[string]any)
			compare(t, props, e.EventProperties)
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
