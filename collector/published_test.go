package collector

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

func (r *rig) publish(f *privacy.Facts) {
	r.t.Helper()
	if err := r.c.Apps().Publish(r.t.Context(), events.App, f); err != nil {
		r.t.Fatal(err)
	}
}

// TestPrivacyPage is for everyone, made of the plan, the facts and the commands,
// and loads nothing.
func TestPrivacyPage(t *testing.T) {
	r := newRig(t)
	r.c.commands = map[string][]privacy.Command{events.App: {{Do: "switch it off", Type: "blindai off"}}}
	get := func() string {
		t.Helper()
		w := httptest.NewRecorder()
		r.c.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/privacy/blindai", nil))
		if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "script") {
			t.Errorf("the policy is %s", policy)
		}
		return w.Body.String()
	}
	page := get()
	for _, f := range append(events.Plan().SessionColumns(), events.Plan().EventColumns()...) {
		if !strings.Contains(page, "<code>"+f.Name+"</code>") {
			t.Errorf("the page does not name %s", f.Name)
		}
	}
	if !strings.Contains(page, "has not stated: controller") || !strings.Contains(page, "<code>blindai off</code>") {
		t.Error("the page does not say what is not stated, or how to switch it off")
	}
	r.publish(&privacy.Facts{Controller: "Example Ltd"})
	if page := get(); !strings.Contains(page, "Example Ltd") || strings.Contains(page, "has not stated: controller") {
		t.Error("the page does not say what is stated")
	}
	r.close()
	r.open()
	if !strings.Contains(get(), "Example Ltd") {
		t.Error("what was stated is lost after a restart")
	}
	if status, body := r.do("GET", "/privacy/canary", ""); status != 404 || strings.Contains(body, "canary") {
		t.Errorf("the page of no app is answered %d %s", status, body)
	}
}

// TestRecipients: who is erased or looks is told who else has had the events.
func TestRecipients(t *testing.T) {
	r := newRig(t)
	secret, strange := plan.NewSecret(), plan.NewSecret()
	r.mustUpload(event(secret.ID().String(), 0))
	r.publish(&privacy.Facts{Recipients: []privacy.Recipient{{Name: "Hosting \"Ltd\"", Why: "runs the machine"}}, Amplitude: true})
	want := `"recipients":[{"name":"Hosting \"Ltd\"","why":"runs the machine"},{"name":"Amplitude, Inc.","why":`
	if _, body := r.show(secret); !strings.Contains(body, want) {
		t.Errorf("got %s", body)
	}
	if _, body := r.show(strange); !strings.Contains(body, `"recipients":[],"recipients_stated":true,"apps":[]`) {
		t.Errorf("for a secret that fits nothing: got %s", body)
	}
	if err := r.c.Apps().Remove(t.Context(), events.App); err != nil {
		t.Fatal(err)
	}
	if e, body := r.mustForget(secret); fmt.Sprint(e.Recipients) != `[Hosting "Ltd" Amplitude, Inc.]` {
		t.Errorf("got %s", body)
	}
	if e, body := r.mustForget(strange); e.Recipients == nil || len(e.Recipients) != 0 {
		t.Errorf("for a secret that fits nothing: got %s", body)
	}
}

// TestFiguresPage: off until the maintainer wants it, nothing of few, and nothing
// of what was erased.
func TestFiguresPage(t *testing.T) {
	at := &clock{time.Date(2026, 11, 24, 2, 36, 2, 0, time.UTC)} // a Tuesday
	r := &rig{t: t, dir: t.TempDir(), now: at.now}
	r.open()
	t.Cleanup(r.close)
	before := func(id string, seq int) string { // in the week before
		return strings.Replace(event(id, seq), "1795442093123", "1795182893123", 1)
	}
	var secrets []plan.Secret
	for range 5 {
		secrets = append(secrets, plan.NewSecret())
		r.mustUpload(before(secrets[len(secrets)-1].ID().String(), 0))
	}
	r.mustUpload(event(idA, 0), event(idB, 0)) // in this week, which has not ended

	off, _ := r.do("GET", "/figures/blindai", "")
	none, _ := r.do("GET", "/figures/canary", "")
	r.publish(&privacy.Facts{})
	still, _ := r.do("GET", "/figures/blindai", "")
	if off != 404 || none != 404 || still != 404 {
		t.Errorf("figures that nobody wants are answered %d, %d, %d", off, none, still)
	}

	r.publish(&privacy.Facts{Figures: true})
	get := func() string {
		t.Helper()
		status, body := r.do("GET", "/figures/blindai", "")
		if status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
		return body
	}
	page := get()
	for _, want := range []string{
		"<td>2026-11-16</td><td><code>run_model</code></td><td>5</td><td>5</td>",
		"By app_version", "<td><code>0.7.0</code></td><td>5</td><td>5</td>", "By device_id", "By sgx_mode",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %s", want)
		}
	}
	if strings.Contains(page, "2026-11-23") {
		t.Error("the page shows a week that has not ended")
	}

	// Within the hour, what comes late does not show. What is erased does at once.
	r.mustUpload(before(idA, 1), before(idA, 2), before(idA, 3), before(idA, 4), before(idA, 5), before(idA, 6))
	if get() != page {
		t.Error("the page moves with every event")
	}
	r.mustForget(secrets[0])
	if page := get(); !strings.Contains(page, "<td>2026-11-16</td><td><code>run_model</code></td><td>5</td><td>10</td>") {
		t.Error("the page was not made anew after an erasure")
	}
	r.mustForget(secrets[1])
	if page := get(); strings.Contains(page, "run_model</code>") || strings.Count(page, "Too few sessions to show anything.") != 4 {
		t.Error("the page shows fewer than five sessions")
	}
	r.publish(&privacy.Facts{})
	if status, _ := r.do("GET", "/figures/blindai", ""); status != 404 {
		t.Errorf("figures that are switched off are answered %d", status)
	}
}

// TestFiguresOfAStuckStore: a crowd does not ask a store that cannot answer again and
// again, and gets the page when it can.
func TestFiguresOfAStuckStore(t *testing.T) {
	at := &clock{time.Date(2026, 11, 24, 2, 36, 2, 0, time.UTC)}
	stuck := &stuckStore{ask: true}
	r := &rig{t: t, dir: t.TempDir(), now: at.now, wrap: func(s store.Store) store.Store { stuck.Store = s; return stuck }}
	r.open()
	t.Cleanup(r.close)
	r.publish(&privacy.Facts{Figures: true})
	for range 5 {
		w := httptest.NewRecorder()
		r.c.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/figures/blindai", nil))
		if w.Code != 503 || w.Header().Get("Retry-After") != "30" || strings.Contains(w.Body.String(), "stuck") {
			t.Errorf("got %d, Retry-After %q, %s, want 503 that says when to come again", w.Code, w.Header().Get("Retry-After"), w.Body)
		}
	}
	if stuck.asked != 1 || strings.Count(r.log.String(), "stuck") != 1 {
		t.Errorf("the store was asked %d times, want once, and one line in the log:\n%s", stuck.asked, &r.log)
	}
	stuck.ask = false
	at.t = at.t.Add(30 * time.Second)
	if status, _ := r.do("GET", "/figures/blindai", ""); status != 200 {
		t.Errorf("when the store can answer: got %d", status)
	}
}
