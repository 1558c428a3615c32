package console

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A tab is a page of a real browser that remembers what went wrong in it.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	faults   []string // complaints of the console, refused loads, foreign requests
	expected []string // parts of faults that a test brings about itself
}

// browse opens a tab. Whatever is logged as a warning or an error, and every
// request to a host other than base, fails the test at its end.
func browse(t *testing.T, base string) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing, and the console cannot be tested without a browser: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("force-color-profile", "srgb"),
	)
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	b := &tab{t: t}
	home, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithListener(func(ev any) {
		switch ev := ev.(type) {
		case *cdpruntime.EventConsoleAPICalled:
			if ev.Type == "error" || ev.Type == "warning" {
				var words []string
				for _, a := range ev.Args {
					words = append(words, string(a.Value)+a.Description)
				}
				b.fault("console: " + strings.Join(words, " "))
			}
		case *cdpruntime.EventExceptionThrown:
			b.fault("exception: " + ev.ExceptionDetails.Text)
		case *log.EventEntryAdded: // refused by the content policy, among others
			if ev.Entry.Level == "error" || ev.Entry.Level == "warning" {
				b.fault("log: " + ev.Entry.Text + " " + ev.Entry.URL)
			}
		case *network.EventRequestWillBeSent:
			u, err := url.Parse(ev.Request.URL)
			if err != nil || u.Scheme != "data" && u.Scheme != "about" && u.Host != home.Host {
				b.fault("request to " + ev.Request.URL)
			}
		}
	}))
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil { // starts the browser
		t.Fatal(err)
	}
	call(b, log.Enable, cdp.Empty{})
	call(b, network.Enable, network.EnableParams{})
	call(b, cdpruntime.Enable, cdp.Empty{})
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser, so that its folder can go
		cancel()
		stop()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, f := range b.faults {
			if !slices.ContainsFunc(b.expected, func(s string) bool { return strings.Contains(f, s) }) {
				t.Error(f)
			}
		}
	})
	return b
}

func (b *tab) fault(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, s)
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// size sets the window. A scheme is "light" or "dark".
func (b *tab) size(width, height int64, scheme string) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// wait waits until a JavaScript expression is true.
func (b *tab) wait(within time.Duration, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && ok {
			return
		}
		if ctx.Err() != nil {
			b.t.Fatalf("not within %v: %s (%v)", within, expression, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// shot writes a picture of the whole page, if the environment asks for one.
func (b *tab) shot(env string) {
	b.t.Helper()
	path := os.Getenv(env)
	if path == "" {
		return
	}
	b.do(chromedp.Sleep(600 * time.Millisecond)) // let the charts finish
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// drawn is true once every chart shows at least one coloured shape.
const drawn = `[...document.querySelectorAll('figure[data-chart]')].length >= 3 &&
	[...document.querySelectorAll('figure[data-chart] .plot')].every(p => p.querySelectorAll('svg path[fill^="#"], svg path[fill^="rgb"]').length > 1)`

func noOverflow(b *tab) {
	b.t.Helper()
	if got := eval[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); got > 0 {
		wide := eval[[]string](b, `[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + '.' + e.className + '#' + e.id).slice(0, 8)`)
		b.t.Errorf("the page is %d px wider than the window: %v", got, wide)
	}
}

// launch serves a console over loopback for a browser.
func launch(t *testing.T, m *memory, plans ...*plan.Plan) string {
	t.Helper()
	h, err := New(Config{Store: m, Apps: func() []*plan.Plan { return plans }, Erased: m.erasures})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func TestBrowser(t *testing.T) {
	p := blindai(t)
	m := newMemory(t, p)
	now := time.Now().UTC()
	season(t, m, p, now)
	base := launch(t, m, p)
	b := browse(t, base)

	b.size(1440, 900, "light")
	b.do(chromedp.Navigate(base + "/"))
	b.wait(10*time.Second, drawn)
	noOverflow(b)
	b.shot("CONSOLE_SCREENSHOT")

	t.Run("a new event appears without a reload", func(t *testing.T) {
		b.do(chromedp.Evaluate[chromedp.Void](`window.sameDocument = true; window.first = document.querySelector('#live tbody tr').id`))
		r := newRun(t, p, 60_000, "0.9.0", "linux/arm64", "HW", time.Now())
		if err := m.Append(t.Context(), p.App, []store.Record{r.event(0, time.Now(), 0)}); err != nil {
			t.Fatal(err)
		}
		b.wait(4*time.Second, `window.sameDocument && document.querySelector('#live tbody tr').textContent.includes('0.9.0')`)
		if old := eval[bool](b, `document.querySelectorAll('#live tbody tr')[1].id === window.first`); !old {
			t.Error("the row that was the newest is not the second")
		}
		if n := eval[int](b, `document.querySelector('#live tbody tr').getAnimations().length`); n == 0 {
			t.Error("the new row is not lit up")
		}
		if n := eval[int](b, `document.querySelectorAll('#live tbody tr')[1].getAnimations().length`); n != 0 {
			t.Error("an old row is lit up")
		}
	})

	t.Run("pause stops the table", func(t *testing.T) {
		b.do(chromedp.Click("#pause"))
		b.wait(time.Second, `document.querySelector('#pause').getAttribute('aria-pressed') === 'true'`)
		r := newRun(t, p, 60_001, "0.9.1", "linux/arm64", "HW", time.Now())
		if err := m.Append(t.Context(), p.App, []store.Record{r.event(0, time.Now(), 0)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2500 * time.Millisecond) // longer than a poll
		if eval[bool](b, `document.querySelector('#live').textContent.includes('0.9.1')`) {
			t.Error("a paused table has moved")
		}
		b.do(chromedp.Click("#pause"))
		b.wait(4*time.Second, `document.querySelector('#live').textContent.includes('0.9.1')`)
	})

	t.Run("the range changes the URL and the charts", func(t *testing.T) {
		steps := `document.querySelectorAll('#main tbody tr').length`
		if n := eval[int](b, steps); n != 30 {
			t.Errorf("30 days have %d steps", n)
		}
		before := eval[string](b, `document.querySelector('#main svg').innerHTML`)
		b.do(chromedp.Click(`.ranges a[href*="range=7d"]`))
		b.wait(5*time.Second, `location.search.includes('range=7d') && `+steps+` === 7`)
		b.wait(5*time.Second, drawn)
		if eval[string](b, `document.querySelector('#main svg').innerHTML`) == before {
			t.Error("the chart has not changed")
		}
		if !eval[bool](b, `window.sameDocument`) {
			t.Error("the page was loaded anew")
		}
		b.do(chromedp.Click(`a.tile[href*="measure=sessions"]`))
		b.wait(5*time.Second, `location.search.includes('measure=sessions') && document.querySelector('#main-title').textContent === 'Sessions per day'`)
		b.do(chromedp.NavigateBack())
		b.wait(5*time.Second, `!location.search.includes('measure=sessions') && document.querySelector('#main-title').textContent === 'Events per day'`)
		b.do(chromedp.NavigateBack())
		b.wait(5*time.Second, `!location.search.includes('7d') && `+steps+` === 30`)
		b.wait(5*time.Second, drawn)
	})

	t.Run("dates are chosen with the keyboard", func(t *testing.T) {
		b.do(chromedp.Focus(".menu summary"), chromedp.KeyEvent("\r"))
		b.wait(time.Second, `document.querySelector('.menu').open`)
		day := now.AddDate(0, 0, -3).Format(dateForm)
		b.do(chromedp.SetValue(`input[name="from"]`, day), chromedp.SetValue(`input[name="to"]`, day),
			chromedp.Focus(`.panel button`), chromedp.KeyEvent("\r"))
		b.wait(5*time.Second, `location.search.includes('from=`+day+`') && document.querySelectorAll('#main tbody tr').length === 24`)
		b.wait(2*time.Second, `!document.querySelector('.menu').open`)
	})

	t.Run("a tooltip is drawn within the policy", func(t *testing.T) {
		b.do(chromedp.Navigate(base + "/?range=7d"))
		b.wait(5*time.Second, drawn)
		x := eval[float64](b, `document.querySelector('#main .plot').getBoundingClientRect().x + 500`)
		y := eval[float64](b, `document.querySelector('#main .plot').getBoundingClientRect().y + 120`)
		b.do(chromedp.MouseEvent("mouseMoved", x, y))
		b.wait(3*time.Second, `document.querySelector('#main .tip')?.textContent.includes('all events')`)
		b.shot("CONSOLE_SCREENSHOT_TIP")
	})

	// In the table and in the charts, and though the table is paused. A busy machine may
	// take its time; that the page asks oftener than once a second is seen in the
	// shortest of the times between.
	t.Run("what is erased leaves the screen", func(t *testing.T) {
		r := newRun(t, p, 60_002, "0.9.2", "linux/arm64", "HW", time.Now())
		if err := m.Append(t.Context(), p.App, []store.Record{r.event(0, time.Now(), 0)}); err != nil {
			t.Fatal(err)
		}
		b.do(chromedp.Navigate(base + "/?range=24h&by=app_version"))
		b.wait(4*time.Second, `document.querySelector('#live').textContent.includes('0.9.2') && document.querySelector('#report').textContent.includes('0.9.2')`)
		b.do(chromedp.Click("#pause"))
		b.wait(time.Second, `document.querySelector('#pause').getAttribute('aria-pressed') === 'true'`)
		before := len(m.seen())
		for deadline := time.Now().Add(30 * time.Second); len(m.seen()) < before+5; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a paused page does not ask what was erased")
			}
		}
		looks, shortest := m.seen()[before:], time.Hour
		for i, at := range looks[1:] {
			shortest = min(shortest, at.Sub(looks[i]))
		}
		if shortest >= time.Second {
			t.Errorf("the page asks every %v what was erased, want within a second", shortest)
		}
		m.erase(p.App, r.id)
		b.wait(4*time.Second, `!document.querySelector('#page').textContent.includes('0.9.2')`)
		b.wait(4*time.Second, drawn)
		if paused := eval[bool](b, `document.querySelector('#pause').getAttribute('aria-pressed') === 'true'`); !paused {
			t.Error("the table is not paused any more")
		}
	})

	for _, scheme := range []string{"light", "dark"} {
		t.Run("phone and desk, "+scheme, func(t *testing.T) {
			b.size(1440, 900, scheme)
			b.do(chromedp.Navigate(base + "/?range=90d"))
			b.wait(10*time.Second, drawn)
			noOverflow(b)
			b.shot("CONSOLE_SCREENSHOT_DESK_" + strings.ToUpper(scheme))
			dark := eval[string](b, `getComputedStyle(document.body).backgroundColor`) == "rgb(13, 15, 19)"
			if dark != (scheme == "dark") {
				t.Errorf("the page does not follow the scheme %s", scheme)
			}
			for _, width := range []int64{320, 390, 768} {
				b.size(width, 844, scheme)
				b.wait(5*time.Second, drawn)
				noOverflow(b)
				if width == 390 {
					b.shot("CONSOLE_SCREENSHOT_PHONE_" + strings.ToUpper(scheme))
				}
			}
		})
	}
}

func TestBrowserEmpty(t *testing.T) {
	p := blindai(t)
	m := newMemory(t, p)
	base := launch(t, m, p)
	b := browse(t, base)
	b.size(1440, 900, "light")
	b.do(chromedp.Navigate(base + "/"))
	b.wait(5*time.Second, `document.body.textContent.includes('`+base+`/2/httpapi')`)
	noOverflow(b)
	b.shot("CONSOLE_SCREENSHOT_EMPTY")
	b.size(390, 844, "dark")
	noOverflow(b)
	b.shot("CONSOLE_SCREENSHOT_EMPTY_PHONE")

	// The first event turns the page into a report by itself.
	r := newRun(t, p, 1, "0.8.0", "linux/amd64", "SW", time.Now())
	if err := m.Append(t.Context(), p.App, []store.Record{r.event(0, time.Now(), 0)}); err != nil {
		t.Fatal(err)
	}
	b.wait(6*time.Second, drawn)
	b.wait(time.Second, `document.querySelectorAll('#live tbody tr').length === 1`)
}

func TestBrowserProblems(t *testing.T) {
	p := blindai(t)
	m := newMemory(t, p)
	season(t, m, p, time.Now())
	h, err := New(Config{Store: m, Apps: func() []*plan.Plan { return []*plan.Plan{p} }})
	if err != nil {
		t.Fatal(err)
	}
	var locked atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if locked.Load() {
			http.Error(w, "Who are you?", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	base := server.URL
	b := browse(t, base)
	b.expected = []string{"status of 503", "status of 403"} // the browser logs them by itself
	b.size(1440, 900, "light")
	b.do(chromedp.Navigate(base + "/"))
	b.wait(10*time.Second, drawn)

	// The store fails for a while: the table says so, keeps its rows, and
	// comes back.
	m.mu.Lock()
	m.fail = errors.New("disk on fire")
	m.mu.Unlock()
	b.wait(5*time.Second, `document.querySelector('#live-state').textContent === 'Waiting for the store' && document.querySelectorAll('#live tbody tr').length === 20`)
	m.mu.Lock()
	m.fail = nil
	m.mu.Unlock()
	b.wait(5*time.Second, `document.querySelector('#live-state').textContent === 'Live'`)

	// Who may no longer see the console gets to see why, not a stale page.
	locked.Store(true)
	b.wait(5*time.Second, `document.body.textContent.includes('Who are you?')`)
}
