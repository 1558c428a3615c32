package conformance

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/blindai-go/blindai/telemetry/plan"
)

//go:embed browser/page.html
var pageHTML []byte

// sdkFile is what a page loads, as the SDK's package brings it.
const sdkFile = "node_modules/@amplitude/analytics-browser/lib/scripts/amplitude-min.js"

// startBrowser starts Chromium, which can reach nothing but loopback.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing, and the browser SDK cannot be tested without a browser: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(alloc)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser, so that its folder can go
		cancel()
		stop()
	})
	return ctx
}

// servePage serves the page and the SDK, at an origin that is not the
// collector's.
func servePage(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(pageHTML)
	})
	mux.HandleFunc("GET /amplitude.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(nodeDir, sdkFile))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// options are those of the SDK; without any it is as Amplitude configures it.
type options map[string]any

// byFlush leaves it to the page when something is sent.
var byFlush = options{"flushIntervalMillis": 3_600_000}

// A visitor is a browser with cookies and storage of its own, in which one tab
// at a time has the page open.
type visitor struct {
	t         *testing.T
	server    *server
	page      string // its URL
	key, path string // that the page gives the SDK
	profile   context.Context
	tab       context.Context
	opened    int           // how often
	deaf      bool          // the SDK is told nothing of its requests, and tells 200
	codes     map[int64]int // what the SDK told of each event

	mu       sync.Mutex     // guards what follows
	requests map[string]int // that the page made, by host
	faults   []string
}

func newVisitor(t *testing.T, browser context.Context, page string, s *server) *visitor {
	t.Helper()
	v := &visitor{t: t, server: s, page: page, key: apiKey, path: "/2/httpapi", codes: map[int64]int{}, requests: map[string]int{}}
	var cancel context.CancelFunc
	v.profile, cancel = chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(v.profile); err != nil {
		t.Fatal(err)
	}
	return v
}

// open opens the page in a new tab, starts the SDK in it, and then runs a script.
// It is one step, so that the SDK's own events leave with those of the script.
func (v *visitor) open(o options, script string) {
	v.t.Helper()
	v.load()
	v.run(`start(%s).then(() => { %s })`, v.config(o), script)
}

// load opens the page in a new tab.
func (v *visitor) load() {
	v.t.Helper()
	var cancel context.CancelFunc
	v.tab, cancel = chromedp.NewContext(v.profile, chromedp.WithListener(v.hear))
	v.t.Cleanup(cancel)
	if err := chromedp.Do(v.tab); err != nil {
		v.t.Fatal(err)
	}
	call(v, network.Enable, network.EnableParams{})
	call(v, cdpruntime.Enable, cdp.Empty{})
	if err := chromedp.Do(v.tab, chromedp.Navigate(v.page)); err != nil {
		v.t.Fatal(err)
	}
	v.opened++
}

// config is the arguments of the page's function start.
func (v *visitor) config(o options) string {
	v.t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		v.t.Fatal(err)
	}
	return fmt.Sprintf("%q, %q, %s", v.key, "http://"+v.server.addr+v.path, b)
}

// hear gets what happens in the tab.
func (v *visitor) hear(event any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil {
			v.faults = append(v.faults, err.Error())
			return
		}
		v.requests[u.Host]++
	case *cdpruntime.EventExceptionThrown:
		v.faults = append(v.faults, e.ExceptionDetails.Text)
	}
}

func call[P, R any](v *visitor, command cdp.Command[P, R], params P) {
	v.t.Helper()
	if _, err := chromedp.Call(v.tab, command, params); err != nil {
		v.t.Fatal(err)
	}
}

// run evaluates a script in the page, and waits for it if it is a promise.
func (v *visitor) run(script string, args ...any) {
	v.t.Helper()
	if err := chromedp.Do(v.tab, chromedp.Evaluate[chromedp.Void](fmt.Sprintf(script, args...), chromedp.EvalAwaitPromise)); err != nil {
		v.t.Fatal(err)
	}
}

// settled waits until the SDK has nothing left to do.
func (v *visitor) settled() {
	v.t.Helper()
	await(v.t, "the SDK does not come to an end", func() bool { return eval[bool](v, `settled()`) })
	maps.Copy(v.codes, eval[map[int64]int](v, `told`))
}

// kept waits until the SDK keeps all events that are not delivered.
func (v *visitor) kept() {
	v.t.Helper()
	await(v.t, "the SDK does not keep what is not sent", func() bool { return eval[bool](v, `kept()`) })
}

func eval[T any](v *visitor, expression string) T {
	v.t.Helper()
	result, err := chromedp.Run(v.tab, chromedp.Evaluate[T](expression))
	if err != nil {
		v.t.Fatal(err)
	}
	return result
}

// asked returns how often the page has asked the collector for something,
// whether or not it was there.
func (v *visitor) asked() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.requests[v.server.addr]
}

// close closes the tab. A page that hinders it is a fault.
func (v *visitor) close() {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.tab, 5*time.Second)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		v.t.Error(err)
	}
}

// await waits until done.
func await(t *testing.T, otherwise string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}

// atOnce is how many browsers with a page are open at a time: most of what they
// do is waiting.
const atOnce = 8

// TestBrowser is TestGo for the browser SDK, in a page whose origin is not the
// collector's.
func TestBrowser(t *testing.T) {
	installNode(t)
	browser, page := startBrowser(t), servePage(t)
	// tracks opens the page, calls track with these arguments, and waits for what
	// becomes of the events.
	tracks := func(arguments string, o options) func(*visitor) {
		return func(v *visitor) {
			v.open(o, `track(`+arguments+`)`)
			if o["flushIntervalMillis"] == byFlush["flushIntervalMillis"] {
				v.kept()
				v.run(`amplitude.flush()`)
			}
			v.settled()
		}
	}
	cases := []struct {
		name    string
		events  int // the SDK's own included
		refused int // of them, by the plan or for the key
		stored  int
		lost    int // given up by the SDK, though the collector would take them

		requests   int // exactly: a storm would show
		preflights int
		run        func(*visitor)
	}{
		{"the collector is well; by the interval", 12, 0, 12, 0, 1, 1, tracks(`0, 10`, nil)},
		{"the collector is well; by flush", 302, 0, 302, 0, 11, 1, tracks(`0, 300`, byFlush)},
		{
			"the collector is well; by beacon", 12, 0, 12, 0, 1, 0,
			func(v *visitor) { v.beacon(`0, 10`) },
		},
		{
			"bodies are compressed, if `enableRequestBodyCompression` is set", 12, 0, 12, 0, 1, 1,
			func(v *visitor) {
				tracks(`0, 10`, options{"enableRequestBodyCompression": true})(v)
				if n := v.server.compressions(); n != 1 {
					v.t.Errorf("%d bodies were compressed, want 1", n)
				}
			},
		},
		{
			"with groups and user properties, of which the plan declares one", 12, 0, 12, 0, 1, 1,
			func(v *visitor) {
				v.open(nil, `
					amplitude.setGroup("company", ["one", "two"]);
					amplitude.identify(new amplitude.Identify().set("tier", "gold").set("name", "someone").setOnce("first", 1));
					track(0, 10)`)
				v.settled()
				tier := column(v.t, "tier", testPlan().SessionColumns())
				for _, r := range v.server.records() {
					if got := r.Session[tier]; r.Event == 0 && (!got.Set || tiers[got.Int] != "gold") {
						v.t.Errorf("the property is not stored with an event: %v", got)
					}
				}
			},
		},
		{
			"two of ten events are refused: one undeclared, one with a text for a number; by the interval", 12, 2, 10, 0, 2, 1,
			tracks(`0, 10, { refused: true }`, nil),
		},
		{"two of ten events are refused; by flush", 12, 2, 0, 10, 1, 1, tracks(`0, 10, { refused: true }`, byFlush)},
		{
			"two of ten events are refused; by beacon", 12, 2, 0, 10, 1, 0,
			func(v *visitor) { v.beacon(`0, 10, { refused: true }`) },
		},
		{
			"the API key is wrong", 12, 12, 0, 0, 1, 1,
			func(v *visitor) {
				v.key = "of-another-app"
				tracks(`0, 10`, nil)(v)
			},
		},
		{
			"the path is wrong", 12, 12, 0, 0, 1, 1,
			func(v *visitor) {
				v.path += "/v3"
				tracks(`0, 10`, nil)(v)
			},
		},
		{
			// The SDK writes all that is unsent into the browser's storage at
			// each event, so that these take their time.
			"a batch of 1.2 MB, more than a request may hold; by the interval", 29, 0, 29, 0, 3, 1,
			tracks(`0, 27, { padding: 45_000 }`, options{"flushIntervalMillis": 3000}),
		},
		{"a batch of 1.2 MB; by flush", 29, 0, 0, 29, 1, 1, tracks(`0, 27, { padding: 45_000 }`, byFlush)},
		{
			"the store fails three times (503); by the interval", 12, 0, 12, 0, 4, 1,
			func(v *visitor) {
				v.server.failures.Store(3)
				tracks(`0, 10`, nil)(v)
			},
		},
		{
			"the store fails for more than 7 seconds (503); by the interval", 12, 0, 0, 12, 5, 1,
			func(v *visitor) {
				v.server.failures.Store(1000)
				tracks(`0, 10`, nil)(v)
			},
		},
		{
			"the store fails (503); by flush", 12, 0, 0, 12, 1, 1,
			func(v *visitor) {
				v.server.failures.Store(3)
				tracks(`0, 10`, byFlush)(v)
			},
		},
		{
			"the store fails (503); by beacon", 12, 0, 0, 12, 1, 0,
			func(v *visitor) {
				v.server.failures.Store(3)
				v.beacon(`0, 10`)
			},
		},
		{
			"the connection is cut after the events were stored", 32, 0, 32, 0, 4, 1,
			func(v *visitor) { v.batches(func() { v.server.cut.Store(&cut{stored: true}) }, nil) },
		},
		{
			"the connection is cut before the events were seen", 32, 0, 32, 0, 4, 1,
			func(v *visitor) { v.batches(func() { v.server.cut.Store(&cut{}) }, nil) },
		},
		{
			"the connection is cut before the events were seen, and the next one after they were stored", 32, 0, 32, 0, 5, 1,
			func(v *visitor) { v.batches(func() { v.server.cut.Store(&cut{next: &cut{stored: true}}) }, nil) },
		},
		{
			"the collector is restarted; nothing is sent meanwhile", 32, 0, 32, 0, 3, 1,
			func(v *visitor) { v.batches(func() { v.server.stop(); v.server.start() }, nil) },
		},
		{
			"the collector is restarted; the SDK sends meanwhile and is refused", 32, 0, 32, 0, 3, 1,
			func(v *visitor) {
				v.batches(v.server.stop, func(asked int) {
					await(v.t, "the SDK does not send", func() bool { return v.asked() > asked })
					v.server.start()
				})
			},
		},
		{
			"the collector is away for more than 7 seconds", 32, 0, 22, 10, 2, 1,
			func(v *visitor) {
				v.batches(v.server.stop, func(int) {
					v.settled()
					v.server.start()
				})
			},
		},
		{
			"the page is closed before anything is sent, and opened again", 14, 0, 14, 0, 1, 1,
			func(v *visitor) {
				v.open(byFlush, `track(0, 10)`)
				v.kept()
				v.close()
				v.open(nil, `track(10, 11)`)
				v.settled()
			},
		},
		{
			"the page is closed while it waits for the answer, and opened again", 14, 0, 14, 0, 3, 1,
			func(v *visitor) {
				closed := make(chan struct{})
				v.server.cut.Store(&cut{stored: true, wait: closed})
				v.open(nil, `track(0, 10)`)
				await(v.t, "the SDK does not send", func() bool { return v.server.answered(0) == 1 })
				v.close()
				close(closed)
				v.open(nil, `track(10, 11)`)
				v.settled()
			},
		},
		{
			"the page is closed and sends what is left by beacon, as Amplitude advises", 12, 0, 12, 0, 1, 0,
			func(v *visitor) {
				v.deaf = true
				v.open(byFlush, `
					addEventListener("pagehide", () => { amplitude.setTransport("beacon"); amplitude.flush(); });
					track(0, 10)`)
				v.kept()
				v.close()
				await(v.t, "no beacon comes", func() bool { return v.server.answered(http.StatusOK) > 0 })
			},
		},
		{
			"the browser is offline for a while", 12, 0, 12, 0, 2, 1,
			func(v *visitor) {
				tracks(`0, 1`, nil)(v)
				v.offline(true)
				v.run(`track(1, 10)`)
				v.kept()
				v.offline(false)
				v.settled()
			},
		},
		{
			"ten events are tracked at once, before the SDK starts", 12, 0, 12, 0, 1, 1,
			func(v *visitor) {
				v.load()
				v.run(`start(%s); track(0, 10)`, v.config(nil))
				v.settled()
			},
		},
		{
			// Without flush some of them are lost: as many as the SDK takes in
			// until it has something to send with.
			"ten events are tracked and flushed while the SDK starts, before `init` is done", 12, 0, 2, 10, 1, 1,
			func(v *visitor) {
				v.load()
				v.run(`start(%s, () => { track(0, 10); amplitude.flush(); })`, v.config(nil))
				await(v.t, "the SDK's own events do not come", func() bool { return v.server.answered(http.StatusOK) > 0 })
				v.settled()
			},
		},
		{
			"Amplitude's remote configuration is not switched off and cannot be reached", 12, 0, 12, 0, 1, 1,
			func(v *visitor) {
				const host = "sr-client-cfg.amplitude.com"
				tracks(`0, 10`, options{"remoteConfig": nil})(v)
				v.mu.Lock()
				defer v.mu.Unlock()
				if n := v.requests[host]; n < 1 || n > 6 {
					v.t.Errorf("the SDK has asked for its configuration %d times, want 1 to 6", n)
				}
				delete(v.requests, host)
			},
		},
	}
	rows := make([]string, len(cases))
	// The group ends when all its cases have. They are not parallel tests, of
	// which only as many run at a time as there are processors.
	t.Run("case", func(t *testing.T) {
		var running sync.WaitGroup
		defer running.Wait()
		slots := make(chan struct{}, atOnce)
		for i, test := range cases {
			running.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				t.Run(test.name, func(t *testing.T) {
					s := newServer(t)
					v := newVisitor(t, browser, page, s)
					test.run(v)
					v.close()

					v.check()
					stored := len(s.records())
					if stored != test.stored {
						t.Errorf("%d events are stored, want %d", stored, test.stored)
					}
					lost := test.events - test.refused - stored
					if lost != test.lost {
						t.Errorf("the SDK has lost %d events, want %d; it tells of them %v", lost, test.lost, v.codes)
					}
					if n := s.requested(); n != test.requests {
						t.Errorf("%d requests, want %d", n, test.requests)
					}
					if n := s.preflighted(); n != test.preflights {
						t.Errorf("%d preflights, want %d", n, test.preflights)
					}
					rows[i] = fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d |\n",
						test.name, test.events, test.refused, stored, lost, s.requested(), s.preflighted())
				})
			})
		}
	})
	if t.Failed() || slices.Contains(rows, "") {
		return // a case has failed, or only some were asked for with -run
	}
	checkTable(t, "analytics-browser", "| what happens | events | refused | stored, each once | lost by the SDK | requests | preflights |\n"+
		"|---|---|---|---|---|---|---|\n"+strings.Join(rows, ""))
}

// check holds what is stored against what the page has heard and the plan
// declares. The tab is closed.
func (v *visitor) check() {
	v.t.Helper()
	stored := v.server.stored()
	for number, times := range stored {
		if times != 1 {
			v.t.Errorf("event %d is stored %d times", number, times)
		}
	}
	for number, code := range v.codes {
		if code == 200 && stored[number] == 0 && !v.deaf {
			v.t.Errorf("event %d was acknowledged and is not stored", number)
		}
	}
	p := testPlan()
	session, counter := column(v.t, "session_id", p.EventColumns()), column(v.t, "[Amplitude] Page Counter", p.EventColumns())
	own := map[string]int{}
	devices := map[plan.ID]bool{}
	for _, r := range v.server.records() {
		devices[r.ID] = true
		switch name := p.Events[r.Event].Name; name {
		case "session_start":
			own[name]++
			if got := r.Own[session]; !got.Set || got.Int > time.Now().UnixMilli() {
				v.t.Errorf("the session began at %v", got)
			}
		case pageViewed:
			own[name]++
			if got := r.Own[counter]; !got.Set || got.Int < 1 || got.Int > int64(v.opened) {
				v.t.Errorf("the page was viewed %v times, want 1 to %d", got, v.opened)
			}
		}
	}
	if own["session_start"] > 1 || own[pageViewed] > v.opened {
		v.t.Errorf("the SDK's own events: %v, of one session in which the page was opened %d times", own, v.opened)
	}
	if len(devices) > 1 {
		v.t.Errorf("one browser is counted as %d", len(devices))
	}

	v.mu.Lock()
	defer v.mu.Unlock()
	for host := range v.requests {
		if host != v.server.addr && "http://"+host != v.page {
			v.t.Errorf("the page has asked for something of %s", host)
		}
	}
	for _, fault := range v.faults {
		v.t.Error(fault)
	}
}

// beacon opens the page with an SDK that sends by beacon, which is told nothing
// of what comes of it, and calls track.
func (v *visitor) beacon(arguments string) {
	v.deaf = true
	v.open(options{"transport": "beacon"}, `track(`+arguments+`)`)
	v.settled()
	await(v.t, "no beacon comes", func() bool { return v.server.requested() > 0 })
}

// batches sends three batches and calls before ahead of the second one, and
// after, if there is one, behind it, with how often the page had asked the
// collector for something until then.
func (v *visitor) batches(before func(), after func(asked int)) {
	v.open(nil, `track(0, 10)`)
	v.settled()
	before()
	asked := v.asked()
	v.run(`track(10, 20)`)
	if after != nil {
		after(asked)
	}
	v.settled()
	v.run(`track(20, 30)`)
	v.settled()
}

// offline switches what the browser tells the page of its network.
func (v *visitor) offline(is bool) {
	v.t.Helper()
	call(v, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: is, DownloadThroughput: -1, UploadThroughput: -1})
}
