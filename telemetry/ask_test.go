package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answersWith is a server with one answer to everything.
func answersWith(t *testing.T, handle http.HandlerFunc) Config {
	t.Helper()
	srv := httptest.NewServer(handle)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return Config{URL: srv.URL, APIKey: "key", Getenv: noEnv, Timeout: 300 * time.Millisecond}
}

var anySecret = strings.Repeat("5a", 32)

// TestForgetWithoutAnAnswer: whoever asks is told whether the request can have been
// carried out, in words of our own.
func TestForgetWithoutAnAnswer(t *testing.T) {
	stalls := func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // or else the server does not see the end of the connection
		<-r.Context().Done()
	}
	check := func(cfg Config, ctx context.Context, want string) {
		t.Helper()
		err := Command{Client: newCoffee().Client, Config: cfg, Out: io.Discard}.Forget(ctx, anySecret, false, false)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		} else if strings.Contains(err.Error(), "Client.Timeout") || strings.Contains(err.Error(), "context") || strings.Contains(err.Error(), "EOF") {
			t.Errorf("the error speaks of our parts: %v", err)
		}
	}
	const unsure = ", so the session may have been erased or not; it can be asked for again"
	check(answersWith(t, stalls), t.Context(), "did not answer: no answer came in time"+unsure)
	soon, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	check(answersWith(t, stalls), soon, "did not answer: it was interrupted"+unsure)
	check(answersWith(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), t.Context(), "did not answer: the connection was closed"+unsure)
	check(answersWith(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"payload":`)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}), t.Context(), "was cut off (no answer came in time)"+unsure)
	check(answersWith(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGatewayTimeout) }), t.Context(), "the collector answered 504 and gave no receipt, so count on nothing being erased; try again later")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	check(Config{URL: "http://" + l.Addr().String(), APIKey: "key", Getenv: noEnv}, t.Context(), "the collector cannot be reached, so nothing was done: ")
}

// A paper keeps the beginning of what is written, and counts the rest.
type paper struct {
	bytes.Buffer
	n int64
}

func (p *paper) Write(b []byte) (int, error) {
	p.n += int64(len(b))
	if p.Len() < 1<<10 {
		p.Buffer.Write(b)
	}
	return len(b), nil
}

// TestShowIsAsLargeAsTheSession: what a collector shows is printed as it comes,
// however long that takes.
func TestShowIsAsLargeAsTheSession(t *testing.T) {
	const events = 1100 // long ones, which take less time here than many
	event := []byte(`{"event_type":"` + strings.Repeat("brewed", 10<<10) + `"},` + "\n ")
	cfg := answersWith(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"time":"2026-11-24T02:36:02Z","recipients":[{"name":"x","why":"y"}],"apps":[{"app":"coffee","events":[`)
		for i := range events {
			w.Write(event)
			if i%32 == 0 {
				http.NewResponseController(w).Flush()
				time.Sleep(40 * time.Millisecond) // in all, more than the time for one step
			}
		}
		io.WriteString(w, `{}]}]}`)
	})
	cfg.Timeout = time.Second
	var out paper
	err := Command{Client: newCoffee().Client, Config: cfg, Out: &out}.Show(t.Context(), anySecret, false)
	if err != nil || out.n < events*int64(len(event)) || !strings.HasPrefix(out.String(), `{"time":"2026-11-24T02:36:02Z"`) || out.n < 64<<20 {
		t.Errorf("it prints %d bytes, and %v", out.n, err)
	}
}

// slowPaper takes its time at the first write, as a pager does that nobody scrolls.
type slowPaper struct {
	paper
	wait time.Duration
}

func (p *slowPaper) Write(b []byte) (int, error) {
	time.Sleep(p.wait)
	p.wait = 0
	return p.paper.Write(b)
}

// TestShowWaitsForItsReader: the time of a part is the collector's, and not that of
// whoever reads.
func TestShowWaitsForItsReader(t *testing.T) {
	cfg := answersWith(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"time":"2026-11-24T02:36:02Z","recipients":[],"apps":[`)
		for range 1000 { // more than what is on the way
			io.WriteString(w, `"`+strings.Repeat("x", 10<<10)+`",`)
		}
		io.WriteString(w, `"x"]}`)
	})
	cfg.Timeout = time.Second
	out := slowPaper{wait: 2 * cfg.Timeout}
	if err := (Command{Client: newCoffee().Client, Config: cfg, Out: &out}).Show(t.Context(), anySecret, false); err != nil || out.n < 1000*10<<10 {
		t.Errorf("it prints %d bytes, and %v", out.n, err)
	}
}

// TestShowOfWhatIsNoSession: another server's page is not printed, and an answer that
// does not end as it should is an error.
func TestShowOfWhatIsNoSession(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		whole        bool // and else the connection breaks
		printed      bool
		want         string
	}{
		{"a page", "<html>Welcome to the hotel</html>", true, false, "does not show a session; check that its URL is a collector's"},
		{"a list", `[{"apps":[]}]`, true, false, "does not show a session"},
		{"other JSON", `{"code":200}`, true, false, "does not show a session"},
		{"apps of another kind", `{"apps":{"apps":[]}}`, true, false, "does not show a session"},
		{"apps further inside", `{"a":{"apps":[]}}`, true, false, "does not show a session"},
		{"nothing", "", true, false, "does not show a session"},
		{"much of something else", `{"a":"` + strings.Repeat("x", 3<<20) + `","apps":[]}`, true, false, "does not show a session"},
		{"cut off", `{"recipients":[],"apps":[{"app":"coffee","events":[{"n":1},`, false, true, "was cut off (the connection was closed), so not all of the session is shown"},
		{"cut off in order", `{"recipients":[],"apps":[{"app":"coffee"}`, true, true, "so not all of the session is shown"},
		{"cut off at the start", `{"recipients":[`, false, false, "was cut off (the connection was closed); ask again"},
		{"followed by something", `{"apps":[]} <html>`, true, true, "not all of the session is shown"},
		{"nested without end", `{"apps":` + strings.Repeat("[", 1<<20), true, true, "not all of the session is shown"},
		{"a text without end", `{"apps":[` + strings.Repeat(" ", 1<<10) + `"` + strings.Repeat("x", 3<<20), true, true, "not all of the session is shown"},
		{"no JSON in the middle", `{"apps":[{"app":canary}]}`, true, true, "not all of the session is shown"},
	} {
		cfg := answersWith(t, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, test.answer)
			if !test.whole {
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		})
		d := desk{t, cfg}
		out, errs, code := d.run("show", "-remote", anySecret)
		if code != 1 || (out != "") != test.printed || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, test.want) || strings.Contains(errs, "canary") {
			t.Errorf("%s: exit code %d, printed %.100s, and %s, want an error with %s", test.name, code, out, errs, test.want)
		}
		if out != "" && !strings.HasSuffix(out, "\n") {
			t.Errorf("%s: what is printed does not end its line", test.name)
		}
	}
	// What stops in the middle is waited for once.
	cfg := answersWith(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, `{"apps":[`)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	if _, errs, code := (desk{t, cfg}).run("show", "-remote", anySecret); code != 1 || !strings.Contains(errs, "was cut off (no answer came in time)") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}
