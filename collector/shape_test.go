package collector

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/telemetry/amplitude"
)

func request(events ...string) []byte {
	return fmt.Appendf(nil, `{"api_key":"k","events":[%s]}`, strings.Join(events, ","))
}

// fits reports whether the second event goes the short way after the first was
// learned, and asserts that the way makes no difference.
func fits(t *testing.T, learned, then string) bool {
	t.Helper()
	g := newGuard(events.Plan(), new(refusedCounts))
	if in, err := decodeWith(g, request(learned)); err != nil || in.bad.answer != nil {
		t.Fatalf("the event to learn is refused: %v %v", err, in.bad)
	}
	short, err1 := decodeWith(g, request(then))
	long, err2 := decodeWith(newGuard(events.Plan(), new(refusedCounts)), request(then))
	if (err1 == nil) != (err2 == nil) || !reflect.DeepEqual(short.bad, long.bad) || !reflect.DeepEqual(short.records, long.records) {
		t.Errorf("the ways differ for %s\nshort %v %v %v\nlong  %v %v %v", then, short.records, short.bad, err1, long.records, long.bad, err2)
	}
	return short.fitted == 1
}

// TestShapes says which events go the short way. That no other result comes of
// it is asserted for all of them.
func TestShapes(t *testing.T) {
	base := event(idA, 7)
	f := func(name string, want bool, replace ...string) {
		t.Helper()
		then := strings.NewReplacer(replace...).Replace(base)
		if got := fits(t, base, then); got != want {
			t.Errorf("%s: the short way is taken: %v, want %v", name, got, want)
		}
	}
	f("the same", true)
	f("other numbers", true, `-7"`, `-123456"`, `"uptime":7`, `"uptime":86400`, `1795442093123`, `1800000000000`)
	f("number 0", true, `-7"`, `-0"`, `"uptime":7`, `"uptime":0`)
	f("another session", true, idA, idB)
	f("insert id of another session", false, `"insert_id":"`+idA, `"insert_id":"`+idB)
	f("insert id of another kind", false, `-7"`, `-seven"`)
	f("id that is none", false, idA, strings.Repeat("x", 32))
	f("id of zeros", false, idA, strings.Repeat("0", 32))
	f("id in upper case", false, idA, strings.ToUpper(idA))
	f("another mode", false, `"SW"`, `"HW"`)
	f("another type", false, `run_model`, `started`)
	f("leading zero", false, `"uptime":7`, `"uptime":07`)
	f("leading zero in the insert id", false, `-7"`, `-07"`)
	f("negative", false, `"uptime":7`, `"uptime":-7`)
	f("fraction", false, `"uptime":7`, `"uptime":7.5`)
	f("exponent", false, `"uptime":7`, `"uptime":7e3`)
	f("largest number", true, `"uptime":7`, `"uptime":9007199254740991`)
	f("too large a number", false, `"uptime":7`, `"uptime":9007199254740992`)
	f("far too large a number", false, `"uptime":7`, `"uptime":99999999999999999999`)
	f("time in seconds", false, `1795442093123`, `1795442093`)
	f("no number", false, `"uptime":7`, `"uptime":`)
	f("cut short", false, `"uptime":7}}`, `"uptime":7}`)
	f("another field", false, `"uptime":7`, `"uptime":7,"model_size":1`)

	// Names that come twice, and values written in another way, go the long way.
	for _, learned := range []string{
		strings.Replace(base, `"time"`, `"user_id":"`+idA+`","time"`, 1),
		strings.Replace(base, `"time"`, `"insert_id":"`+idA+`-9","time"`, 1),
		strings.Replace(base, `"user_id":"0`, `"user_id":"\u0030`, 1),
		strings.Replace(base, `"insert_id":"0`, `"insert_id":"\u0030`, 1),
	} {
		if fits(t, learned, learned) {
			t.Errorf("the short way is taken for %s", learned)
		}
	}
	// A number twice: the last one counts, on both ways.
	twice := strings.Replace(base, `"uptime":7`, `"uptime":1,"uptime":7`, 1)
	if !fits(t, twice, strings.Replace(twice, `"uptime":1,"uptime":7`, `"uptime":3,"uptime":5`, 1)) {
		t.Error("an event with a number twice does not fit itself")
	}
}

// TestForeignShapes does what TestShapes does for what other programs send: with
// insert ids of any form, and with fields that the plan does not declare.
func TestForeignShapes(t *testing.T) {
	const uuid, another = "01234567-89ab-4def-a123-456789abcdef", "fedcba98-7654-4210-afed-cba987654321"
	f := func(name string, want bool, learned, then string) {
		t.Helper()
		if got := fits(t, learned, then); got != want {
			t.Errorf("%s: the short way is taken: %v, want %v", name, got, want)
		}
	}
	keyed := func(key string) string {
		return strings.Replace(event(idA, 7), `"insert_id":"`+idA+`-7"`, `"insert_id":"`+key+`"`, 1)
	}
	f("another UUID", true, keyed(uuid), keyed(another))
	f("a UUID without hyphens", true, keyed(uuid), keyed(idB))
	f("a UUID in upper case", true, keyed(uuid), keyed(strings.ToUpper(another)))
	f("any text", true, keyed("first of all"), keyed("x"))
	f("an insert id of our form", true, keyed(uuid), keyed(idA+"-7"))
	f("nearly of our form", true, keyed(uuid), keyed(idA+"-07"))
	f("a text with an escape", false, keyed(uuid), keyed(`a\\b`))
	f("a text that is cut short", false, keyed(uuid), strings.Replace(keyed(uuid), uuid+`"`, uuid, 1))
	f("a control character", false, keyed(uuid), keyed("a\tb"))
	f("learned with an escape", false, keyed(`a\u0062`), keyed(uuid))
	first := func(key string) string {
		return strings.NewReplacer(`,"insert_id":"`+uuid+`"`, "", `{"user_id"`, `{"insert_id":"`+key+`", "user_id"`).Replace(keyed(uuid))
	}
	f("before the identity", true, first(uuid), first(another))

	// As an SDK does it.
	sdk := func(id int, session int64, text string) string {
		return strings.Replace(keyed(uuid), `"time"`, fmt.Sprintf(`"event_id":%d,"session_id":%d,"library":%q,"ip":"$remote","time"`, id, session, text), 1)
	}
	f("undeclared numbers and texts", true, sdk(1, 1795442093123, "a/1.0"), sdk(23, 1795442099999, "another one"))
	f("an undeclared number below 0", false, sdk(1, 1795442093123, "a/1.0"), sdk(1, -1, "a/1.0"))
	f("an undeclared text with an umlaut", false, sdk(1, 1795442093123, "a/1.0"), sdk(1, 1795442093123, "ä"))
}

// TestEventsWithoutKey: events that cannot be recognised when they are repeated
// are told from each other, on the short way too.
func TestEventsWithoutKey(t *testing.T) {
	for _, key := range []string{``, `"insert_id":null,`, `"insert_id":"",`} {
		e := strings.Replace(event(idA, 7), `"insert_id":"`+idA+`-7",`, key, 1)
		in, err := decodeWith(newGuard(events.Plan(), new(refusedCounts)), request(e, e, e))
		if err != nil || len(in.records) != 3 || in.fitted != 2 {
			t.Fatalf("%s: %v, %d records, %d went the short way", key, err, len(in.records), in.fitted)
		}
		for i, r := range in.records {
			if r.Insert.Own || r.Insert == in.records[(i+1)%3].Insert {
				t.Errorf("%s: event %d has the insert id %v", key, i, r.Insert)
			}
		}
	}
}

// TestWholeNumber holds the fast reading of digits against strconv.
func TestWholeNumber(t *testing.T) {
	f := func(text string) {
		t.Helper()
		n, digits := wholeNumber([]byte(text))
		length := 0
		for length < len(text) && text[length] >= '0' && text[length] <= '9' {
			length++
		}
		want, err := strconv.ParseInt(text[:length], 10, 64)
		if err != nil || length > 16 || length > 1 && text[0] == '0' {
			want, length = 0, 0
		}
		if n != want || digits != length {
			t.Errorf("%q is read as %d of %d digits, want %d of %d", text, n, digits, want, length)
		}
	}
	for _, text := range []string{
		"", "x", "0", "7", "07", "1234567", "12345678", "123456789", "1234567890123456", "12345678901234567", "99999999", "00000000",
		"0000000012345678", "1234567:", "1234567/", "1234567x90123456", "1234\xb056789", "\xff2345678", "1795442093123,", "1795442093123}}",
	} {
		f(text)
	}
	for n := int64(1); n > 0 && n < 1<<60; n = n*13 + 5 {
		f(strconv.FormatInt(n, 10))
		f(strconv.FormatInt(n, 10) + `,"x":1`)
	}
}

// TestShapesAreBounded: senders cannot make a guard learn without end.
func TestShapesAreBounded(t *testing.T) {
	g := newGuard(events.Plan(), new(refusedCounts))
	for i := range 10 * maxShapes { // each in a request of its own
		e := strings.Replace(event(idA, 0), `"time"`, fmt.Sprintf(`"field%d":1,"time"`, i), 1)
		if _, err := decodeWith(g, request(e)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(g.shapes.get()); n != maxShapes {
		t.Errorf("%d shapes are kept, want %d", n, maxShapes)
	}
	long := strings.Replace(event(idA, 0), `"time"`, `"x":"`+strings.Repeat("x", maxShape)+`","time"`, 1)
	g = newGuard(events.Plan(), new(refusedCounts))
	if in, err := decodeWith(g, request(long)); err != nil || len(in.records) != 1 || len(g.shapes.get()) != 0 {
		t.Error("a shape beyond the bound is kept, or its event is not taken")
	}
}

// TestLearningIsBounded: events that are alike in nothing cost a request no more
// than to read them.
func TestLearningIsBounded(t *testing.T) {
	var all []string
	for i := range 10 * maxLearned {
		all = append(all, strings.Replace(event(idA, 0), `"time"`, fmt.Sprintf(`"field%d":1,"time"`, i), 1))
	}
	g := newGuard(events.Plan(), new(refusedCounts))
	if in, err := decodeWith(g, request(all...)); err != nil || len(in.records) != len(all) {
		t.Fatal(err)
	}
	if n := len(g.shapes.get()); n != maxLearned {
		t.Errorf("%d shapes were learned, want %d", n, maxLearned)
	}
}

// FuzzShapes learns one body and reads another, and holds the result against
// that of a guard that has learned nothing.
func FuzzShapes(f *testing.F) {
	base := event(idA, 7)
	f.Add([]byte(base), []byte(event(idB, 123)))
	f.Add([]byte(strings.Replace(base, `"uptime":7`, `"uptime":7,"model_size":null,"x":{}`, 1)), []byte(base))
	f.Add([]byte(strings.Replace(base, `"user_id":"`+idA, `"user_id":"01234567-89ab-cdef-0123-456789abcdef`, 1)), []byte(base))
	f.Add([]byte(base), []byte(strings.Replace(base, "7", "007", 2)))
	foreign := strings.Replace(base, idA+"-7", "01234567-89ab-4def-a123-456789abcdef", 1)
	f.Add([]byte(foreign), []byte(strings.Replace(foreign, "4def", "4bcd", 1)))
	f.Add([]byte(strings.Replace(foreign, `"time"`, `"event_id":1,"library":"a/1","time"`, 1)), []byte(strings.Replace(foreign, `"time"`, `"event_id":2,"library":"","time"`, 1)))
	f.Fuzz(func(t *testing.T, learned, then []byte) {
		g := newGuard(events.Plan(), new(refusedCounts))
		decodeWith(g, request(string(learned)))
		body := amplitude.AppendTail(amplitude.AppendEvent(amplitude.AppendHead(nil, "k"), 0, then))
		g.counts.undeclaredFields.Store(0)
		short, err1 := decodeWith(g, body)
		// Of several events in the body each is read by a guard of its own.
		other := newGuard(events.Plan(), new(refusedCounts))
		long, err2 := decodeWith(other, body)
		if (err1 == nil) != (err2 == nil) {
			t.Fatalf("one way says %v, the other %v", err1, err2)
		}
		if err1 != nil {
			return
		}
		if len(short.records) != len(long.records) || !reflect.DeepEqual(short.bad, long.bad) {
			t.Fatalf("the ways differ: %v %v, and %v %v", short.records, short.bad, long.records, long.bad)
		}
		for i := range short.records {
			a, b := short.records[i], long.records[i]
			if !a.Insert.Own && !b.Insert.Own {
				a.Insert = b.Insert // random where it was missing
			}
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("the ways differ: %+v and %+v", a, b)
			}
		}
		if a, b := g.counts.undeclaredFields.Load(), other.counts.undeclaredFields.Load(); a != b {
			t.Fatalf("one way counts %d undeclared fields, the other %d", a, b)
		}
	})
}

// TestWhatOneSenderIdentifiesIsNotLearned: records of one shape share their
// session's values, and what completes one sender's must not reach another's.
func TestWhatOneSenderIdentifiesIsNotLearned(t *testing.T) {
	r := newRig(t)
	silent := func(id string, seq int) string { return strings.Replace(event(id, seq), `"sgx_mode":"SW"`, "", 1) }
	r.mustUpload(silent(idA, 0)) // is learned
	r.mustUpload(fmt.Sprintf(`{"user_id":%q,"event_type":"$identify","user_properties":{"$set":{"sgx_mode":"HW"}}}`, idA))
	r.mustUpload(silent(idA, 1))
	r.mustUpload(silent(idB, 0))
	modes := map[string]any{}
	for _, line := range r.export() {
		user, _ := line["user_properties"].(map[string]any)
		modes[fmt.Sprint(line["insert_id"])] = user["sgx_mode"]
	}
	want := map[string]any{idA + "-0": nil, idA + "-1": "HW", idB + "-0": nil}
	if !reflect.DeepEqual(modes, want) {
		t.Errorf("got %v, want %v", modes, want)
	}
}
