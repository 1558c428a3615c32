package collector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// identify writes a `$identify` as Amplitude's SDKs do, with an insert id of its own.
func identify(id, userProperties string) string {
	return fmt.Sprintf(`{"user_id":%q,"event_type":"$identify","time":1795442093123,"insert_id":%q,
		"library":"amplitude-go/1.3.0","user_properties":%s}`, id, plan.AppendID(nil, plan.NewSecret().ID(), true), userProperties)
}

// bare writes an event that does not say the mode.
func bare(id string, seq int) string {
	return strings.Replace(event(id, seq), `"user_properties":{"sgx_mode":"SW"},`, "", 1)
}

// modes returns the mode of each exported event by its insert id; "" is none.
func (r *rig) modes() map[string]string {
	r.t.Helper()
	modes := map[string]string{}
	for _, line := range r.export() {
		mode, _ := line["user_properties"].(map[string]any)["sgx_mode"].(string)
		modes[fmt.Sprint(line["insert_id"])] = mode
	}
	return modes
}

func (r *rig) wantModes(want map[string]string) {
	r.t.Helper()
	if got := r.modes(); fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestIdentify: what a sender says of itself once counts for its events that
// follow, in the same request too, and not for those before it, those that say
// otherwise, and those of others.
func TestIdentify(t *testing.T) {
	r := newRig(t)
	status, body := r.upload(bare(idA, 0), identify(idA, `{"$set":{"sgx_mode":"HW"}}`), bare(idA, 1), event(idA, 2), bare(idB, 0))
	if status != 200 || !strings.Contains(body, `"events_ingested":5`) {
		t.Fatalf("got %d %s, want all 5 taken", status, body)
	}
	r.mustUpload(bare(idA, 3))
	r.mustUpload(identify(idA, `{"sgx_mode":"SW"}`))
	r.mustUpload(bare(idA, 4))
	r.mustUpload(identify(idA, `{"$set":{"sgx_mode":null}}`))
	r.mustUpload(bare(idA, 5))
	want := map[string]string{
		idA + "-0": "", idA + "-1": "HW", idA + "-2": "SW", idA + "-3": "HW", idA + "-4": "SW", idA + "-5": "", idB + "-0": "",
	}
	r.wantModes(want)

	for i, clear := range []string{`"-"`, `{"-":null}`} { // as Node and Python, and as Go write it
		r.mustUpload(identify(idB, `{"$set":{"sgx_mode":"HW"}}`), bare(idB, 10*i+1))
		r.mustUpload(identify(idB, `{"$clearAll":`+clear+`}`), bare(idB, 10*i+2))
		want[fmt.Sprint(idB, "-", 10*i+1)], want[fmt.Sprint(idB, "-", 10*i+2)] = "HW", ""
	}

	// Events of one sender that follow each other share what is the same of them.
	set := func(mode string) string { return identify(idB, `{"$set":{"sgx_mode":"`+mode+`"}}`) }
	r.mustUpload(bare(idB, 20), set("HW"), bare(idB, 21), bare(idB, 22), bare(idA, 20), bare(idB, 23), set("SW"), bare(idB, 24), bare(idB, 25))
	for seq, mode := range map[string]string{idB + "-20": "", idB + "-21": "HW", idB + "-22": "HW", idA + "-20": "", idB + "-23": "HW", idB + "-24": "SW", idB + "-25": "SW"} {
		want[seq] = mode
	}
	r.wantModes(want)
}

// TestIdentifyOperations: what each operation makes of the ones before it. Each
// identification is followed by an event, whose user properties are listed.
func TestIdentifyOperations(t *testing.T) {
	r := newRig(t)
	p := everyKind(t)
	p.App = "shop"
	if _, err := r.folder.AddApp("shop", p, Keys{"shop-key", "shop-secret"}); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.open()
	sent := 0
	say := func(id, operations string) (int, string) {
		t.Helper()
		sent++
		return r.do("POST", "/2/httpapi", fmt.Sprintf(`{"api_key":"shop-key","events":[
			{"user_id":%q,"event_type":"$identify","insert_id":"say-%d","user_properties":%s},
			{"user_id":%q,"event_type":"two","event_properties":{"count":%d}}]}`, id, sent, operations, id, sent))
	}
	now := func() string {
		for _, line := range r.exportOf("shop-key", "shop-secret") {
			if line["event_properties"].(map[string]any)["count"] == float64(sent) {
				b, _ := json.Marshal(line["user_properties"])
				return string(b)
			}
		}
		return "not stored"
	}
	f := func(operations, want string) {
		t.Helper()
		status, body := say(idA, operations)
		if got := now(); status != 200 || got != want {
			t.Errorf("%s: got %d %s, and %s, want %s", operations, status, body, got, want)
		}
	}
	f(`{"$setOnce":{"my_enum":"A"}}`, `{"my_enum":"A"}`)
	f(`{"$setOnce":{"my_enum":"B","my_flag":false}}`, `{"my_enum":"A","my_flag":false}`)
	f(`{"$setOnce":{"my_flag":null},"$add":{"my_count":3}}`, `{"my_count":3,"my_enum":"A","my_flag":false}`)
	f(`{"$add":{"my_count":4,"my_bytes":0,"my_seconds":5,"my_milliseconds":6}}`, `{"my_bytes":0,"my_count":7,"my_enum":"A","my_flag":false,"my_milliseconds":6,"my_seconds":5}`)
	f(`{"$unset":{"my_seconds":"-","my_milliseconds":"-","my_bytes":"-","my_flag":"-","my_version":"-"}}`, `{"my_count":7,"my_enum":"A"}`)
	f(`{"$add":{"my_count":-5}}`, `{"my_count":2,"my_enum":"A"}`)
	f(`{"$add":{"my_count":-3}}`, `{"my_count":2,"my_enum":"A"}`)                                                                                           // below 0
	f(`{"$add":{"my_count":9007199254740990}}`, `{"my_count":2,"my_enum":"A"}`)                                                                             // beyond what a count may be
	f(`{"$add":{"my_count":1},"$setOnce":{"my_enum":"A"},"$set":{"my_count":10},"$unset":{"my_enum":"-","my_count":"-"}}`, `{"my_count":11,"my_enum":"A"}`) // in the order of SDKs
	f(`{"$append":{"my_enum":"B"},"$prepend":{"my_count":1},"$remove":{"my_enum":"A"},"$add":{"canary":1},"$unset":{"canary":"-"},"$setOnce":{"canary":1}}`, `{"my_count":11,"my_enum":"A"}`)
	f(`{"$clearAll":"-"}`, `{}`)
	f(`{"my_enum":"A"}`, `{"my_enum":"A"}`)
	f(`{"$clearAll":{"-":null}}`, `{}`) // as the Go SDK writes it
	f(`{"$set":{"my_enum":"A"}}`, `{"my_enum":"A"}`)
	f(`{"$set":{"my_enum":"B"},"$clearAll":"-"}`, `{"my_enum":"B"}`)
	f(`{"$unset":{"my_enum":"-"}}`, `{}`)
	if n := r.c.writer.identities.size.Load(); n != 0 || len(r.c.writer.identities.byHash) != 0 {
		t.Errorf("%d properties are kept at the end", n)
	}

	refuse := func(operations, field string) {
		t.Helper()
		if status, body := say(idA, operations); status != 400 || !strings.Contains(body, fmt.Sprintf(`"events_with_invalid_fields":{%q:[0]}`, field)) || strings.Contains(body, "canary") {
			t.Errorf("%s: got %d %s, want it refused", operations, status, body)
		}
	}
	refuse(`{"$setOnce":{"my_enum":"canary"}}`, "my_enum")
	refuse(`{"$add":{"my_enum":1}}`, "my_enum")
	refuse(`{"$add":{"my_timestamp":1}}`, "my_timestamp")
	for _, v := range []string{`"1"`, "null", "true", "0.5", "1e3", "9007199254740992", "1e400"} {
		refuse(`{"$add":{"my_count":`+v+`}}`, "my_count")
	}
}

// TestRepeatedIdentification: a request that comes again adds nothing again, and
// does not undo what was said since.
func TestRepeatedIdentification(t *testing.T) {
	r := newRig(t)
	first := identify(idA, `{"$set":{"sgx_mode":"HW"}}`)
	r.mustUpload(first)
	r.mustUpload(identify(idA, `{"$set":{"sgx_mode":"SW"}}`))
	r.mustUpload(first, bare(idA, 0))
	r.mustUpload(strings.Replace(first, `"insert_id"`, `"other_id"`, 1), bare(idA, 1)) // cannot be recognised
	r.wantModes(map[string]string{idA + "-0": "SW", idA + "-1": "HW"})

	// Only the last ones are remembered.
	for range 3 * maxHeard {
		r.mustUpload(identify(idA, `{"$set":{"sgx_mode":"HW"}}`))
	}
	for _, at := range r.c.writer.identities.byHash {
		if n := len(at.Value.(*identified).heard); n != maxHeard {
			t.Errorf("%d identifications are remembered, want %d", n, maxHeard)
		}
	}
}

// TestGroupIdentifyAPI: it is answered as Amplitude does, and nothing is kept.
func TestGroupIdentifyAPI(t *testing.T) {
	r := newRig(t)
	urlencoded := func(req *http.Request) { req.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
	form := func(key, said string) string { return url.Values{"api_key": {key}, "identification": {said}}.Encode() }
	one := `{"group_type":"canary","group_value":"canary","group_properties":{"$set":{"sgx_mode":"HW","canary":"canary"}},"user_id":"` + idA + `","user_properties":{"sgx_mode":"HW"}}`
	f := func(body string, wantStatus int, want string) {
		t.Helper()
		status, answer := r.do("POST", "/groupidentify", body, urlencoded)
		if status != wantStatus || !strings.Contains(answer, fmt.Sprintf(`"code":%d`, status)) || !strings.Contains(answer, want) || strings.Contains(answer, "canary") {
			t.Errorf("got %d %s, want %d with %s", status, answer, wantStatus, want)
		}
	}
	f(form(apiKey, one), 200, `"events_ingested":1`)
	f(form(apiKey, "["+one+","+one+"]"), 200, `"events_ingested":2`)
	f(form("canary", one), 400, `"Invalid API key: `)
	f(form(apiKey, "canary"), 400, "missing_event")
	f("", 400, `"missing_field":"api_key"`)
	f(form(apiKey, strings.Repeat(" ", 1<<20)), 413, "Payload too large")
	if status, answer := r.do("GET", "/groupidentify?"+form(apiKey, one), ""); status != 200 {
		t.Errorf("got %d %s", status, answer)
	}
	r.mustUpload(bare(idA, 0))
	r.wantModes(map[string]string{idA + "-0": ""})
	if n := r.c.writer.identities.size.Load(); n != 0 {
		t.Errorf("%d properties are kept", n)
	}
}

// TestIdentifyIsNoEvent: not even of a plan that declares it as one.
func TestIdentifyIsNoEvent(t *testing.T) {
	r := newRig(t)
	p := otherPlan(t, "shop")
	p.Events = append(p.Events, plan.Event{Name: "$identify"})
	if _, err := r.folder.AddApp("shop", p, Keys{"shop-key", "shop-secret"}); err != nil {
		t.Fatal(err)
	}
	r.close()
	r.open()
	for _, key := range []string{apiKey, "shop-key"} {
		body := fmt.Sprintf(`{"api_key":%q,"events":[%s,{"event_type":"$groupidentify","groups":{"team":["canary"]},"group_properties":{"$set":{"canary":1}}}]}`,
			key, identify(idA, `{"$set":{"team":"canary"}}`))
		if status, answer := r.do("POST", "/2/httpapi", body); status != 200 || !strings.Contains(answer, `"events_ingested":2`) {
			t.Errorf("%s: got %d %s", key, status, answer)
		}
	}
	r.wantCount(0)
	if lines := r.exportOf("shop-key", "shop-secret"); len(lines) != 0 {
		t.Errorf("the export holds %v, want nothing", lines)
	}
	if n := r.c.writer.identities.size.Load(); n != 0 {
		t.Errorf("%d undeclared properties are kept", n)
	}
}

// TestIdentifyRefusals: a value outside its kind is refused with its index as an
// event's is, and then nothing of the request counts.
func TestIdentifyRefusals(t *testing.T) {
	r := newRig(t)
	f := func(name, e, want string) {
		t.Helper()
		status, answer := r.upload(event(idA, 0), identify(idA, `{"$set":{"sgx_mode":"HW"}}`), e)
		if status != 400 || !strings.Contains(answer, want) || strings.Contains(answer, "canary") {
			t.Errorf("%s: got %d %s, want 400 with %s", name, status, answer, want)
		}
	}
	ok := identify(idB, `{"$set":{"sgx_mode":"HW"}}`)
	f("mode", identify(idB, `{"$set":{"sgx_mode":"canary"}}`), `"events_with_invalid_fields":{"sgx_mode":[2]}`)
	f("list for a mode", identify(idB, `{"$set":{"sgx_mode":["HW"]}}`), `"events_with_invalid_fields":{"sgx_mode":[2]}`)
	f("id", identify("canary@example.org", `{}`), `"events_with_invalid_fields":{"user_id":[2]}`)
	f("no id", strings.Replace(ok, `"user_id"`, `"device"`, 1), `"events_with_missing_fields":{"user_id":[2]}`)
	f("time", strings.Replace(ok, "1795442093123", `"canary"`, 1), `"events_with_invalid_fields":{"time":[2]}`)
	f("system", strings.Replace(ok, `"time"`, `"device_id":"canary","time"`, 1), `"events_with_invalid_fields":{"device_id":[2]}`)
	r.mustUpload(bare(idA, 1))
	r.wantModes(map[string]string{idA + "-1": ""})
}

func TestIdentifyAPI(t *testing.T) {
	r := newRig(t)
	urlencoded := func(req *http.Request) { req.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
	form := func(fields ...string) string {
		v := url.Values{}
		for i := 0; i < len(fields); i += 2 {
			v.Set(fields[i], fields[i+1])
		}
		return v.Encode()
	}
	one := func(id, mode string) string {
		return fmt.Sprintf(`{"user_id":%q,"user_properties":{"sgx_mode":%q,"paying":"canary"},"country":"canary"}`, id, mode)
	}
	good := func(status int, answer string) {
		t.Helper()
		if status != 200 || !strings.Contains(answer, `"code":200`) {
			t.Errorf("got %d %s, want 200", status, answer)
		}
	}
	good(r.do("POST", "/identify", form("api_key", apiKey, "identification", one(idA, "HW")), urlencoded))
	r.mustUpload(bare(idA, 0), bare(idB, 0))
	good(r.do("POST", "/identify", form("api_key", apiKey, "identification", " ["+one(idA, "SW")+","+one(idB, "HW")+"] "), urlencoded))
	r.mustUpload(bare(idA, 1), bare(idB, 1))
	good(r.do("GET", "/identify?"+form("api_key", apiKey, "identification", one(idB, "SW")), ""))
	r.mustUpload(bare(idB, 2))
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	m.WriteField("api_key", apiKey)
	m.WriteField("identification", one(idB, "HW"))
	m.Close()
	good(r.do("POST", "/identify", b.String(), func(req *http.Request) { req.Header.Set("Content-Type", m.FormDataContentType()) }))
	r.mustUpload(bare(idB, 3))
	good(r.do("POST", "/identify", form("api_key", apiKey, "identification", "[]"), urlencoded))
	r.wantModes(map[string]string{idA + "-0": "HW", idA + "-1": "SW", idB + "-0": "", idB + "-1": "HW", idB + "-2": "SW", idB + "-3": "HW"})

	f := func(name, body string, wantStatus int, want string) {
		t.Helper()
		status, answer := r.do("POST", "/identify", body, urlencoded)
		var a struct{ Code int }
		if err := json.Unmarshal([]byte(answer), &a); status != wantStatus || err != nil || a.Code != status || !strings.Contains(answer, want) || strings.Contains(answer, "canary") {
			t.Errorf("%s: got %d %s, want %d with %s", name, status, answer, wantStatus, want)
		}
	}
	f("nothing", "", 400, `"missing_field":"api_key"`)
	f("no form", "%zz", 400, `"missing_field":"api_key"`)
	f("no identification", form("api_key", apiKey), 400, "missing_event")
	f("wrong key", form("api_key", "canary", "identification", one(idA, "HW")), 400, `"Invalid API key: `)
	f("not JSON", form("api_key", apiKey, "identification", "canary"), 400, "missing_event")
	f("more than JSON", form("api_key", apiKey, "identification", `{},"canary":{}`), 400, "missing_event")
	f("too deep", form("api_key", apiKey, "identification", strings.Repeat("[", 100)+strings.Repeat("]", 100)), 400, "missing_event")
	f("not an object", form("api_key", apiKey, "identification", `"canary"`), 400, `"events_with_missing_fields":{"user_id":[0]}`)
	f("values", form("api_key", apiKey, "identification", "["+one(idA, "HW")+","+one(idB, "canary")+","+one("canary", "HW")+"]"), 400,
		`"events_with_invalid_fields":{"sgx_mode":[1],"user_id":[2]}`)
	f("too many", form("api_key", apiKey, "identification", "["+strings.TrimSuffix(strings.Repeat("{},", 2001), ",")+"]"), 413, "Payload too large")
	f("too large", form("api_key", apiKey, "identification", strings.Repeat(" ", 1<<20)), 413, "Payload too large")
	broken := func(req *http.Request) {
		urlencoded(req)
		req.Body = io.NopCloser(io.MultiReader(strings.NewReader("api"), brokenReader{}))
	}
	if status, answer := r.do("POST", "/identify", "", broken); status != 400 || !strings.Contains(answer, "missing_event") {
		t.Errorf("half a body: got %d %s", status, answer)
	}
	torn := func(req *http.Request) { req.Header.Set("Content-Type", "multipart/form-data; boundary=b") }
	if status, answer := r.do("POST", "/identify", "--b\r\ncanary", torn); status != 400 || !strings.Contains(answer, "missing_event") || strings.Contains(answer, "canary") {
		t.Errorf("half a form: got %d %s", status, answer)
	}
	if strings.Contains(r.log.String(), "canary") {
		t.Errorf("the log holds what was refused: %s", &r.log)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestForgottenSendersAreNotIdentified: an erasure takes what the sender has
// said of itself, and late identifications are thrown away.
func TestForgottenSendersAreNotIdentified(t *testing.T) {
	r := newRig(t)
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(identify(id, `{"$set":{"sgx_mode":"HW"}}`))
	if n := r.c.writer.identities.size.Load(); n != 1 {
		t.Fatalf("%d properties are kept, want 1", n)
	}
	if status, body := r.do("POST", "/v1/forget", fmt.Sprintf(`{"secret":%q}`, secret.Reveal())); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	r.mustUpload(identify(id, `{"$set":{"sgx_mode":"HW"}}`))
	if n := r.c.writer.identities.size.Load(); n != 0 || len(r.c.writer.identities.byHash) != 0 {
		t.Errorf("%d properties of an erased sender are kept", n)
	}
}

// TestIdentitiesAreBounded: whoever was not heard of for the longest time goes.
func TestIdentitiesAreBounded(t *testing.T) {
	r := newRig(t)
	k, g := r.c.writer.identities, r.c.guard(r.folder.App("blindai"))
	const each = 100
	var says []operation
	for i := range each {
		says = append(says, operation{property{&plan.Field{Name: fmt.Sprint("p", i), Kind: plan.Count}, plan.Value{Set: true}}, amplitude.Set})
	}
	say := func(id plan.ID) { k.apply("blindai", g, nil, []identification{{id: id, says: says}}) }
	for i := range maxIdentified / each {
		say(plan.ID{1, byte(i), byte(i >> 8)})
		if i == 1 {
			say(plan.ID{1}) // again, so that the second is the one that goes
		}
	}
	say(plan.ID{2})
	has := func(id plan.ID) bool { return k.byHash[k.hash("blindai", id)] != nil }
	if !has(plan.ID{1}) || has(plan.ID{1, 1}) || !has(plan.ID{2}) || k.size.Load() != maxIdentified || k.recent.Len() != maxIdentified/each {
		t.Errorf("the wrong senders are kept, or %d of them", k.recent.Len())
	}
}
