package collector

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/duckdb"
	"github.com/blindai-go/blindai/telemetry/plan"
)

const apiKey, secretKey = "test-api-key", "test-secret-key"

// A rig is a collector with BlindAI's app, on a folder of its own.
type rig struct {
	t   *testing.T
	dir string
	log bytes.Buffer
	now func() time.Time // nil: the real one

	limits Limits
	folder *Folder
	store  store.Store
	c      *Collector

	// wrap, if set, stands between the collector and the store.
	wrap func(store.Store) store.Store
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir()}
	r.open()
	t.Cleanup(r.close)
	return r
}

// newRigOver makes a rig with a fake between the collector and its store.
func newRigOver(t *testing.T, wrap func(store.Store) store.Store) *rig {
	r := &rig{t: t, dir: t.TempDir(), wrap: wrap}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.folder, err = OpenFolder(r.dir); err != nil {
		r.t.Fatal(err)
	}
	if r.folder.App(events.App) == nil {
		if _, err := r.folder.AddApp(events.App, events.Plan(), Keys{apiKey, secretKey}); err != nil {
			r.t.Fatal(err)
		}
	}
	s, err := duckdb.Open(r.t.Context(), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = s
	var used store.Store = s
	if r.wrap != nil {
		used = r.wrap(s)
	}
	r.c, err = New(r.t.Context(), Config{Folder: r.folder, Store: used, Limits: r.limits, now: r.now, Logger: slog.New(slog.NewTextHandler(&r.log, nil))})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) close() {
	r.c.Close()
	if err := errors.Join(r.store.Close(), r.folder.Close()); err != nil {
		r.t.Error(err)
	}
}

// do sends a request and returns status and body.
func (r *rig) do(method, path, body string, change ...func(*http.Request)) (int, string) {
	r.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	for _, f := range change {
		f(req)
	}
	w := httptest.NewRecorder()
	r.c.Handler().ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func auth(req *http.Request) { req.SetBasicAuth(apiKey, secretKey) }

// upload sends events to /2/httpapi.
func (r *rig) upload(events ...string) (int, string) {
	r.t.Helper()
	return r.do("POST", "/2/httpapi", req(events...))
}

func (r *rig) mustUpload(events ...string) {
	r.t.Helper()
	if status, body := r.upload(events...); status != 200 {
		r.t.Fatalf("the upload is answered %d %s", status, body)
	}
}

// export returns all lines, of all hours around now.
func (r *rig) export() []map[string]any {
	r.t.Helper()
	return r.exportOf(apiKey, secretKey)
}

func (r *rig) exportOf(key, secret string) []map[string]any {
	r.t.Helper()
	now := time.Now().UTC()
	path := fmt.Sprintf("/api/2/export?start=%s&end=%s", now.Add(-time.Hour).Format(hourForm), now.Add(time.Hour).Format(hourForm))
	status, body := r.do("GET", path, "", func(req *http.Request) { req.SetBasicAuth(key, secret) })
	if status == 404 {
		return nil
	}
	if status != 200 {
		r.t.Fatalf("the export is answered %d %s", status, body)
	}
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		r.t.Fatal(err)
	}
	var lines []map[string]any
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			r.t.Fatal(err)
		}
		g, err := gzip.NewReader(in)
		if err != nil {
			r.t.Fatal(err)
		}
		b, err := io.ReadAll(g)
		if err != nil {
			r.t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			var m map[string]any
			if err := json.Unmarshal(line, &m); err != nil {
				r.t.Fatalf("a line of the export is not JSON: %v", err)
			}
			lines = append(lines, m)
		}
	}
	return lines
}

// wantCount asserts how many events the export holds.
func (r *rig) wantCount(want int) {
	r.t.Helper()
	if got := len(r.export()); got != want {
		r.t.Errorf("the export holds %d events, want %d", got, want)
	}
}

const idA, idB = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

// event writes a run_model event of a sender.
func event(id string, seq int) string {
	return fmt.Sprintf(`{"user_id":%q,"device_id":"linux/amd64","app_version":"0.7.0","event_type":"run_model",
		"user_properties":{"sgx_mode":"SW"},"time":1795442093123,"insert_id":"%s-%d","event_properties":{"uptime":%d}}`, id, id, seq, seq)
}

func TestUploadAndExport(t *testing.T) {
	r := newRig(t)
	sent := fmt.Sprintf(`{"user_id":%q,"device_id":"linux/amd64","app_version":"0.7.0","event_type":"send_model",
		"user_properties":{"sgx_mode":"HW"},"time":1795442093123,"insert_id":"%s-7","event_properties":{"uptime":3,"model_size":20000}}`, idA, idA)
	status, body := r.upload(sent)
	if status != 200 || !strings.Contains(body, `"code":200,"events_ingested":1`) {
		t.Fatalf("got %d %s", status, body)
	}
	lines := r.export()
	if len(lines) != 1 {
		t.Fatalf("the export holds %d events, want 1", len(lines))
	}
	got := lines[0]
	for _, name := range []string{"server_received_time", "server_upload_time"} {
		at, err := time.Parse(exportTime, fmt.Sprint(got[name]))
		if err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("%s is %v, want about now", name, got[name])
		}
		delete(got, name)
	}
	b, _ := json.Marshal(got)
	want := `{"$insert_id":"` + idA + `-7","app_version":"0.7.0","client_event_time":"2026-11-23 13:54:53.123000","device_id":"linux/amd64",` +
		`"event_properties":{"model_size":20000,"uptime":3},"event_time":"2026-11-23 13:54:53.123000","event_type":"send_model",` +
		`"insert_id":"` + idA + `-7","time":1795442093123,"user_id":"` + idA + `","user_properties":{"sgx_mode":"HW"},"version_name":"0.7.0"}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

// TestRefusals is the table of what is not taken: what the answer says, and that
// nothing of the body comes back or is stored. Of sizes, numbers, times, ids and
// texts at their edges the tables are in badinput_test.go.
func TestRefusals(t *testing.T) {
	r := newRig(t)
	ok := event(idA, 0)
	f := func(name, body string, wantStatus int, want string) {
		t.Helper()
		status, answer := r.do("POST", "/2/httpapi", body)
		if status != wantStatus || !strings.Contains(answer, want) {
			t.Errorf("%s: got %d %s, want %d with %s", name, status, answer, wantStatus, want)
		}
		var a struct{ Code int }
		if err := json.Unmarshal([]byte(answer), &a); err != nil || a.Code != status {
			t.Errorf("%s: the answer lacks its code: %s", name, answer)
		}
		if strings.Contains(answer, "canary") {
			t.Errorf("%s: the answer repeats what was refused: %s", name, answer)
		}
	}
	change := func(old, new string) string {
		t.Helper()
		if !strings.Contains(ok, old) {
			t.Fatalf("the event does not hold %s", old)
		}
		return req(ok, strings.Replace(ok, old, new, 1))
	}
	f("not JSON", "canary", 400, "Invalid JSON request body")
	f("half of it", req(ok)[:50], 400, "Invalid JSON request body")
	f("no key", `{"events":[]}`, 400, `"missing_field":"api_key"`)
	f("no events", `{"api_key":"`+apiKey+`"}`, 400, `"missing_field":"events"`)
	f("wrong key", `{"api_key":"canary","events":[]}`, 400, `"Invalid API key: `)
	f("empty key", `{"api_key":"","events":[]}`, 400, `"Invalid API key: `)
	f("unknown event", change(`"run_model"`, `"canary"`), 400, `"events_with_invalid_fields":{"event_type":[1]}`)
	f("no event type", change(`"event_type":"run_model",`, ``), 400, `"events_with_missing_fields":{"event_type":[1]}`)
	f("no id", change(`"user_id":"`+idA+`",`, ``), 400, `"events_with_missing_fields":{"user_id":[1]}`)
	f("id of the wrong form", change(`"user_id":"`+idA+`"`, `"user_id":"canary@example.org"`), 400, `"events_with_invalid_fields":{"user_id":[1]}`)
	f("id as a number", change(`"user_id":"`+idA+`"`, `"user_id":12345678`), 400, `"events_with_invalid_fields":{"user_id":[1]}`)
	f("mode that is not declared", change(`"SW"`, `"canary"`), 400, `"events_with_invalid_fields":{"sgx_mode":[1]}`)
	f("host name for a system", change(`"linux/amd64"`, `"canary-laptop"`), 400, `"events_with_invalid_fields":{"device_id":[1]}`)
	f("text for a number", change(`"uptime":0`, `"uptime":"canary"`), 400, `"events_with_invalid_fields":{"uptime":[1]}`)
	f("object for a value", change(`"uptime":0`, `"uptime":{"canary":1}`), 400, `"events_with_invalid_fields":{"uptime":[1]}`)
	f("insert id as a number", change(`"insert_id":"`+idA+`-0"`, `"insert_id":7`), 400, `"events_with_invalid_fields":{"insert_id":[1]}`)
	f("not an object", req(ok, `"canary"`), 400, `"events_with_missing_fields":{"event_type":[1]}`)
	f("two faults", req(strings.Replace(ok, `"SW"`, `1`, 1), ok, strings.Replace(ok, `"linux/amd64"`, `1`, 1)), 400,
		`"events_with_invalid_fields":{"device_id":[2],"sgx_mode":[0]}`)

	if status, answer := r.do("POST", "/wrong/path", req(ok)); status != 400 || !strings.Contains(answer, "missing_field") {
		t.Errorf("wrong path: got %d %s, want a 400 that no SDK repeats for ever", status, answer)
	}
	r.wantCount(0)
	if strings.Contains(r.log.String(), "canary") {
		t.Errorf("the log holds what was refused: %s", &r.log)
	}
	r.mustUpload(ok)
	r.wantCount(1)
}

// TestUndeclaredFieldsAreDropped: the event is kept, what the plan does not
// declare is gone and only counted.
func TestUndeclaredFieldsAreDropped(t *testing.T) {
	r := newRig(t)
	e := strings.Replace(event(idA, 0), `"time"`, `"ip":"canary","library":"canary/1","country":"canary","groups":{"canary":["canary"]},"canary":1,"time"`, 1)
	e = strings.Replace(e, `"sgx_mode"`, `"canary":"canary","sgx_mode"`, 1)
	e = strings.Replace(e, `"uptime"`, `"model_size":5,"model_name":"canary","uptime"`, 1)
	r.mustUpload(e)
	lines := r.export()
	b, _ := json.Marshal(lines)
	if len(lines) != 1 || bytes.Contains(b, []byte("canary")) || bytes.Contains(b, []byte("model_size")) {
		t.Errorf("got %s, want one event without the undeclared fields", b)
	}
	if n := r.c.undeclaredFields(); n != 8 {
		t.Errorf("%d undeclared fields are counted, want 8", n)
	}
}

func TestMissingFieldsStayMissing(t *testing.T) {
	r := newRig(t)
	r.mustUpload(fmt.Sprintf(`{"user_id":%q,"event_type":"started","app_version":null}`, idA))
	line := r.export()[0]
	for _, name := range []string{"app_version", "version_name", "device_id"} {
		if v, has := line[name]; has {
			t.Errorf("%s is %v, want it missing", name, v)
		}
	}
	if at, ok := line["time"].(float64); !ok || time.Since(time.UnixMilli(int64(at))).Abs() > time.Minute {
		t.Errorf("time is %v, want the time received", line["time"])
	}
}

// TestWrongMethod: a path that is there says which methods it answers.
func TestWrongMethod(t *testing.T) {
	r := newRig(t)
	for path, want := range map[string]string{
		"/2/httpapi": "POST", "/v1/forget": "POST", "/v1/key": "GET", "/identify": "GET, POST", "/api/2/deletions/users": "GET, POST", "/nowhere": "",
	} {
		w := httptest.NewRecorder()
		r.c.Handler().ServeHTTP(w, httptest.NewRequest("PUT", path, nil))
		if status := map[bool]int{true: 405, false: 404}[want != ""]; w.Code != status || w.Header().Get("Allow") != want {
			t.Errorf("PUT %s is answered %d, Allow %q, want %d and %q", path, w.Code, w.Header().Get("Allow"), status, want)
		}
	}
	if status, body := r.do("GET", "/2/httpapi", ""); status != 405 || !strings.Contains(body, `"code":405`) {
		t.Errorf("GET /2/httpapi: got %d %s", status, body)
	}
}

func TestContentTypes(t *testing.T) {
	r := newRig(t)
	for contentType, want := range map[string]int{"": 200, "application/json": 200, "application/json; charset=UTF-8": 200, "text/plain": 200, "text/html": 400} {
		status, _ := r.do("POST", "/2/httpapi", req(event(idA, 0)), func(req *http.Request) { req.Header.Set("Content-Type", contentType) })
		if status != want {
			t.Errorf("content type %q is answered %d, want %d", contentType, status, want)
		}
	}
	r.wantCount(1)
}

func TestRepeatsAreCountedOnce(t *testing.T) {
	r := newRig(t)
	foreign := func(insertID string) string {
		return strings.Replace(event(idA, 0), idA+"-0", insertID, 1)
	}
	r.mustUpload(event(idA, 0), event(idA, 0), event(idA, 2))
	r.mustUpload(event(idA, 2), event(idA, 1), event(idB, 0))
	r.mustUpload(foreign("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), foreign("any text"))
	r.mustUpload(foreign("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), foreign("any text"), foreign("another text"))
	r.wantCount(7)

	// Across a restart.
	r.close()
	r.open()
	r.mustUpload(event(idA, 0), event(idA, 1), event(idA, 2), event(idA, 3), foreign("any text"), foreign("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))
	r.wantCount(8)
}

// TestRepeatsInCapitals: a UUID may be written either way, and its events are the
// same ones, whether the collector has learned their shape or not.
func TestRepeatsInCapitals(t *testing.T) {
	r := newRig(t)
	const id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	upper := strings.ToUpper(id)
	r.mustUpload(event(id, 0), event(id, 1)) // learned
	r.mustUpload(event(upper, 0), event(upper, 2))
	r.wantCount(3)
	r.close()
	r.open()
	r.mustUpload(event(upper, 0), event(upper, 1), event(upper, 2)) // not learned yet
	r.mustUpload(strings.Replace(event(id, 2), id+"-2", upper+"-2", 1))
	r.wantCount(3)
}

// TestCopiesAtTheSameTime sends each of many batches several times at once.
func TestCopiesAtTheSameTime(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for batch := range 10 {
				var es []string
				for i := range 10 {
					es = append(es, event(idA, batch*10+i))
				}
				if status, body := r.upload(es...); status != 200 {
					t.Errorf("got %d %s", status, body)
				}
			}
		})
	}
	wg.Wait()
	r.wantCount(100)
}

// A faultyStore fails to append while broken is set. The fault it stands for is
// a full disk.
type faultyStore struct {
	store.Store
	broken bool
}

func (s *faultyStore) Append(ctx context.Context, app string, records []store.Record) error {
	if s.broken {
		return errors.New("no space left on device")
	}
	return s.Store.Append(ctx, app, records)
}

// TestFailingCommitThenRetryStoresOnce: of a request whose commit fails nothing is
// stored, and nothing counts as seen. It is answered 503, and sent again, also by
// several copies at once and after a restart, it is stored once.
func TestFailingCommitThenRetryStoresOnce(t *testing.T) {
	faulty := &faultyStore{broken: true}
	r := newRigOver(t, func(s store.Store) store.Store { faulty.Store = s; return faulty })

	foreign := func(insertID string) string { return strings.Replace(event(idB, 0), idB+"-0", insertID, 1) }
	requests := [][]string{
		{event(idA, 0), event(idA, 1), event(idA, 1)}, // our own ids, one twice
		{event(idA, 2), foreign("6ba7b810-9dad-11d1-80b4-00c04fd430c8")},
		{foreign("any text"), foreign("another text")},
	}
	want := map[string]int{}
	for _, request := range requests {
		for _, e := range request {
			var sent struct {
				Insert string `json:"insert_id"`
			}
			if err := json.Unmarshal([]byte(e), &sent); err != nil {
				t.Fatal(err)
			}
			rec := insert([]byte(sent.Insert), mustID(t, e[strings.Index(e, `:"`)+2:][:32]), false)
			want[fmt.Sprint(rec)] = 1
		}
	}
	sendAll := func(copies, wantStatus int) {
		t.Helper()
		var wg sync.WaitGroup
		for range copies {
			for _, request := range requests {
				wg.Go(func() {
					if status, body := r.upload(request...); status != wantStatus || !strings.Contains(body, fmt.Sprintf(`"code":%d`, wantStatus)) {
						t.Errorf("got %d %s, want %d", status, body, wantStatus)
					}
				})
			}
		}
		wg.Wait()
	}
	wantStored := func(want map[string]int) {
		t.Helper()
		got := map[string]int{}
		err := r.store.List(t.Context(), store.Listing{App: events.App}, func(rec *store.Record) error {
			got[fmt.Sprint(rec.Insert)]++
			return nil
		})
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%v is stored (%v), want each of %v", got, err, want)
		}
	}
	sendAll(3, 503)
	sendAll(1, 503)
	wantStored(map[string]int{})

	r.close() // what was not acknowledged is not remembered either
	r.open()
	sendAll(1, 503)
	faulty.broken = false
	sendAll(3, 200)
	wantStored(want)
	sendAll(1, 200)
	r.close()
	r.open()
	sendAll(1, 200)
	wantStored(want)
}

func TestForget(t *testing.T) {
	r := newRig(t)
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(event(id, 0), event(id, 1), event(idB, 0))

	// Knowing the id is not enough.
	if status, _ := r.do("POST", "/v1/forget", fmt.Sprintf(`{"secret":%q}`, id)); status != 400 {
		t.Errorf("an id in place of the secret is answered %d, want 400", status)
	}
	r.wantCount(3)

	e, body := r.mustForget(secret)
	if len(e.Erased) != 1 || e.Erased[0] != (ErasedApp{App: "blindai", Events: 2, Sessions: 1}) {
		t.Errorf("the receipt says %s, want 2 events of 1 session of blindai", body)
	}
	if strings.Contains(body, id) || strings.Contains(body, secret.Reveal()) {
		t.Error("the receipt holds the id or the secret")
	}
	lines := r.export()
	if len(lines) != 1 || lines[0]["user_id"] != idB {
		t.Errorf("the export holds %d events, want the one of the other session", len(lines))
	}

	// Late arrivals are acknowledged and thrown away, also after a restart.
	r.mustUpload(event(id, 1), event(id, 2))
	r.close()
	r.open()
	r.mustUpload(event(id, 3))
	r.wantCount(1)

	// Asking again is no error.
	before := r.tombstoned()
	if e, body := r.mustForget(secret); len(e.Erased) != 0 || r.tombstoned() != before {
		t.Errorf("a second request is answered %s, with %d tombstones, want nothing erased and %d", body, r.tombstoned(), before)
	}
}

func TestForgetRefusals(t *testing.T) {
	r := newRig(t)
	for _, body := range []string{"", "canary", `{}`, `{"secret":"canary"}`, `{"secret":7}`, `{"secret":"` + strings.Repeat("z", 64) + `"}`, strings.Repeat("x", 100_000)} {
		status, answer := r.do("POST", "/v1/forget", body)
		if status != 400 && status != 413 || strings.Contains(answer, "canary") {
			t.Errorf("a body of %d bytes is answered %d %s", len(body), status, answer)
		}
	}
}

func TestDeletion(t *testing.T) {
	r := newRig(t)
	r.mustUpload(event(idA, 0), event(idB, 0))
	path := "/api/2/deletions/users"
	if status, _ := r.do("POST", path, `{"user_ids":["`+idA+`"]}`); status != 401 {
		t.Errorf("without keys: got %d, want 401", status)
	}
	if status, _ := r.do("POST", path, `{}`, func(req *http.Request) { req.SetBasicAuth(apiKey, "wrong") }); status != 401 {
		t.Errorf("with a wrong secret key: got %d, want 401", status)
	}
	if status, body := r.do("POST", path, `{"user_ids":["`+idA+`","canary"]}`, auth); status != 400 || strings.Contains(body, "canary") {
		t.Errorf("with an invalid id: got %d %s, want 400", status, body)
	}
	r.wantCount(2)
	status, body := r.do("POST", path, `{"user_ids":["`+idA+`","canary"],"ignore_invalid_id":"True","requester":"me"}`, auth)
	if status != 200 || !strings.Contains(body, `"status":"done"`) || strings.Contains(body, idA) {
		t.Errorf("got %d %s", status, body)
	}
	if lines := r.export(); len(lines) != 1 || lines[0]["user_id"] != idB {
		t.Errorf("the export holds %d events, want the one of the other sender", len(lines))
	}
}

func TestExportRefusals(t *testing.T) {
	r := newRig(t)
	for _, q := range []string{"", "?start=canary&end=canary", "?start=20261123T10&end=20261123T09", "?start=20200101T00&end=20261123T09"} {
		if status, body := r.do("GET", "/api/2/export"+q, "", auth); status != 400 || strings.Contains(body, "canary") {
			t.Errorf("%s: got %d %s, want 400", q, status, body)
		}
	}
	if status, _ := r.do("GET", "/api/2/export?start=20261123T00&end=20261123T23", ""); status != 401 {
		t.Errorf("without keys: got %d, want 401", status)
	}
	if status, _ := r.do("GET", "/api/2/export?start=20200101T00&end=20200101T23", "", auth); status != 404 {
		t.Errorf("an empty range: got %d, want 404", status)
	}
}

func TestPlanIsPublished(t *testing.T) {
	r := newRig(t)
	status, body := r.do("GET", "/v1/plan/blindai", "")
	if status != 200 || body != string(events.Plan().JSON()) {
		t.Errorf("got %d %s, want the plan", status, body)
	}
	if status, _ := r.do("GET", "/v1/plan/canary", ""); status != 404 {
		t.Errorf("an unknown app is answered %d, want 404", status)
	}
}
