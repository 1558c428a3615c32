package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/collector"
	"github.com/blindai-go/blindai/console"
	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestErasedAtOnce asks everything that shows events, before an erasure, so that
// whatever is kept is kept, and again when the receipt has come: nothing of the
// session is shown any more, though all of it is asked within a second.
func TestErasedAtOnce(t *testing.T) {
	c, s := openCollector(t, collector.Config{Commands: commands}, map[string]collector.Keys{events.App: {API: "key", Secret: "secret"}})
	pages, err := newPages(c, console.Config{Store: s}, access{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apps().Publish(t.Context(), events.App, &privacy.Facts{Figures: true}); err != nil {
		t.Fatal(err)
	}
	h := newHandler(c, pages, access{})
	do := func(method, path, body string) string {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.RemoteAddr, r.Host = "127.0.0.1:4711", "127.0.0.1:8080"
		r.SetBasicAuth("key", "secret")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("%s %s is answered %d %s", method, path, w.Code, w.Body)
		}
		return w.Body.String()
	}

	// Five sessions that stay, of one version, and one of another to be erased, now
	// and in the week before, which is the one of the figures.
	now := time.Now().UTC()
	weekBefore := now.AddDate(0, 0, -7)
	upload := func(id, version string) {
		t.Helper()
		event := func(seq int, at time.Time) string {
			return fmt.Sprintf(`{"user_id":%q,"device_id":"linux/amd64","app_version":%q,"event_type":"send_model","user_properties":{"sgx_mode":"HW"},`+
				`"time":%d,"insert_id":"%[1]s-%[4]d","event_properties":{"uptime":3,"model_size":424242}}`, id, version, at.UnixMilli(), seq)
		}
		do("POST", "/2/httpapi", fmt.Sprintf(`{"api_key":"key","events":[%s,%s]}`, event(0, now), event(1, weekBefore)))
	}
	secret := plan.NewSecret()
	id := secret.ID().String()
	const stays, goes = "1.2.3", "4.5.6"
	for range 5 {
		upload(plan.NewSecret().ID().String(), stays)
	}
	upload(id, goes)

	show := func() string { return do("POST", "/v1/show", fmt.Sprintf(`{"secret":%q}`, secret.Reveal())) }
	export := func() string {
		return unpack(t, do("GET", "/api/2/export?start="+now.Add(-time.Hour).Format("20060102T15")+"&end="+now.Add(time.Hour).Format("20060102T15"), ""))
	}
	get := func(path string) func() string { return func() string { return do("GET", path, "") } }
	views := map[string]func() string{
		"the console, by version":   get("/?app=blindai&range=30d&by=app_version"),
		"the console, of a week":    get("/?app=blindai&range=7d"),
		"the live view":             get("/console/live?app=blindai"),
		"the export":                export,
		"what is shown by a secret": show,
		"the figures":               get("/figures/blindai"),
	}
	seen := func(when string, want map[string]bool) map[string]string {
		t.Helper()
		all := map[string]string{}
		for name, view := range views {
			shown := view()
			all[name] = shown
			for _, trace := range []string{id, id[:8], goes} {
				if strings.Contains(shown, trace) && !want[name] {
					t.Errorf("%s %s shows the session", when, name)
				}
			}
			if want[name] && !strings.Contains(shown, goes) {
				t.Errorf("%s %s does not show the session, so it would not be missed: %s", when, name, shown)
			}
		}
		return all
	}
	want := map[string]bool{}
	for name := range views {
		want[name] = name != "the figures" // it is one session, which they never show by itself
	}
	was := seen("before,", want)

	do("POST", "/v1/forget", fmt.Sprintf(`{"secret":%q}`, secret.Reveal()))
	receipt := time.Now()
	is := seen("after the receipt", nil)
	if took := time.Since(receipt); took > time.Second {
		t.Errorf("to look took %v, so a second is not what is shown here", took)
	}
	// Six sessions of which one was another version are five of one.
	const hidden, open = "<td><code>(other)</code></td><td>5</td><td>5</td>", "<td><code>" + stays + "</code></td><td>5</td><td>5</td>"
	if before, after := was["the figures"], is["the figures"]; !strings.Contains(before, hidden) || strings.Contains(before, open) ||
		strings.Contains(after, hidden) || !strings.Contains(after, open) {
		t.Error("the figures are not made anew without the session")
	}
	if metrics := do("GET", "/metrics", ""); strings.Contains(metrics, id) {
		t.Error("the counts show the session")
	}
}

// unpack returns all lines of an export.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	z, err := zip.NewReader(strings.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		g, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&all, g); err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
