package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/collector"
	"github.com/blindai-go/blindai/console"
	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/duckdb"
)

// openCollector opens a collector over a new folder in which apps have the
// built-in plan, with its store.
func openCollector(t *testing.T, config collector.Config, apps map[string]collector.Keys) (*collector.Collector, store.Store) {
	t.Helper()
	folder, err := collector.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	for name, keys := range apps {
		if _, err := folder.AddApp(name, events.Plan(), keys); err != nil {
			t.Fatal(err)
		}
	}
	s, err := duckdb.Open(t.Context(), folder.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	config.Folder, config.Store = folder, s
	c, err := collector.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, s
}

// TestUncleanPaths: an upload is never answered with a redirect, which no SDK
// follows with its body. What is typed into a browser is.
func TestUncleanPaths(t *testing.T) {
	c, _ := openCollector(t, collector.Config{}, nil)
	h := newHandler(c, http.NotFoundHandler(), access{})
	for _, path := range []string{"//2/httpapi", "/2//httpapi", "/x/../2/httpapi", "//batch", "//metrics", "/console//x"} {
		for method, want := range map[string]int{"POST": 400, "OPTIONS": 204, "DELETE": 404, "GET": 307} {
			r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader("{}"))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s %s is answered %d, want %d", method, path, w.Code, want)
			}
		}
	}
}

// TestWhoSeesWhat: on this machine everything, elsewhere one's own app.
func TestWhoSeesWhat(t *testing.T) {
	c, s := openCollector(t, collector.Config{}, map[string]collector.Keys{
		"coffee": {API: "coffee-key", Secret: "coffee-secret"}, "tea": {API: "tea-key", Secret: "tea-secret"},
	})
	open := func(who access) (pages, operator http.Handler) {
		pages, err := newPages(c, console.Config{Store: s}, who)
		if err != nil {
			t.Fatal(err)
		}
		return pages, who.operatorOnly(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}
	h, operator := open(access{})

	type asked struct {
		peer, host, key, secret, url string

		header [2]string
		minor  int // of HTTP/1
	}
	here := asked{peer: "127.0.0.1:4711", host: "127.0.0.1:8080", url: "/", minor: 1}
	there := asked{peer: "192.0.2.1:4711", host: "collector.example", url: "/", minor: 1}
	f := func(name string, change func(*asked), from asked, wantStatus, wantOperator int, sees ...string) {
		t.Helper()
		change(&from)
		get := func(h http.Handler) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", from.url, nil)
			r.RemoteAddr, r.Host, r.ProtoMinor = from.peer, from.host, from.minor
			if from.header[0] != "" {
				r.Header.Set(from.header[0], from.header[1])
			}
			if from.key != "" {
				r.SetBasicAuth(from.key, from.secret)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		page := get(h)
		if page.Code != wantStatus {
			t.Errorf("%s: the console answers %d, want %d", name, page.Code, wantStatus)
		}
		if got := get(operator).Code; got != wantOperator {
			t.Errorf("%s: the operator's part answers %d, want %d", name, got, wantOperator)
		}
		for _, app := range []string{"coffee", "tea"} {
			if got, want := strings.Contains(page.Body.String(), app), strings.Contains(strings.Join(sees, ","), app); got != want {
				t.Errorf("%s: that %s is seen is %v, want %v", name, app, got, want)
			}
		}
	}
	as := func(app string) func(*asked) {
		return func(a *asked) { a.key, a.secret = app+"-key", app+"-secret" }
	}
	f("here", func(*asked) {}, here, 200, 200, "coffee", "tea")
	f("here, by name", func(a *asked) { a.host = "localhost" }, here, 200, 200, "coffee", "tea")
	f("here, IPv6", func(a *asked) { a.peer, a.host = "[::1]:4711", "[::1]:8080" }, here, 200, 200, "coffee", "tea")
	f("here by a rebound name", func(a *asked) { a.host = "evil.example" }, here, 401, 403)
	for _, header := range [][2]string{
		{"X-Forwarded-For", "192.0.2.1"}, {"X-Forwarded-For", ""}, {"Forwarded", "for=192.0.2.1"}, {"Via", "1.1 x"}, {"X-Real-IP", "192.0.2.1"},
		{"X-Forwarded-Host", "collector.example"}, {"CF-Connecting-IP", "192.0.2.1"},
	} {
		f("here by a proxy that adds "+header[0], func(a *asked) { a.header = header }, here, 401, 403)
	}
	f("here by a proxy that speaks HTTP/1.0", func(a *asked) { a.minor = 0 }, here, 401, 403)
	f("there without keys", func(*asked) {}, there, 401, 403)
	f("there with a host of here", func(a *asked) { a.host = "localhost" }, there, 401, 403)
	f("there with keys", as("coffee"), there, 200, 403, "coffee")
	f("there with the other keys", as("tea"), there, 200, 403, "tea")
	f("there with mixed keys", func(a *asked) { a.key, a.secret = "tea-key", "coffee-secret" }, there, 401, 403)
	f("there with keys, asking for the other app", func(a *asked) { as("coffee")(a); a.url = "/?app=tea" }, there, 404, 403)

	// Behind a proxy that cannot be seen, which the operator has said.
	h, operator = open(access{behindProxy: true})
	f("here, behind a proxy", func(*asked) {}, here, 401, 403)
	f("here, behind a proxy, with keys", as("coffee"), here, 200, 403, "coffee")
}

// TestMetricsBehindAProxy: whoever owns the data folder has the counts where no
// request from this machine can be trusted.
func TestMetricsBehindAProxy(t *testing.T) {
	folder, err := collector.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	s, err := duckdb.Open(t.Context(), folder.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c, err := collector.New(t.Context(), collector.Config{Folder: folder, Store: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	stop, err := listenToCommands(folder, c)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(folder.Path(), "admin.sock"))
	}}}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://collector/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(b), "blindai_collector_commits_failed_total 0") {
		t.Errorf("got %d, %v and %d bytes without the counts", res.StatusCode, err, len(b))
	}
}
