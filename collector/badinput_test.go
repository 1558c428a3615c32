package collector

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// These tables say what becomes of input that is wrong, odd, or meant to harm.
// Of each row they hold the status, the code and what else the answer says, what
// reaches the store, and that nothing refused is in the answer or in the log.

// A recorder is a Store that remembers what reaches it.
type recorder struct {
	store.Store // nil: nothing else is asked
	mu          sync.Mutex
	records     []store.Record
}

func (s *recorder) Define(context.Context, *plan.Plan) error { return nil }

func (s *recorder) Append(_ context.Context, _ string, records []store.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		r.Session, r.Own = slices.Clone(r.Session), slices.Clone(r.Own)
		s.records = append(s.records, r)
	}
	return nil
}

func (s *recorder) Seen(context.Context, string, time.Time) iter.Seq2[store.Seen, error] {
	return func(func(store.Seen, error) bool) {}
}

func (s *recorder) Close() error { return nil }

// take returns what has come since the last time.
func (s *recorder) take() []store.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := s.records
	s.records = nil
	return records
}

// A badRig is a rig whose store is a recorder.
type badRig struct {
	*rig
	recorder recorder
	x        exporter
	sent     int
}

func newBadRig(t *testing.T) *badRig {
	b := &badRig{rig: &rig{t: t, dir: t.TempDir()}}
	b.wrap = func(store.Store) store.Store { return &b.recorder }
	b.open()
	t.Cleanup(b.close)
	b.x.app = b.folder.App(events.App)
	b.x.compile()
	return b
}

// A row is one request: its body, what refused value is in it, and what comes of it.
type row struct {
	name    string
	path    string // default: /2/httpapi
	body    string
	refused string // must not be in the answer or in the log
	status  int
	answer  string   // is in the answer
	stored  []string // one for each event that reaches the store: is in its line of the export
	change  func(*http.Request)
}

func (b *badRig) run(rows ...row) {
	b.t.Helper()
	for _, row := range rows {
		if row.path == "" {
			row.path = "/2/httpapi"
		}
		change := row.change
		if change == nil {
			change = func(*http.Request) {}
		}
		status, answer := b.do("POST", row.path, row.body, change)
		if status != row.status || !strings.Contains(answer, row.answer) {
			b.t.Errorf("%s: got %d %s, want %d with %s", row.name, status, answer, row.status, row.answer)
		}
		var a struct{ Code int }
		if err := json.Unmarshal([]byte(answer), &a); err != nil || a.Code != status {
			b.t.Errorf("%s: the answer lacks its code: %s", row.name, answer)
		}
		for _, refused := range []string{"canary", row.refused} {
			if refused != "" && (strings.Contains(answer, refused) || strings.Contains(b.log.String(), refused)) {
				b.t.Errorf("%s: what was refused is in the answer or in the log: %s %s", row.name, answer, &b.log)
			}
		}
		records := b.recorder.take()
		var lines []string
		for i := range records {
			lines = append(lines, string(b.x.appendLine(nil, &records[i])))
		}
		if len(lines) != len(row.stored) {
			b.t.Errorf("%s: %d events are stored, want %d", row.name, len(lines), len(row.stored))
			continue
		}
		for i, want := range row.stored {
			if !strings.Contains(lines[i], want) || strings.Contains(lines[i], "canary") {
				b.t.Errorf("%s: %s is stored, want %s", row.name, lines[i], want)
			}
		}
	}
}

// next writes an event that none before it repeats.
func (b *badRig) next() string {
	b.sent++
	return event(idA, b.sent)
}

// uptime is the part of an event that next has written that says its uptime.
func (b *badRig) uptime() string { return fmt.Sprintf(`"uptime":%d`, b.sent) }

// with writes a request with an event that is good and after it one that is
// changed: what is refused has index 1, and takes the good one with it.
func (b *badRig) with(old, new string) string {
	b.t.Helper()
	good, bad := b.next(), b.next()
	if old == `"uptime"` {
		old = b.uptime()
	}
	if !strings.Contains(bad, old) {
		b.t.Fatalf("the event does not hold %s", old)
	}
	return req(good, strings.Replace(bad, old, new, 1))
}

// two is what reaches the store of such a request if nothing is refused.
func two(second string) []string { return []string{`"uptime":`, second} }

func req(events ...string) string {
	return fmt.Sprintf(`{"api_key":%q,"events":[%s]}`, apiKey, strings.Join(events, ","))
}

// padded writes a request of a size, with blanks where JSON takes them.
func padded(size int, events ...string) string {
	body := req(events...)
	return body[:len(body)-1] + strings.Repeat(" ", size-len(body)) + "}"
}

func zipped(parts ...string) string {
	var b bytes.Buffer
	for _, part := range parts {
		z := gzip.NewWriter(&b)
		io.WriteString(z, part)
		z.Close()
	}
	return b.String()
}

func asGzip(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }

// unsized is a body of which nobody knows the length before its end.
func unsized(r *http.Request) { r.ContentLength = -1 }

const (
	tooLarge = `"Payload too large: send fewer events in a request"`
	noBody   = `"missing_field":"events"`
	notJSON  = `"error":"Invalid JSON request body: `
	taken1   = `"events_ingested":1`
	taken2   = `"events_ingested":2`
)

func TestBodiesOfEverySize(t *testing.T) {
	b := newBadRig(t)
	one := []string{`"uptime":`}
	for path, limit := range map[string]int{"/2/httpapi": 1 << 20, "/batch": 20 << 20} {
		b.run(
			row{path: path, name: "0 bytes", status: 400, answer: noBody},
			row{path: path, name: "1 byte", body: "x", status: 400, answer: noBody},
			row{path: path, name: "1 byte that begins a request", body: "{", status: 400, answer: noBody},
			row{path: path, name: "half a request", body: padded(limit, b.next())[:limit/2], status: 400, answer: noBody},
			row{path: path, name: "the limit", body: padded(limit, b.next()), status: 200, answer: fmt.Sprintf(`"payload_size_bytes":%d`, limit), stored: one},
			row{path: path, name: "the limit, without a length", body: padded(limit, b.next()), change: unsized, status: 200, answer: taken1, stored: one},
			row{path: path, name: "the limit + 1", body: padded(limit+1, b.next()), status: 413, answer: tooLarge},
			row{path: path, name: "the limit + 1, without a length", body: padded(limit+1, b.next()), change: unsized, status: 413, answer: tooLarge},
			row{path: path, name: "20 MiB + 1", body: padded(20<<20+1, b.next()), status: 413, answer: tooLarge},
			row{path: path, name: "one value of the limit", body: b.with(`"uptime"`, `"uptime":"`+strings.Repeat("x", limit-2000)+`"`), status: 400, answer: `"events_with_invalid_fields":{"uptime":[1]}`, refused: "xxxx"},
			row{path: path, name: "one name of the limit", body: b.with(`"uptime"`, `"`+strings.Repeat("x", limit-2000)+`":1`), status: 200, answer: taken2, stored: two(`"event_properties":{}`), refused: "xxxx"},
		)
	}
}

func TestGzipBodies(t *testing.T) {
	b := newBadRig(t)
	one := []string{`"uptime":`}
	whole := zipped(req(b.next()))
	wrongSum := []byte(zipped(req(b.next())))
	wrongSum[len(wrongSum)-8] ^= 1
	half := req(b.next())
	const limit = 20 << 20
	for _, row := range []row{
		{name: "a request", body: whole, status: 200, answer: taken1, stored: one},
		{name: "a request in two members", body: zipped(half[:30], half[30:]), status: 200, answer: taken1, stored: one},
		{name: "a request and an empty member", body: zipped(req(b.next()), ""), status: 200, answer: taken1, stored: one},
		{name: "expands to the limit", body: zipped(padded(limit, b.next())), status: 200, answer: taken1, stored: one},
		{name: "expands to the limit + 1", body: zipped(padded(limit+1, b.next())), status: 413, answer: tooLarge},
		{name: "bomb", body: zipped(strings.Repeat("\x00", 64<<20)), status: 413, answer: tooLarge},
		{name: "bomb of many members", body: strings.Repeat(zipped(strings.Repeat(" ", 1<<20)), 64), status: 413, answer: tooLarge},
		{name: "bomb in a bomb", body: zipped(zipped(strings.Repeat("canary", 1<<20))), status: 400, answer: noBody},
		{name: "empty members beyond the limit", body: strings.Repeat(zipped(""), limit/20), change: unsized, status: 413, answer: tooLarge},
		{name: "nothing", body: "", status: 400, answer: noBody},
		{name: "nothing, packed", body: zipped(""), status: 400, answer: noBody},
		{name: "not gzip", body: "canary", status: 400, answer: noBody},
		{name: "torn in its header", body: whole[:5], status: 400, answer: noBody},
		{name: "torn", body: whole[:len(whole)/2], status: 400, answer: noBody},
		{name: "torn in its checksum", body: whole[:len(whole)-5], status: 400, answer: noBody},
		{name: "wrong checksum", body: string(wrongSum), status: 400, answer: noBody},
		{name: "more behind it", body: zipped(req(b.next())) + "canary", status: 400, answer: noBody},
		{name: "a second request behind it", body: zipped(req(b.next()), req(b.next())), status: 400, answer: "nothing may follow the object"},
	} {
		row.path = "/batch"
		also := row.change
		row.change = func(r *http.Request) {
			asGzip(r)
			if also != nil {
				also(r)
			}
		}
		b.run(row)
	}
	b.run(
		row{name: "gzip that is not said to be", body: whole, status: 400, answer: notJSON},
		row{name: "an encoding that is not known", body: whole, change: func(r *http.Request) { r.Header.Set("Content-Encoding", "br") }, status: 400, answer: noBody},
		row{name: "expands beyond the lower limit", body: zipped(padded(1<<20+1, b.next())), change: asGzip, status: 413, answer: tooLarge},
	)
}

// TestNamesThatComeTwice: in an event the last one counts, null too, and each is
// held against the plan. What says whose the request is may come once.
func TestNamesThatComeTwice(t *testing.T) {
	b := newBadRig(t)
	rows := []row{
		{name: "api_key", body: `{"api_key":"canary",` + req(b.next())[1:], status: 400, answer: `"Invalid API key: `},
		{name: "api_key after it", body: strings.TrimSuffix(req(b.next()), "}") + `,"api_key":"canary"}`, status: 400, answer: "api_key comes twice"},
		{name: "events", body: strings.TrimSuffix(req(b.next()), "}") + `,"events":[]}`, status: 400, answer: "events comes twice"},
		{name: "events before the key", body: `{"events":[],` + req(b.next())[1:], status: 400, answer: "events comes twice"},
		{name: "undeclared in the envelope", body: `{"canary":1,"canary":[],` + req(b.next())[1:], status: 200, answer: taken1, stored: []string{b.uptime()}},
	}
	for range 2 { // the second time the collector has learned what they look like
		rows = append(rows,
			row{name: "a number", body: b.with(`"uptime"`, `"uptime":7,"uptime":8`), status: 200, answer: taken2, stored: two(`"uptime":8}`)},
			row{name: "a number and null", body: b.with(`"uptime"`, `"uptime":7,"uptime":null`), status: 200, answer: taken2, stored: two(`"event_properties":{}`)},
			row{name: "null and a number", body: b.with(`"uptime"`, `"uptime":null,"uptime":8`), status: 200, answer: taken2, stored: two(`"uptime":8}`)},
			row{name: "a number that is refused before", body: b.with(`"uptime"`, `"uptime":"canary","uptime":8`), status: 400, answer: `"events_with_invalid_fields":{"uptime":[1]}`},
			row{name: "a number that is refused after", body: b.with(`"uptime"`, `"uptime":8,"uptime":"canary"`), status: 400, answer: `"events_with_invalid_fields":{"uptime":[1]}`},
			row{name: "user_id", body: b.with(`"user_id":"`+idA+`"`, `"user_id":"`+idA+`","user_id":"`+idB+`"`), status: 200, answer: taken2, stored: two(`"user_id":"` + idB + `"`)},
			row{name: "user_id and null", body: b.with(`"user_id":"`+idA+`"`, `"user_id":"`+idA+`","user_id":null`), status: 400, answer: `"events_with_missing_fields":{"user_id":[1]}`},
			row{name: "event_type", body: b.with(`"event_type":"run_model"`, `"event_type":"canary","event_type":"started"`), status: 200, answer: taken2, stored: two(`"event_type":"started"`)},
			row{name: "time", body: b.with(`"time":1795442093123`, `"time":1795442093123,"time":1795442093124`), status: 200, answer: taken2, stored: two(`"time":1795442093124`)},
			row{name: "event_properties", body: b.with(`"event_properties":`, `"event_properties":{"uptime":"canary"},"event_properties":`), status: 200, answer: taken2, stored: two(`"uptime":`)},
			row{name: "user_properties", body: b.with(`"user_properties":{"sgx_mode":"SW"}`, `"user_properties":{"sgx_mode":"SW"},"user_properties":{"sgx_mode":"HW"}`), status: 200, answer: taken2, stored: two(`"sgx_mode":"HW"`)},
			row{name: "undeclared", body: b.with(`"uptime"`, `"canary":1,"canary":"canary"`), status: 200, answer: taken2, stored: two(`"event_properties":{}`)},
		)
	}
	b.run(rows...)
}

// TestDeepNesting: Amplitude allows 40 levels in properties; here are 60.
func TestDeepNesting(t *testing.T) {
	b := newBadRig(t)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	objects := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	const tooDeep = "nesting is too deep"
	b.run(
		row{name: "lists in a property", body: b.with(`"uptime"`, `"canary":`+deep(60)), status: 200, answer: taken2, stored: two(`"event_properties":{}`)},
		row{name: "a list too deep", body: b.with(`"uptime"`, `"canary":`+deep(61)), status: 400, answer: tooDeep},
		row{name: "objects in a property", body: b.with(`"uptime"`, `"canary":`+objects(60)), status: 200, answer: taken2, stored: two(`"event_properties":{}`)},
		row{name: "an object too deep", body: b.with(`"uptime"`, `"canary":`+objects(61)), status: 400, answer: tooDeep},
		row{name: "in the envelope", body: `{"canary":` + deep(63) + "," + req(b.next())[1:], status: 200, answer: taken1, stored: []string{b.uptime()}},
		row{name: "too deep in the envelope", body: `{"canary":` + deep(64) + "," + req(b.next())[1:], status: 400, answer: tooDeep},
		row{name: "declared", body: b.with(`"uptime"`, `"uptime":`+deep(60)), status: 400, answer: `"events_with_invalid_fields":{"uptime":[1]}`},
		row{name: "a list for an event", body: req(b.next(), deep(60)), status: 400, answer: `"events_with_missing_fields":{"event_type":[1]}`},
		row{name: "nothing but brackets", body: strings.Repeat("[", 1<<20), status: 400, answer: notJSON},
		row{name: "a megabyte of brackets", body: `{"events":` + strings.Repeat("[", 1<<20-20), status: 400, answer: tooDeep},
		row{name: "20 MiB of objects", path: "/batch", body: strings.Repeat(`{"a":`, 4<<20), status: 400, answer: tooDeep},
	)
}

// TestInvalidText: what is not UTF-8, and halves of surrogate pairs, harm nothing
// where nothing is declared, and fit no declared value.
func TestInvalidText(t *testing.T) {
	b := newBadRig(t)
	for _, text := range []string{"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "é\xc3", `\ud800`, `\udc00\ud800`, `\ud83d\u0041`, `\u0000`, "\ufffd", "\u202e"} {
		b.run(
			row{name: "undeclared", body: b.with(`"uptime"`, `"canary":"`+text+`"`), status: 200, answer: taken2, stored: two(`"event_properties":{}`)},
			row{name: "undeclared name", body: b.with(`"uptime"`, `"`+text+`":1`), status: 200, answer: taken2, stored: two(`"event_properties":{}`), refused: text},
			row{name: "insert_id", body: b.with(`"insert_id":"`, `"insert_id":"`+text), status: 200, answer: taken2, stored: two(`"uptime":`)},
			row{name: "enum", body: b.with(`"SW"`, `"SW`+text+`"`), status: 400, answer: `"events_with_invalid_fields":{"sgx_mode":[1]}`, refused: text},
			row{name: "version", body: b.with(`"0.7.0"`, `"0.7.0`+text+`"`), status: 400, answer: `"events_with_invalid_fields":{"app_version":[1]}`, refused: text},
			row{name: "event_type", body: b.with(`"run_model"`, `"run_model`+text+`"`), status: 400, answer: `"events_with_invalid_fields":{"event_type":[1]}`, refused: text},
			row{name: "user_id", body: b.with(`"user_id":"`+idA, `"user_id":"`+idA[:31]+text), status: 400, answer: `"events_with_invalid_fields":{"user_id":[1]}`, refused: text},
			row{name: "api_key", body: strings.Replace(req(b.next()), apiKey, apiKey+text, 1), status: 400, answer: `"Invalid API key: `, refused: text},
		)
	}
	for _, text := range []string{"\x00", "\n", "\x1f", `\x41`, `\u12`, `\u12g4`, `\`} {
		b.run(row{name: "no JSON", body: b.with(`"uptime"`, `"canary":"`+text+`"`), status: 400, answer: notJSON, refused: text + `"`})
	}
	b.run(
		row{name: "a byte order mark", body: "\ufeff" + req(b.next()), status: 400, answer: notJSON},
		row{name: "UTF-16", body: "{\x00\"\x00a\x00", status: 400, answer: notJSON},
		row{name: "escapes for the name and the value", body: b.with(`"uptime"`, `"\u0075ptime":5`), status: 200, answer: taken2, stored: two(`"uptime":5}`)},
	)
}

func TestNumbersAtEveryEdge(t *testing.T) {
	b := newBadRig(t)
	for _, n := range []string{"0", "1", "4294967296", "9007199254740991"} {
		b.run(row{name: n, body: b.with(`"uptime"`, `"uptime":`+n), status: 200, answer: taken2, stored: two(`"uptime":` + n + `}`)})
	}
	for _, n := range []string{
		"-0", "-1", "9007199254740992", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809",
		"18446744073709551615", "18446744073709551616", "18446744073709551621", "0.0", "0.5", "5.0", "-0.0", "0e0", "5e0", "5E+0", "50e-1", "1e400", "-1e400", "1e-400",
		"1e99999999999999999999", "0." + strings.Repeat("0", 1000) + "1", strings.Repeat("9", 1000), strings.Repeat("1", 1000) + "e-999",
	} {
		refused := n
		if len(n) < 4 {
			refused = "" // a short number may be in an answer for other reasons
		}
		b.run(
			row{name: n, body: b.with(`"uptime"`, `"uptime":`+n), status: 400, answer: `"events_with_invalid_fields":{"uptime":[1]}`, refused: refused},
			row{name: n + " for a time", body: b.with(`1795442093123`, n), status: 400, answer: `"events_with_invalid_fields":{"time":[1]}`, refused: refused},
			row{name: n + " for a word", body: b.with(`"SW"`, n), status: 400, answer: `"events_with_invalid_fields":{"sgx_mode":[1]}`, refused: refused},
			row{name: n + " where nothing is declared", body: b.with(`"uptime"`, `"canary":`+n), status: 200, answer: taken2, stored: two(`"event_properties":{}`)},
		)
	}
	for _, n := range []string{"05", "00", "-05", "+5", ".5", "5.", "5e", "5e+", "0x5", "5_000", "5,0", "NaN", "Infinity", "-Infinity", "-", "٥"} {
		b.run(
			row{name: n + " is no JSON", body: b.with(`"uptime"`, `"uptime":`+n), status: 400, answer: notJSON},
			row{name: n + " is no JSON where nothing is declared", body: b.with(`"uptime"`, `"canary":`+n), status: 400, answer: notJSON},
		)
	}
	for _, v := range []string{`"5"`, `""`, "true", "[5]", `{"5":5}`} {
		b.run(row{name: v, body: b.with(`"uptime"`, `"uptime":`+v), status: 400, answer: `"events_with_invalid_fields":{"uptime":[1]}`})
	}
	b.run(row{name: "null", body: b.with(`"uptime"`, `"uptime":null`), status: 200, answer: taken2, stored: two(`"event_properties":{}`)})
}

// TestTimesFarAway: a plan takes times from 2010 to 2100. Without one an event
// happened when it came.
func TestTimesFarAway(t *testing.T) {
	b := newBadRig(t)
	now := fmt.Sprintf(`"time":%d`, time.Now().UnixMilli()/100_000) // but for the last digits
	for v, want := range map[string]string{
		"1262304000000": `"time":1262304000000,`, // 2010-01-01
		"4102444800000": `"time":4102444800000,`, // 2100-01-01
		"null":          now,
	} {
		b.run(row{name: v, body: b.with("1795442093123", v), status: 200, answer: taken2, stored: two(want)})
	}
	b.run(row{name: "no time", body: b.with(`"time":1795442093123,`, ""), status: 200, answer: taken2, stored: two(now)})
	for _, v := range []string{
		"0", "1", "-1", "-62135596800000", "1795442093", "1795442093123000", "1795442093123000000", "1262303999999", "4102444800001", "253402300800000", "8640000000000001",
		`"2026-11-23T13:54:53.123Z"`, `"1795442093123"`, `"canary"`, "true", "[]", "{}",
	} {
		b.run(row{name: v, body: b.with("1795442093123", v), status: 400, answer: `"events_with_invalid_fields":{"time":[1]}`})
	}
}

// TestIDsOfEveryForm: an id is 32 lower-case hex digits or a hyphenated UUID, so
// that names and addresses do not fit.
func TestIDsOfEveryForm(t *testing.T) {
	b := newBadRig(t)
	const id = `"user_id":"` + idA + `"`
	const uuid = "01234567-89ab-4def-a123-456789abcdef"
	for sent, want := range map[string]string{
		idB: idB, uuid: uuid, strings.ToUpper(uuid): uuid,
		"00000000000000000000000000000001":      "00000000000000000000000000000001",
		strings.Repeat("f", 32):                 strings.Repeat("f", 32),
		`\u0030123456789abcdef0123456789abcdef`: idA,
	} {
		b.run(row{name: sent, body: b.with(id, `"user_id":"`+sent+`"`), status: 200, answer: taken2, stored: two(`"user_id":"` + want + `"`)})
	}
	refused := []string{
		"", "x", "me@x", "alice", "Alice Example", "+49 30 901820", "192.0.2.1", "canary@example.org",
		strings.ToUpper(idA), idA[:16] + strings.ToUpper(idA[16:]), idA[:31], idA + "0", idA[:31] + "g", " " + idA, idA + " ", "{" + uuid + "}", "urn:uuid:" + uuid,
		uuid[:35], uuid + "0", strings.ReplaceAll(uuid, "-", "_"), "0123456-789ab-4def-a123-456789abcdef", "01234567-89ab-4def-a1234-56789abcdef", "--------------------------------", uuid[:35] + "g",
		strings.Repeat("0", 32), "00000000-0000-0000-0000-000000000000", "anonymous", "Anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "{}", "lmy47d", "0", "-1",
	}
	for _, n := range []int{1, 4, 5, 31, 33, 35, 37, 64, 1024, 1 << 20} {
		refused = append(refused, strings.Repeat("a", n), strings.Repeat("-", n))
	}
	for _, v := range refused {
		canary := v
		if len(v) < 5 || v == "unknown" {
			canary = "" // too short to tell
		}
		name := fmt.Sprintf("%.40q of %d", v, len(v))
		b.run(row{name: name, path: "/batch", body: b.with(id, `"user_id":"`+v+`"`), status: 400, answer: `"events_with_invalid_fields":{"user_id":[1]}`, refused: canary})
	}
	for _, v := range []string{"0", "-1", "12345678", "true", "[]", "{}", `["` + idA + `"]`} {
		b.run(row{name: v, body: b.with(id, `"user_id":`+v), status: 400, answer: `"events_with_invalid_fields":{"user_id":[1]}`})
	}
	for _, v := range []string{`"user_id":null`, `"id":"` + idA + `"`} {
		b.run(row{name: v, body: b.with(id, v), status: 400, answer: `"events_with_missing_fields":{"user_id":[1]}`})
	}
}

func TestManyMembers(t *testing.T) {
	b := newBadRig(t)
	many := func(n int) string { return strings.Repeat(`"canary":1,`, n) }
	b.run(
		row{name: "thousands in a property", body: b.with(`"uptime"`, many(4000)+`"uptime":5`), status: 200, answer: taken2, stored: two(`"uptime":5}`)},
		row{name: "too many", body: b.with(`"uptime"`, many(5000)+`"uptime":5`), status: 400, answer: `"events_with_invalid_fields":{"event_properties":[1]}`},
		row{name: "too many by millions", path: "/batch", body: b.with(`"time"`, strings.Repeat(`"":1,`, 4_000_000)+`"time"`), status: 400, answer: `"events_with_invalid_fields":{"event_properties":[1]}`},
		row{name: "in the envelope", path: "/batch", body: "{" + many(1_000_000) + req(b.next())[1:], status: 200, answer: taken1, stored: []string{b.uptime()}},
		row{name: "of an identification", body: req(b.next(), identify(idA, `{"$set":{`+many(5000)+`"sgx_mode":"HW"}}`)), status: 400, answer: `"events_with_invalid_fields":{"event_properties":[1]}`},
	)
}

func TestTenThousandEvents(t *testing.T) {
	b := newBadRig(t)
	many := func(n int) string {
		var list []string
		for range n {
			list = append(list, b.next())
		}
		return req(list...)
	}
	all := make([]string, amplitude.MaxEvents)
	b.run(
		row{name: "the limit", path: "/batch", body: many(amplitude.MaxEvents), status: 200, answer: `"events_ingested":2000,`, stored: all},
		row{name: "the limit + 1", path: "/batch", body: many(amplitude.MaxEvents + 1), status: 413, answer: tooLarge},
		row{name: "10,000", path: "/batch", body: many(10_000), status: 413, answer: tooLarge},
		row{name: "10,000 that are empty", body: req(strings.Split(strings.Repeat("{} ", 10_000), " ")[:10_000]...), status: 413, answer: tooLarge},
		row{name: "no event", body: req(), status: 200, answer: `"events_ingested":0,`},
	)
}

// TestSameInsertIDOtherContent: the first one counts, whatever the others say.
func TestSameInsertIDOtherContent(t *testing.T) {
	b := newBadRig(t)
	for i, insertID := range []string{idA + "-7", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "any text"} {
		as := func(uptime int) string {
			e := strings.Replace(event(idA, 0), idA+"-0", insertID, 1)
			return strings.Replace(e, `"uptime":0`, fmt.Sprintf(`"uptime":%d`, uptime), 1)
		}
		b.run(
			row{name: "in one request", body: req(as(1), as(2), strings.Replace(as(3), "run_model", "started", 1)), status: 200, answer: `"events_ingested":3`, stored: []string{`"uptime":1}`}},
			row{name: "in another", body: req(as(4), strings.Replace(as(5), `"SW"`, `"HW"`, 1)), status: 200, answer: taken2},
		)
		want := fmt.Sprintf(`blindai_collector_events_total{app="blindai",outcome="repeated"} %d`, 4*(i+1))
		if !strings.Contains(b.scrape(), want+"\n") {
			t.Errorf("%s: the repeats are not counted: want %s", insertID, want)
		}
	}
}

// A pipe is a listener whose connections are in memory, so that time in the test
// is not that of a network.
type pipe chan net.Conn

func (p pipe) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
func (p pipe) Close() error   { close(p); return nil }

// A dribbler writes a request by hand.
type dribbler struct {
	net.Conn
	answer chan *http.Response
}

func (p pipe) dial() *dribbler {
	mine, theirs := net.Pipe()
	p <- theirs
	s := &dribbler{mine, make(chan *http.Response, 1)}
	go func() {
		res, err := http.ReadResponse(bufio.NewReader(mine), nil)
		if err != nil {
			close(s.answer)
			return
		}
		s.answer <- res
	}()
	return s
}

// servePipe serves a collector in memory, with the deadline for whole requests that
// the program has. It is for a synctest bubble.
func servePipe(t *testing.T, s store.Store) (*Collector, pipe) {
	t.Helper()
	folder, err := OpenFolder(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := folder.AddApp(events.App, events.Plan(), Keys{apiKey, secretKey}); err != nil {
		t.Fatal(err)
	}
	c, err := New(t.Context(), Config{Folder: folder, Store: s})
	if err != nil {
		t.Fatal(err)
	}
	p := make(pipe)
	srv := &http.Server{Handler: c.Handler(), ReadTimeout: 30 * time.Second}
	go srv.Serve(p)
	t.Cleanup(func() {
		srv.Close()
		c.Close()
		folder.Close()
	})
	return c, p
}

// TestSlowSendersDoNotKeepOthersOut: those that dribble hold all the places there
// are; whoever comes next gets one, and the one who has dribbled longest is told
// to come back.
func TestSlowSendersDoNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := new(recorder)
		c, p := servePipe(t, kept)
		begin := func(seq int) (s *dribbler, rest string) {
			s = p.dial()
			body := req(event(idA, seq))
			fmt.Fprintf(s, "POST /2/httpapi HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body[:40])
			return s, body[40:]
		}
		send := func(seq int) int {
			s, rest := begin(seq)
			io.WriteString(s, rest)
			res := <-s.answer
			if res == nil {
				return 0
			}
			return res.StatusCode
		}
		var slow []*dribbler
		var rests []string
		for i := range maxBodies {
			s, rest := begin(i)
			slow, rests = append(slow, s), append(rests, rest)
			synctest.Wait()
		}
		if status := send(1000); status != 503 {
			t.Errorf("while all places are taken by those who have just begun: got %d, want 503", status)
		}
		time.Sleep(slowBody)
		for i := range 10 {
			if status := send(2000 + i); status != 200 {
				t.Errorf("beside slow senders: got %d, want 200", status)
			}
		}
		// The places that became free are enough for the nine after the first.
		if res := <-slow[0].answer; res == nil || res.StatusCode != 408 {
			t.Errorf("who was first to dribble: got %v, want 408", res)
		}
		io.WriteString(slow[1], rests[1])
		if res := <-slow[1].answer; res == nil || res.StatusCode != 200 {
			t.Errorf("who is slow and was not in the way: got %v, want 200", res)
		}
		time.Sleep(30 * time.Second)
		for i, s := range slow[2:] {
			if res := <-s.answer; res == nil || res.StatusCode != 408 {
				t.Fatalf("slow sender %d: got %v, want 408 when its time is over", i+2, res)
			}
		}
		synctest.Wait()
		c.bodies.mu.Lock()
		held, arriving := c.bodies.held, c.bodies.waiting.Len()
		c.bodies.mu.Unlock()
		if held != 0 || arriving != 0 {
			t.Errorf("%d places are held and %d bodies waited for at the end", held, arriving)
		}
		if n := len(kept.take()); n != 11 {
			t.Errorf("%d events are stored, want the 11 that were acknowledged", n)
		}
	})
}
