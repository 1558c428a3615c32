package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// noon is when these tests take place: a Monday.
var noon = time.Date(2026, 11, 23, 12, 30, 0, 0, time.UTC)

func at(days, hours int) time.Time {
	return noon.AddDate(0, 0, -days).Add(-time.Duration(hours) * time.Hour)
}

// open makes a console over a store at noon.
func open(t *testing.T, s store.Store, plans ...*plan.Plan) http.Handler {
	t.Helper()
	h, err := New(Config{Store: s, Apps: func() []*plan.Plan { return plans }, now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t *testing.T, h http.Handler, url string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", url, nil))
	return w
}

var (
	invisible = regexp.MustCompile(`(?s)<(head|script|style|svg|noscript)\b.*?</(head|script|style|svg|noscript)>`)
	tags      = regexp.MustCompile(`<[^>]*>`)
	spaces    = regexp.MustCompile(`\s+`)
)

// text is what a reader sees of a page, in one line.
func text(page string) string {
	page = tags.ReplaceAllString(invisible.ReplaceAllString(page, " "), " ")
	return strings.TrimSpace(spaces.ReplaceAllString(html.UnescapeString(page), " "))
}

// see fails unless the page at url answers 200 and shows each of the texts.
func see(t *testing.T, h http.Handler, url string, want ...string) string {
	t.Helper()
	w := get(t, h, url)
	if w.Code != http.StatusOK {
		t.Fatalf("%s answers %d: %s", url, w.Code, text(w.Body.String()))
	}
	seen := text(w.Body.String())
	for _, s := range want {
		if !strings.Contains(seen, s) {
			t.Errorf("%s does not show %q:\n%s", url, s, seen)
		}
	}
	return seen
}

// fleet is a store with nine events of four sessions, two of them in the last
// seven days and the others in the seven before.
func fleet(t *testing.T) (*memory, *plan.Plan) {
	t.Helper()
	p := blindai(t)
	m := newMemory(t, p)
	a := newRun(t, p, 1, "0.8.0", "linux/amd64", "HW", at(2, 1))
	b := newRun(t, p, 2, "0.7.1", "darwin/arm64", "SW", at(0, 5))
	c := newRun(t, p, 3, "0.7.1", "linux/amd64", "SW", at(9, 0))
	d := newRun(t, p, 4, "0.7.0", "linux/amd64", "SW", at(8, 0))
	if err := m.Append(t.Context(), p.App, []store.Record{
		c.event(0, at(9, 0), 0), c.event(1, at(9, 0), 1000),
		d.event(0, at(8, 0), 0),
		a.event(0, at(2, 1), 0), a.event(1, at(2, 0), 3_400_000), a.event(2, at(2, 0), 0),
		b.event(0, at(0, 5), 0), b.event(2, at(0, 2), 0), b.event(2, at(0, 1), 0),
	}); err != nil {
		t.Fatal(err)
	}
	return m, p
}

func TestHeadlines(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	see(t, h, "/?range=7d",
		"Events 6 ▲ +100% vs. the 7 days before",
		"Sessions 2 ±0% vs. the 7 days before",
		"Latest version 0.8.0 in 50.0% of sessions · before: 0.7.1",
		"In hardware mode 50.0% ▲ +50.0 points vs. the 7 days before",
	)
	see(t, h, "/?from=2026-11-23&to=2026-11-23",
		"Events 3 none in the day before",
		"In hardware mode 0% 0 of 1 sessions",
	)
	see(t, h, "/?from=2026-11-14&to=2026-11-15", "Events 3 none in the 2 days before", "Latest version 0.7.1")
}

// A range that is still running is held against the part of the one before that
// had passed by the same time, not against all of it.
func TestHeadlinesCompareLikeWithLike(t *testing.T) {
	p := blindai(t)
	m := newMemory(t, p)
	r := newRun(t, p, 1, "0.8.0", "linux/amd64", "HW", at(30, 0))
	if err := m.Append(t.Context(), p.App, []store.Record{
		r.event(0, at(1, 1), 0),  // yesterday before this time of day
		r.event(2, at(1, -3), 0), // yesterday after it
		r.event(2, at(0, 1), 0),  // today
	}); err != nil {
		t.Fatal(err)
	}
	see(t, open(t, m, p), "/?from=2026-11-23&to=2026-11-23", "Events 1 ±0% vs. the day before")
}

func TestChartHasATable(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	seen := see(t, h, "/?range=7d",
		"Events per day",
		"started 2 send_model 1 run_model 3",
		"UTC started send_model run_model",
		"Sat 21 Nov 2026 1 1 1",
		"Mon 23 Nov 2026 so far 1 0 2",
	)
	if strings.Contains(seen, "Tue 24 Nov") {
		t.Error("the chart shows a day to come")
	}
	see(t, h, "/?range=7d&measure=sessions&by=sgx_mode",
		"Sessions per day", "Software 1 Hardware 1", "Sat 21 Nov 2026 0 1", "Mon 23 Nov 2026 so far 1 0")
	see(t, h, "/?range=7d&by=app_version", "UTC 0.7.1 0.8.0", "Sat 21 Nov 2026 0 3")
}

func TestSteps(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	for _, tt := range []struct {
		query, title string
		first, last  string
		rows         int
	}{
		{"range=24h", "Events per hour", "22 Nov 13:00", "23 Nov 12:00", 24},
		{"range=7d", "Events per day", "Tue 17 Nov 2026", "Mon 23 Nov 2026", 7},
		{"range=30d", "Events per day", "Sun 25 Oct 2026", "Mon 23 Nov 2026", 30},
		{"range=90d", "Events per day", "Wed 26 Aug 2026", "Mon 23 Nov 2026", 90},
		{"from=2026-11-21&to=2026-11-22", "Events per hour", "21 Nov 00:00", "22 Nov 23:00", 48},
		{"from=2026-11-20&to=2026-11-22", "Events per day", "Fri 20 Nov 2026", "Sun 22 Nov 2026", 3},
		{"from=2025-11-23&to=2026-11-23", "Events per day", "Sun 23 Nov 2025", "Mon 23 Nov 2026", 366},
		{"from=2025-11-01&to=2026-11-23", "Events per week", "week of 1 Nov 2025", "week of 21 Nov 2026", 56},
	} {
		t.Run(tt.query, func(t *testing.T) {
			w := get(t, h, "/?"+tt.query)
			see(t, h, "/?"+tt.query, tt.title, tt.first, tt.last)
			_, rest, _ := strings.Cut(w.Body.String(), `id="main"`)
			table, _, _ := strings.Cut(rest, "</table>")
			if rows := strings.Count(table, "<tr") - 1; rows != tt.rows {
				t.Errorf("the chart has %d steps, want %d", rows, tt.rows)
			}
		})
	}
}

func TestCards(t *testing.T) {
	m, p := fleet(t)
	see(t, open(t, m, p), "/?range=30d",
		"Software 3 75.0% Hardware 1 25.0%",
		"0.8.0 1 25.0% 0.7.1 2 50.0% 0.7.0 1 25.0%",
		"linux/amd64 3 75.0% darwin/arm64 1 25.0%",
		"A session is everything that arrived under one user_id: a random id, made when the server starts.",
	)
}

// The page is made from the plan: a program that is not BlindAI gets the same
// page with its own words, and no words of BlindAI's.
func TestOtherPlans(t *testing.T) {
	p := checked(t, &plan.Plan{
		App: "printer", Version: 3, Identity: "device_id",
		Fields: []plan.Field{
			{Name: "device_id", In: plan.Top, Kind: plan.RandomID, Session: true},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp},
			{Name: "paper_size", In: plan.UserProperties, Kind: plan.Enum, Values: []string{"a4", "letter"}, Session: true},
			{Name: "color", In: plan.EventProperties, Kind: plan.Flag},
		},
		Events: []plan.Event{{Name: "page printed"}},
	})
	m := newMemory(t, p)
	var id plan.ID
	id[0] = 0xab
	rec := store.Record{ID: id, Time: at(0, 1).UnixMilli(), Received: at(0, 1).UnixMilli(), Session: []plan.Value{{}}, Own: []plan.Value{{Set: true, Int: 1}}}
	if err := m.Append(t.Context(), p.App, []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	h := open(t, m, p)
	seen := see(t, h, "/", "Paper size", "not given 1 100%", "Color", "ab000000 …", "yes", "page printed", "under one device_id")
	for _, s := range []string{"Latest version", "hardware", "sgx"} {
		if strings.Contains(seen, s) {
			t.Errorf("the page of a printer shows %q", s)
		}
	}
}

func TestOthersAreAddedUp(t *testing.T) {
	p := blindai(t)
	m := newMemory(t, p)
	n := 0
	for minor := range 12 {
		for range minor + 1 {
			n++
			r := newRun(t, p, n, fmt.Sprintf("0.%d.0", minor), "linux/amd64", "SW", at(1, 0))
			if err := m.Append(t.Context(), p.App, []store.Record{r.event(0, at(1, 0), 0)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The six largest have colours, two more have lines, the rest is one sum.
	see(t, open(t, m, p), "/?range=7d&by=app_version",
		"all others 21 0.6.0 7 0.7.0 8 0.8.0 9 0.9.0 10 0.10.0 11 0.11.0 12",
		"0.11.0 12 15.4% 0.10.0 11 14.1%", "0.4.0 5 6.4% all others 10 12.8%",
		"Latest version 0.11.0")
}

// The newest version matters most, however few have it.
func TestTheNewestVersionIsShown(t *testing.T) {
	p := blindai(t)
	m := newMemory(t, p)
	for i := range 21 {
		r := newRun(t, p, i, fmt.Sprintf("0.%d.0", i/2), "linux/amd64", "SW", at(1, 0))
		if err := m.Append(t.Context(), p.App, []store.Record{r.event(0, at(1, 0), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	see(t, open(t, m, p), "/?range=7d", "Latest version 0.10.0 in 4.8%", "0.10.0 1 4.8% 0.6.0 2 9.5%", "all others 6")
}

// A sum of one has a name.
func TestTheOneOtherIsNamed(t *testing.T) {
	p := blindai(t)
	m := newMemory(t, p)
	for i := range 14 {
		r := newRun(t, p, i, fmt.Sprintf("0.%d.0", min(i/2, 5)+i/13), "linux/amd64", "SW", at(1, 0))
		if err := m.Append(t.Context(), p.App, []store.Record{r.event(0, at(1, 0), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := see(t, open(t, m, p), "/?range=7d&by=app_version", "UTC 0.4.0 0.0.0 0.1.0 0.2.0 0.3.0 0.5.0 0.6.0")
	if strings.Contains(seen, "all others") {
		t.Error("one other is called all others")
	}
}

func TestLive(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	seen := see(t, h, "/console/live?app=blindai",
		"Time, UTC Event Session Version System Mode Uptime Model size",
		"11:30:00 1 h ago run_model",
		"21 Nov 12:30:00 2 d ago send_model", "0.8.0 linux/amd64 Hardware 1 h 3.4 MB",
	)
	if first, second := strings.Index(seen, "11:30:00"), strings.Index(seen, "10:30:00"); first > second {
		t.Error("the newest event is not on top")
	}

	// The fragment and the page show the same rows, and neither a whole id.
	whole := get(t, h, "/").Body.String()
	part := get(t, h, "/console/live?app=blindai").Body.String()
	if !strings.Contains(whole, strings.TrimSpace(part)) {
		t.Error("the part that is polled is not the part of the page")
	}
	for _, r := range m.records[p.App] {
		if strings.Contains(whole, r.ID.String()) {
			t.Error("the page holds the whole id of a session")
		}
		if !strings.Contains(seen, r.ID.String()[:8]+" …") {
			t.Error("the page does not show a session by its first digits")
		}
	}
}

// TestRefused shows what was turned away of the app that is looked at.
func TestRefused(t *testing.T) {
	m, p := fleet(t)
	h, err := New(Config{
		Store: m, Apps: func() []*plan.Plan { return []*plan.Plan{p} }, now: func() time.Time { return noon },
		Refused: func(app string) []Refused {
			if app != p.App {
				t.Errorf("asked for app %q", app)
			}
			return []Refused{{What: "event with a strange value", Field: "uptime", Count: 12345}, {What: "strange event", Count: 1}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	see(t, h, "/", "Turned away since the collector's start What Field Times event with a strange value uptime 12,345 strange event – 1")
	if strings.Contains(see(t, open(t, m, p), "/"), "Turned away") {
		t.Error("a table of nothing is shown")
	}
}

func TestLiveIsBounded(t *testing.T) {
	p := blindai(t)
	m := newMemory(t, p)
	season(t, m, p, noon)
	part := get(t, open(t, m, p), "/console/live?app=blindai").Body.String()
	if n := strings.Count(part, "<tr id="); n != liveRows {
		t.Errorf("the table has %d rows, want %d", n, liveRows)
	}
}

// However many fields and events a plan has, a page asks few questions.
func TestQuestionsAreBounded(t *testing.T) {
	p := blindai(t)
	for i := range plan.MaxFields - 8 {
		p.Fields = append(p.Fields, plan.Field{Name: fmt.Sprintf("f%d", i), In: plan.UserProperties, Kind: plan.Enum, Values: []string{"on", "off"}, Session: true})
	}
	for i := range 200 {
		p.Events = append(p.Events, plan.Event{Name: fmt.Sprintf("e%d", i)})
	}
	checked(t, p)
	m := newMemory(t, p)
	var id plan.ID
	id[3] = 7
	columns := len(p.SessionColumns())
	rec := store.Record{ID: id, Event: 100, Time: at(0, 1).UnixMilli(), Received: at(0, 1).UnixMilli(), Session: make([]plan.Value, columns), Own: make([]plan.Value, 2)}
	if err := m.Append(t.Context(), p.App, []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	see(t, open(t, m, p), "/")
	if m.asked > 15 {
		t.Errorf("the page asked %d questions", m.asked)
	}
}

func TestEmpty(t *testing.T) {
	p := blindai(t)
	see(t, open(t, newMemory(t)), "/", "No app yet", "blindai-collector app add NAME --plan plan.json")

	h := open(t, newMemory(t, p), p)
	seen := see(t, h, "http://collector.example.org:8080/", "Waiting for the first event of blindai",
		`blindai serve \ --telemetry-url http://collector.example.org:8080/2/httpapi \ --telemetry-api-key "$API_KEY"`)
	if strings.Contains(seen, "Latest events") || strings.Contains(seen, " 0 ") {
		t.Errorf("a page without data shows numbers: %s", seen)
	}
	see(t, h, "https://collector.example.org/", "https://collector.example.org/2/httpapi")

	other := &plan.Plan{App: "other", Identity: "user_id", Fields: p.Fields, Events: p.Events, Version: 1}
	seen = see(t, open(t, newMemory(t, other), other), "http://localhost/", "Send the first event", "http://localhost/2/httpapi")
	if strings.Contains(seen, "blindai serve") {
		t.Error("another app is told to start BlindAI")
	}
}

func TestEmptyDoesNotRepeatAStrangeHost(t *testing.T) {
	p := blindai(t)
	h := open(t, newMemory(t, p), p)
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "x;rm -rf $HOME"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if body := w.Body.String(); strings.Contains(body, "rm -rf") || !strings.Contains(body, "https://collector.example/2/httpapi") {
		t.Error("the page repeats a host that is none")
	}
}

func TestEmptyRangeOffersTheOneWithData(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	see(t, h, "/?from=2026-01-01&to=2026-01-31",
		"No events in 1–31 Jan 2026", "There are some from 14–23 Nov 2026", "Show 14–23 Nov 2026", "Latest events")
	link := regexp.MustCompile(`class="button" href="([^"]*)"`).FindStringSubmatch(get(t, h, "/?from=2026-01-01&to=2026-01-31").Body.String())
	if link == nil {
		t.Fatal("there is no link to the range with data")
	}
	see(t, h, html.UnescapeString(link[1]), "Events 9")
}

func TestBadParameters(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	const refused = "zq%3Cscript%3Ezq"
	for _, tt := range []struct {
		query string
		code  int
		says  string
	}{
		{"app=" + refused, 404, "The collector has no such app."},
		{"range=" + refused, 400, "The range must be 24h, 7d, 30d or 90d, or two dates as from and to."},
		{"measure=" + refused, 400, "The measure must be events or sessions."},
		{"by=" + refused, 400, "The app's plan has no such field to group by."},
		{"by=user_id", 400, "The app's plan has no such field to group by."},
		{"by=uptime", 400, "The app's plan has no such field to group by."},
		{"from=" + refused + "&to=2026-01-01", 400, "Dates are written as year, month and day, like 2026-01-31."},
		{"from=2026-02-30&to=2026-03-01", 400, "Dates are written as year, month and day, like 2026-01-31."},
		{"from=2026-01-01", 400, "A range of dates needs both its ends, from and to."},
		{"to=2026-01-01", 400, "A range of dates needs both its ends, from and to."},
		{"from=2026-02-01&to=2026-01-31", 400, "The range runs backwards: its first date must not be after its last."},
		{"from=2001-01-01&to=2001-01-02", 400, "Dates must be between the years 2010 and 2099."},
		{"from=2020-01-01&to=2101-01-01", 400, "Dates must be between the years 2010 and 2099."},
		{"from=2011-01-01&to=2026-01-01", 400, "The range must not be longer than ten years."},
	} {
		t.Run(tt.query, func(t *testing.T) {
			w := get(t, h, "/?"+tt.query)
			seen := text(w.Body.String())
			if w.Code != tt.code || !strings.Contains(seen, tt.says) {
				t.Errorf("answers %d, want %d and %q:\n%s", w.Code, tt.code, tt.says, seen)
			}
			if strings.Contains(w.Body.String(), "zq") {
				t.Error("the page repeats the refused value")
			}
			if !strings.Contains(seen, "Back to the first page") || !strings.Contains(w.Body.String(), "console.css") {
				t.Error("the message is not in the page's own look")
			}
		})
	}
	see(t, h, "/?utm_source=mail", "Events 9") // what others add does no harm
}

func TestStoreErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		says string
	}{
		{errors.New("read /var/lib/secret: disk on fire"), 503, "The store cannot answer right now; the collector's log says why."},
		{fmt.Errorf("ask: %w", context.DeadlineExceeded), 503, "The store took too long to answer; try a shorter range, or try again."},
		{store.ErrClosed, 503, "The store cannot answer right now; the collector's log says why."},
		{fmt.Errorf("ask: %w", store.ErrUnknownApp), 404, "The collector has no such app."},
		{store.ErrQuestion, 400, "The collector cannot answer this question; start again from the first page."},
	} {
		t.Run(tt.err.Error(), func(t *testing.T) {
			m, p := fleet(t)
			m.fail = tt.err
			var log bytes.Buffer
			h, err := New(Config{Store: m, Apps: func() []*plan.Plan { return []*plan.Plan{p} }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			for _, url := range []string{"/", "/console/live?app=blindai"} {
				log.Reset()
				w := get(t, h, url)
				if w.Code != tt.code || !strings.Contains(text(w.Body.String()), tt.says) {
					t.Errorf("%s answers %d, want %d and %q:\n%s", url, w.Code, tt.code, tt.says, text(w.Body.String()))
				}
				if strings.Contains(w.Body.String(), "fire") {
					t.Errorf("%s tells the visitor the cause", url)
				}
				if logged := strings.Contains(log.String(), tt.err.Error()); logged != (tt.code >= 500) {
					t.Errorf("%s: cause logged is %v: %s", url, logged, log.String())
				}
			}
		})
	}
}

func TestVisitorWhoLeftIsNotLogged(t *testing.T) {
	m, p := fleet(t)
	var log bytes.Buffer
	h, err := New(Config{Store: m, Apps: func() []*plan.Plan { return []*plan.Plan{p} }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
}

func TestHeaders(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	for _, url := range []string{"/", "/?app=none", "/console/live?app=blindai", "/console/assets/console.js", "/nowhere"} {
		got := get(t, h, url).Header()
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
		} {
			if got.Get(name) != want {
				t.Errorf("%s: %s is %q", url, name, got.Get(name))
			}
		}
		if got.Get("Cache-Control") == "" {
			t.Errorf("%s has no Cache-Control", url)
		}
	}
}

// The policy forbids them, so a page that relied on one would be broken.
func TestNothingInline(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	inline := regexp.MustCompile(`<script>|<script [^>]*>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:|https?://`)
	for _, url := range []string{"/", "/?range=24h&by=sgx_mode&measure=sessions", "/?app=none", "/?from=2020-01-01&to=2020-01-02", "/console/live?app=blindai"} {
		if found := inline.FindString(get(t, h, url).Body.String()); found != "" {
			t.Errorf("%s holds %q", url, found)
		}
	}
}

func TestAssets(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	page := get(t, h, "/").Body.String()
	for _, name := range []string{"console.js", "console.css", "icon.svg"} {
		url := regexp.MustCompile(`/console/assets/` + name + `\?v=[0-9a-f]{12}`).FindString(page)
		if url == "" {
			t.Fatalf("the page does not use %s", name)
		}
		w := get(t, h, url)
		if w.Code != 200 || w.Body.Len() == 0 || w.Header().Get("Cache-Control") != "private, max-age=31536000, immutable" {
			t.Errorf("%s answers %d, %d bytes, %s", name, w.Code, w.Body.Len(), w.Header().Get("Cache-Control"))
		}
		r := httptest.NewRequest("GET", "/console/assets/"+name+"?v=old", nil)
		r.Header.Set("If-None-Match", w.Header().Get("ETag"))
		again := httptest.NewRecorder()
		h.ServeHTTP(again, r)
		if again.Code != http.StatusNotModified || again.Header().Get("Cache-Control") != "private, no-cache" {
			t.Errorf("%s of another version answers %d, %s", name, again.Code, again.Header().Get("Cache-Control"))
		}
	}
	licences := get(t, h, "/console/assets/licences.txt").Body.String()
	for _, s := range []string{"htmx.org/LICENSE", "Apache ECharts", "zrender/LICENSE", "Apache License"} {
		if !strings.Contains(licences, s) {
			t.Errorf("the licences do not hold %q", s)
		}
	}
}

func TestElse(t *testing.T) {
	m, p := fleet(t)
	h := open(t, m, p)
	for _, url := range []string{"/nowhere", "/console", "/console/", "/console/assets/", "/console/assets/.gitignore", "/console/assets/console.go", "/console/live/x"} {
		if w := get(t, h, url); w.Code != 404 || !strings.Contains(w.Body.String(), "There is no page at this address.") {
			t.Errorf("%s answers %d", url, w.Code)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s / answers %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

// Docs of a plan are free text, and a plan that was not checked could hold
// anything anywhere. None of it may become markup.
func TestPlansAreNotMarkup(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(2)>`
	p := &plan.Plan{
		App: evil, Identity: "user_id",
		Fields: []plan.Field{
			{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true, Doc: evil},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp},
			{Name: evil, In: plan.UserProperties, Kind: plan.Enum, Values: []string{evil}, Session: true, Doc: evil},
		},
		Events: []plan.Event{{Name: evil, Doc: evil}},
	}
	m := newMemory(t)
	m.plans[evil] = p
	h := open(t, m, p)
	pages := []string{get(t, h, "/").Body.String()} // waiting for the first event
	rec := store.Record{Time: at(0, 1).UnixMilli(), Received: at(0, 1).UnixMilli(), Session: []plan.Value{{Set: true}}}
	if err := m.Append(t.Context(), evil, []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	pages = append(pages, get(t, h, "/").Body.String(), get(t, h, "/?from=2020-01-01&to=2020-01-01").Body.String(), get(t, h, "/console/live").Body.String())
	for i, page := range pages {
		if !strings.Contains(page, "&lt;script&gt;") {
			t.Errorf("page %d does not show the name at all: %s", i, text(page))
		}
		for _, s := range []string{"<script>alert", "<img src=x"} {
			if strings.Contains(page, s) {
				t.Errorf("page %d holds %q", i, s)
			}
		}
	}
}

func TestSeveralApps(t *testing.T) {
	m, p := fleet(t)
	other := *p
	other.App = "other"
	if err := m.Define(t.Context(), &other); err != nil {
		t.Fatal(err)
	}
	h := open(t, m, p, &other)
	see(t, h, "/", "Events 9")
	see(t, h, "/?app=other&range=7d", "Waiting for the first event of other")
	if page := get(t, h, "/?app=other&range=7d").Body.String(); !strings.Contains(page, `<option value="other" selected>`) || !strings.Contains(page, `<input type="hidden" name="range" value="7d">`) {
		t.Error("the picker does not show the app, or would lose the range")
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a console without a store was made")
	}
	folder := t.TempDir()
	if err := os.CopyFS(folder+"/page", os.DirFS("page")); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{Store: newMemory(t), Dev: folder})
	if err == nil || err.Error() != "console bundle is missing: run make build" {
		t.Errorf("without a bundle: %v", err)
	}
}

// In development a change of a page shows on the next reload.
func TestDev(t *testing.T) {
	m, p := fleet(t)
	folder := t.TempDir()
	for _, sub := range []string{"page", "dist"} {
		if err := os.CopyFS(folder+"/"+sub, os.DirFS(sub)); err != nil {
			t.Fatal(err)
		}
	}
	h, err := New(Config{Store: m, Apps: func() []*plan.Plan { return []*plan.Plan{p} }, Dev: folder, now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	see(t, h, "/", "Latest events")
	file := folder + "/page/live.html"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(page, []byte("Latest events"), []byte("What just happened")), 0o644); err != nil {
		t.Fatal(err)
	}
	see(t, h, "/", "What just happened")
	if err := os.WriteFile(file, []byte("{{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if w := get(t, h, "/"); w.Code != http.StatusInternalServerError {
		t.Errorf("a broken page answers %d", w.Code)
	}
}

// TestNothingIsKept: what is erased must not come back out of a cache, nor from a
// page that is open; how often something was erased is asked without the store.
func TestNothingIsKept(t *testing.T) {
	m, p := fleet(t)
	h, err := New(Config{Store: m, Apps: func() []*plan.Plan { return []*plan.Plan{p} }, Erased: m.erasures})
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"/", "/?app=none", "/console/live?app=" + p.App, "/console/erased?app=" + p.App} {
		if got := get(t, h, url).Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s may be kept: %q", url, got)
		}
	}
	asked := m.asked
	if got := get(t, h, "/console/erased?app="+p.App).Body.String(); got != "0" {
		t.Errorf("before an erasure: %q", got)
	}
	m.erase(p.App, plan.ID{1})
	if got := get(t, h, "/console/erased?app="+p.App).Body.String(); got != "1" {
		t.Errorf("after an erasure: %q", got)
	}
	if m.asked != asked {
		t.Error("the store is asked")
	}
	if got := get(t, h, "/").Body.String(); !strings.Contains(got, `data-erased="1"`) {
		t.Error("the page does not say how old it is")
	}
	if got := get(t, h, "/console/erased?app=none").Code; got != 404 && got != 400 {
		t.Errorf("of an app that is not there: %d", got)
	}
}
