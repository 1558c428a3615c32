package collector

import (
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// scrape returns what /metrics shows.
func (r *rig) scrape() string {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.c.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		r.t.Fatalf("got %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	secret := plan.NewSecret()
	id := secret.ID().String()
	wrong := func(old, new string) string { return strings.Replace(event(idA, 9), old, new, 1) }

	r.mustUpload(event(idA, 0), event(idA, 1), event(id, 0), identify(idA, `{"$set":{"sgx_mode":"HW"}}`))
	r.mustUpload(event(idA, 1), event(idA, 2))
	r.mustUpload(wrong(`"time"`, `"canary_name":"canary","time"`))
	r.upload(wrong(`"SW"`, `"canary"`), wrong(`"run_model"`, `"canary"`), wrong(`"user_id"`, `"canary"`), identify(idA, `{"sgx_mode":"canary"}`))
	r.do("POST", "/canary", "")
	r.do("POST", "/v1/forget", fmt.Sprintf(`{"secret":%q}`, secret.Reveal()))
	r.mustUpload(event(id, 1))

	shown := r.scrape()
	for _, want := range []string{
		`blindai_collector_events_total{app="blindai",outcome="stored"} 5`,
		`blindai_collector_events_total{app="blindai",outcome="repeated"} 1`,
		`blindai_collector_events_total{app="blindai",outcome="erased"} 1`,
		`blindai_collector_events_refused_total{app="blindai",field="sgx_mode",rule="value"} 2`,
		`blindai_collector_events_refused_total{app="blindai",field="event_type",rule="undeclared event"} 1`,
		`blindai_collector_events_refused_total{app="blindai",field="user_id",rule="missing"} 1`,
		`blindai_collector_identifications_total{app="blindai"} 1`,
		`blindai_collector_identified_properties 1`,
		`blindai_collector_undeclared_fields_total 4`, // library of both identifications, canary_name, canary
		`blindai_collector_requests_total{code="200",route="POST /2/httpapi"} 4`,
		`blindai_collector_requests_total{code="400",route="POST /2/httpapi"} 1`,
		`blindai_collector_requests_total{code="400",route="/"} 1`,
		`blindai_collector_commit_events_sum 5`,
		`blindai_collector_commit_seconds_count 3`,
		`blindai_collector_commits_failed_total 0`,
		`blindai_collector_waiting_requests 0`,
		`blindai_collector_erased_total{app="blindai",what="events"} 1`,
		`blindai_collector_erased_total{app="blindai",what="sessions"} 1`,
	} {
		if !strings.Contains(shown, want+"\n") {
			name, _, _ := strings.Cut(want, " ")
			name, _, _ = strings.Cut(name, "{")
			t.Errorf("want %s; there is %v", want, regexp.MustCompile("(?m)^"+name+".*$").FindAllString(shown, -1))
		}
	}
	for _, never := range []string{"canary", id, idA} {
		if strings.Contains(shown, never) {
			t.Errorf("the counts hold what a sender wrote")
		}
	}
}
