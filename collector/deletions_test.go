package collector

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const deletionPath = "/api/2/deletions/users"

// TestDeletionJobs walks through Amplitude's API for them, all three verbs.
func TestDeletionJobs(t *testing.T) {
	at := &clock{time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC)}
	r := &rig{t: t, dir: t.TempDir(), now: at.now}
	r.open()
	t.Cleanup(r.close)
	number := func(id string) int64 { return r.folder.tombstones.of("blindai", mustID(t, id)).number() }
	user := func(id, day, requester string) string {
		return fmt.Sprintf(`{"amplitude_id":%d,"requested_on_day":%q,"requester":%q}`, number(id), day, requester)
	}
	job := func(day string, users ...string) string {
		return fmt.Sprintf(`{"day":%q,"status":"done","amplitude_ids":[%s],"app":"blindai","active_scrub_done_date":%[1]q}`, day, strings.Join(users, ","))
	}
	f := func(method, path, body string, wantStatus int, want string) {
		t.Helper()
		status, got := r.do(method, deletionPath+path, body, auth)
		if status != wantStatus || got != want+"\n" {
			t.Errorf("%s %s: got %d %swant %d %s", method, path, status, got, wantStatus, want)
		}
	}
	const both = "?start_day=2026-11-20&end_day=2026-11-21"
	f("GET", both, "", 200, `[]`)
	f("POST", "", `{"user_ids":["`+idA+`"],"requester":"alice@canary.example"}`, 200, "["+job("2026-11-20", user(idA, "2026-11-20", "alice@canary.example"))+"]")
	at.t = at.t.Add(2 * time.Hour)
	f("POST", "", `{"user_ids":["`+idB+`","`+idA+`"]}`, 200, "["+job("2026-11-21", user(idB, "2026-11-21", ""), user(idA, "2026-11-21", ""))+"]")
	f("POST", "", `{"user_ids":["`+idB+`"]}`, 200, "["+job("2026-11-21", user(idB, "2026-11-21", ""))+"]") // again: the same job

	list := "[" + job("2026-11-20", user(idA, "2026-11-20", "")) + "," + job("2026-11-21", user(idB, "2026-11-21", ""), user(idA, "2026-11-21", "")) + "]"
	f("GET", both, "", 200, list)
	f("GET", "?start_day=2026-11-20&end_day=2026-11-20", "", 200, "["+job("2026-11-20", user(idA, "2026-11-20", ""))+"]")
	f("GET", "?start_day=2026-11-22&end_day=2027-05-01", "", 200, `[]`)

	// What is done cannot be taken back, and what is not there is not done.
	done := fmt.Sprintf("/%d/2026-11-20", number(idA))
	f("DELETE", done, "", 400, `{"code":400,"error":"the deletion is done: everything of this sender was erased at once, and cannot be brought back"}`)
	const none = `{"code":400,"error":"there is no deletion job of that amplitude_id and day; GET /api/2/deletions/users lists them"}`
	f("DELETE", fmt.Sprintf("/%d/2026-11-20", number(idB)), "", 400, none)
	f("DELETE", fmt.Sprintf("/%d/canary", number(idA)), "", 400, none)
	f("DELETE", "/canary/2026-11-20", "", 400, none)

	// The list survives a restart. It names neither ids nor who has asked.
	r.close()
	r.open()
	f("GET", both, "", 200, list)
	f("DELETE", done, "", 400, `{"code":400,"error":"the deletion is done: everything of this sender was erased at once, and cannot be brought back"}`)
	kept, err := os.ReadFile(filepath.Join(r.dir, "deletions"))
	if err != nil || strings.Count(string(kept), "\n") != 3 {
		t.Errorf("the list has the lines %q (%v), want three", kept, err)
	}
	err = filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, never := range []string{idA, idB, "canary"} {
			if strings.Contains(string(b), never) {
				t.Errorf("%s holds an id, or who has asked", filepath.Base(path))
			}
		}
		return err
	})
	if err != nil || strings.Contains(r.log.String(), "canary") {
		t.Errorf("the log holds who has asked: %s (%v)", &r.log, err)
	}

	// Another app has another list, and without keys there is none.
	keys, err := r.c.Apps().Add(t.Context(), "coffee", otherPlan(t, "x"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(req *http.Request) { req.SetBasicAuth(keys.API, keys.Secret) }
	if status, body := r.do("GET", deletionPath+both, "", with); status != 200 || body != "[]\n" {
		t.Errorf("another app gets %d %s", status, body)
	}
	if _, body := r.do("DELETE", deletionPath+done, "", with); body != none+"\n" {
		t.Errorf("another app is told %s", body)
	}
	for request, path := range map[string]string{"GET": deletionPath + both, "DELETE": deletionPath + done} {
		if status, _ := r.do(request, path, ""); status != 401 {
			t.Errorf("%s without keys is answered %d", request, status)
		}
	}
	for _, q := range []string{"", "?start_day=2026-11-20", "?start_day=canary&end_day=canary", "?start_day=2026-11-21&end_day=2026-11-20", "?start_day=2026-01-01&end_day=2026-11-20"} {
		if status, body := r.do("GET", deletionPath+q, "", auth); status != 400 || strings.Contains(body, "canary") {
			t.Errorf("%s: got %d %s, want 400", q, status, body)
		}
	}
}

// TestDeletionList: a torn end is cut off, what is old is dropped, and the file
// does not grow for ever.
func TestDeletionList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deletions")
	reopen := func() *deletions {
		t.Helper()
		d, err := openDeletions(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.close() })
		return d
	}
	const whole = "2025-11-18 coffee 1\n2026-11-20 coffee 2\n"
	if err := os.WriteFile(path, []byte(whole+"2026-11-20 cof"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := reopen()
	if b, _ := os.ReadFile(path); string(b) != "2026-11-20 coffee 2\n" {
		t.Errorf("the list is %q after a start, want what is whole and of the last year", b)
	}
	one := deletion{"2026-11-20", "coffee", 3}
	if err := d.add([]deletion{one, one}); err != nil {
		t.Fatal(err)
	}
	if err := d.add([]deletion{one}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "2026-11-20 coffee 2\n2026-11-20 coffee 3\n" {
		t.Errorf("the list is %q, want each once", b)
	}

	for n := range int64(2*keptDeletions/10_000 + 1) {
		more := make([]deletion, 10_000)
		for i := range more {
			more[i] = deletion{"2026-11-20", "coffee", 10 + 10_000*n + int64(i)}
		}
		if err := d.add(more); err != nil {
			t.Fatal(err)
		}
	}
	first, last := deletion{"2026-11-20", "coffee", 10}, deletion{"2026-11-20", "coffee", 10 + 2*keptDeletions}
	for _, d := range []*deletions{d, reopen()} {
		if n := len(d.of("coffee", "2026-11-20", "2026-11-20")); n < keptDeletions || n > keptDeletions+10_000 {
			t.Errorf("%d are kept, want about %d", n, keptDeletions)
		}
		if d.has(first) || !d.has(last) {
			t.Error("the newest are dropped instead of the oldest")
		}
	}
}
