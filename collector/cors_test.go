package collector

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// send is do for tests that look at the answer's header.
func (r *rig) send(method, path, body string, header map[string]string) *http.Response {
	r.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	for name, value := range header {
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	r.c.Handler().ServeHTTP(w, req)
	return w.Result()
}

func TestPreflight(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/2/httpapi", "/batch"} {
		asked := map[string]string{
			"Origin": "https://shop.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-encoding,content-type",
		}
		got := r.send("OPTIONS", path, "", asked)
		if got.StatusCode != 204 || got.ContentLength > 0 {
			t.Errorf("%s: got %d with %d bytes, want an empty 204", path, got.StatusCode, got.ContentLength)
		}
		f := func(name, want string) {
			t.Helper()
			if got := got.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		f("Access-Control-Allow-Origin", "*")
		f("Access-Control-Allow-Methods", "GET, POST")
		f("Access-Control-Allow-Headers", "Content-Type, Content-Encoding, *")
		f("Access-Control-Allow-Credentials", "")
		f("Access-Control-Allow-Private-Network", "")

		asked["Access-Control-Request-Private-Network"] = "true"
		got = r.send("OPTIONS", path, "", asked)
		f("Access-Control-Allow-Private-Network", "true")
	}
}

// TestWrongPathFromAPage: a page reads why its upload is refused, as any other
// client does. A preflight that is refused tells it nothing.
func TestWrongPathFromAPage(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/", "/2/httpapi/v3", "/collect", "//2/httpapi", "/2//httpapi", "/x/../2/httpapi", "/2/httpapi/", "/./v1/show"} {
		header := map[string]string{"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
		if got := r.send("OPTIONS", path, "", header); got.StatusCode != 204 || got.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("the preflight for %s: got %d, for origin %q", path, got.StatusCode, got.Header.Get("Access-Control-Allow-Origin"))
		}
		if got := r.send("POST", path, "{}", header); got.StatusCode != 400 || got.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("the upload to %s: got %d, for origin %q", path, got.StatusCode, got.Header.Get("Access-Control-Allow-Origin"))
		}
		if got := r.send("GET", path, "", header); got.StatusCode != 404 || got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("GET %s: got %d, for origin %q", path, got.StatusCode, got.Header.Get("Access-Control-Allow-Origin"))
		}
	}
}

// TestPagesMayUploadAndNothingElse: a page can read what became of its upload,
// taken or refused. What the maintainer reads stays closed to pages.
func TestPagesMayUploadAndNothingElse(t *testing.T) {
	r := newRig(t)
	origin := map[string]string{"Origin": "https://shop.example", "Content-Type": "text/plain;charset=UTF-8"}
	body := `{"api_key":"` + apiKey + `","events":[` + event(idA, 0) + `]}`
	for body, want := range map[string]int{body: 200, "": 400, body[:40]: 400, strings.Repeat("x", maxHTTPBody+1): 413} {
		got := r.send("POST", "/2/httpapi", body, origin)
		if got.StatusCode != want || got.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("a body of %d bytes: got %d, for origin %q; want %d for all", len(body), got.StatusCode, got.Header.Get("Access-Control-Allow-Origin"), want)
		}
	}
	for _, path := range []string{"/api/2/export", "/api/2/deletions/users", "/v1/forget", "/v1/plan/blindai", "/healthz"} {
		for _, method := range []string{"OPTIONS", "GET", "POST"} {
			if got := r.send(method, path, "", origin); got.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s %s is open to pages", method, path)
			}
		}
	}
}
