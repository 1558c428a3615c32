package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shortDir returns a folder whose path leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// deskFor is somebody at a terminal of the machine on which a program runs.
func deskFor(t *testing.T, cfg Config) desk {
	cfg.EnvVar = "COFFEE_OFF"
	return desk{t, cfg}
}

// readStatus returns the status as a machine reads it.
func (d desk) readStatus() (s status) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(d.want("", "status", "-json")), &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

func TestStatusOfARunningProgram(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	d := deskFor(t, cfg)
	out := d.want("A program that runs here: on (nothing says off), sending to "+c.url+"/2/httpapi.\n", "status")
	// Also for somebody whose own configuration cannot be used.
	typo := d
	typo.cfg.URL = "collector.test:8080"
	if out, errs, code := typo.run("status"); code != 1 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "the telemetry URL is not of the form") ||
		!strings.Contains(out, "A program that runs here: on") || !strings.Contains(out, "off (the destination URL cannot be used)") || !strings.Contains(out, id(p)) {
		t.Errorf("with an unusable URL: exit code %d, printed\n%s%s", code, out, errs)
	}
	for _, want := range []string{
		fmt.Sprintf("  session      %s, process %d, since 20", id(p), os.Getpid()),
		"  events       0 queued, 0 sent, 0 refused, 0 dropped\n", "  last answer  none, because nothing was sent yet\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("status prints\n%s\nwant %s", out, want)
		}
	}
	p.brewed.Record(small, 1)
	p.brewed.Record(small, 2)
	until(t, "both events are sent", func() bool { return p.Stats().Sent == 2 })
	out = d.want("  events       0 queued, 2 sent, 0 refused, 0 dropped\n", "status")
	if !strings.Contains(out, "  last answer  200, at 20") || !strings.Contains(out, "The key of "+c.url+" is pinned: "+c.publicKey()+".\n") {
		t.Errorf("status prints\n%s", out)
	}

	// The collector stops taking events, and then goes away.
	c.set(func() { c.down = true })
	p.spilled.Record()
	until(t, "the 503 is seen", func() bool { s := d.readStatus(); return len(s.Running) == 1 && s.Running[0].LastStatus == 503 })
	s := d.readStatus()
	r := s.Running[0]
	if r.ID != id(p) || r.App != "coffee" || r.Source != "default" || r.URL != c.url+"/2/httpapi" || r.Queued != 1 || r.Sent != 2 || r.Failures == 0 ||
		r.LastTime == "" || r.Key != c.publicKey() || !s.On || len(s.Sessions) != 1 || len(s.Keys) != 1 || s.Keys[0].Changed {
		t.Errorf("got %+v", s)
	}

	// Another program's session is another line; another app's is not ours.
	second := newCoffee()
	mustOpen(t, second.Client, cfg)
	other := New("tea", 1)
	NewEvent(other, "steeped", "A cup was steeped.")
	mustOpen(t, other, cfg)
	if s := d.readStatus(); len(s.Running) != 2 {
		t.Errorf("%d sessions of the app are listed, want 2", len(s.Running))
	}
	for _, c := range []*Client{p.Client, second.Client, other} {
		c.Close(t.Context())
	}
	if s := d.readStatus(); len(s.Running) != 0 {
		t.Errorf("sessions are listed that have ended: %+v", s.Running)
	}
	if left, _ := os.ReadDir(liveDir(cfg.StateDir)); len(left) != 0 {
		t.Errorf("sockets of ended sessions are left: %v", left)
	}
}

// TestStatusOfAnswers: what the last answer says, in our words, and that the first one
// is still to come. preview -sent marks requests that got none.
func TestStatusOfAnswers(t *testing.T) {
	goes := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		switch _, more := <-goes; {
		case more:
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"code":400,"error":"Invalid API key: canary"}`)
		}
	}))
	defer srv.Close()
	cfg := Config{Version: "1.2.3", URL: srv.URL, APIKey: "key", StateDir: shortDir(t), Interval: 5 * time.Millisecond, Getenv: noEnv}
	d := deskFor(t, cfg)
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	until(t, "a request is under way", func() bool { return p.Stats().Requests == 1 && d.readStatus().Running[0].UnderWay })
	d.want("  last answer  none yet; the first request is under way\n", "status")
	const lost, away = "# No answer came to this request.\n", "# This request is under way.\n"
	if out := d.want(away, "preview", "-sent"); strings.Contains(out, lost) || !strings.HasSuffix(out, "\n"+away) {
		t.Errorf("preview -sent prints\n%s", out)
	}
	goes <- struct{}{} // no answer
	until(t, "it failed", func() bool { return p.Stats().Failures == 1 })
	d.want("  last answer  none (the connection was closed), at 20", "status")
	d.want("\n"+lost, "preview", "-sent")
	s := p.live.Load()
	go s.do(t.Context(), func() { s.sender.next = time.Time{}; s.look(t.Context(), false) })
	close(goes) // a wrong key
	until(t, "it failed", func() bool { return p.Stats().Failures == 2 })
	if out := d.want("  last answer  400 (wrong API key), at 20", "status"); strings.Contains(out, "canary") {
		t.Errorf("status repeats the answer:\n%s", out)
	}
	if out := d.want("", "preview", "-sent"); strings.Count(out, "POST /2/httpapi") != 2 || strings.Count(out, lost) != 1 || strings.Contains(out, away) {
		t.Errorf("preview -sent prints\n%s", out)
	}
	p.Close(t.Context())
}

// A socket can be opened by the folder's owner only.
func TestSocketIsPrivate(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	defer p.Close(t.Context())
	for path, want := range map[string]os.FileMode{liveDir(cfg.StateDir): 0o700, filepath.Join(liveDir(cfg.StateDir), id(p)+".sock"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %v", path, info, err, want)
		}
	}
}

// What is killed leaves its socket; nobody is confused by it, and it goes when it
// is a minute old.
func TestStaleSocket(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	if err := os.MkdirAll(liveDir(cfg.StateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	stale := func(name string, age time.Duration) string {
		path := filepath.Join(liveDir(cfg.StateDir), name+".sock")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	young, old := stale("young", time.Second), stale("old", time.Hour)
	d := deskFor(t, cfg)
	if s := d.readStatus(); len(s.Running) != 0 {
		t.Errorf("got %+v, want nobody", s.Running)
	}
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	defer p.Close(t.Context())
	if s := d.readStatus(); len(s.Running) != 1 {
		t.Errorf("got %+v, want one session", s.Running)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("an old socket of nobody is left")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("a socket that may just be being opened is removed")
	}
}

// Without a socket events are delivered, the log says so once, and the commands say
// that a program runs and cannot be asked.
func TestNoSocket(t *testing.T) {
	c := newCollector(t)
	var log bytes.Buffer
	cfg := c.config(shortDir(t))
	cfg.Interval = time.Hour
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.listen = func(string) (net.Listener, error) { return nil, errors.New("there are none here") }
	d := deskFor(t, cfg)
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), `level=WARN msg="telemetry: commands cannot ask this program`) {
		t.Errorf("the log says\n%s", &log)
	}
	d.want("A program that runs here cannot be asked what it sends, because no socket of it answers: session "+id(p)+", since 20", "status")
	if s := d.readStatus(); len(s.Running) != 0 || len(s.Unasked) != 1 || s.Unasked[0].ID != id(p) || s.Waiting != 1 {
		t.Errorf("got %+v, want one session that cannot be asked", s)
	}
	d.refuse("the program that runs on this state folder cannot be asked", "preview", "-sent")
	d.want(`"event_type":"spilled"`, "preview")
	d.want("A program that runs here cannot be asked, because no socket of it answers; it is to see the choice at its next look: session "+id(p), "off")
	if err := WriteChoice(cfg.StateDir, On); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := d.readStatus(); len(s.Unasked) != 0 {
		t.Errorf("got %+v, want nobody", s)
	}
}

// What an ended session has left is locked by the program that sends it, which is
// no other program.
func TestLeftoversAreNoPrograms(t *testing.T) {
	c := newCollector(t)
	c.down = true
	cfg := c.config(shortDir(t))
	ended := newCoffee()
	mustOpen(t, ended.Client, cfg)
	ended.spilled.Record()
	if err := ended.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	defer p.Close(t.Context())
	until(t, "it has found what is left", func() bool { return p.Stats().Recovered == 1 })
	if s := deskFor(t, cfg).readStatus(); len(s.Running) != 1 || len(s.Unasked) != 0 {
		t.Errorf("got %+v, want one session that answers", s)
	}
}

// Of a folder that takes no file at all the log has said enough.
func TestNoFolderNoWordOfASocket(t *testing.T) {
	c := newCollector(t)
	var log bytes.Buffer
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := c.config(filepath.Join(file, "state"))
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.Close(t.Context())
	if strings.Contains(log.String(), "socket") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("the log says\n%s", &log)
	}
}

// TestPreviewWhereNothingWaits says of a program that runs how a request of it looks,
// though whoever asks has no destination, and of one that is off that it sends nothing.
func TestPreviewWhereNothingWaits(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	bare := cfg
	bare.URL, bare.APIKey = "", ""
	out := deskFor(t, bare).want("as the program that runs here would send it", "preview")
	if host := "\r\nHost: " + strings.TrimPrefix(c.url, "http://") + "\r\n"; !strings.Contains(out, host) || strings.Contains(out, "No destination") {
		t.Errorf("it prints\n%s\nwant %q", out, host)
	}
	p.Close(t.Context())
	if err := WriteChoice(cfg.StateDir, Off); err != nil {
		t.Fatal(err)
	}
	deskFor(t, cfg).want("Telemetry of a start here is off ("+filepath.Join(cfg.StateDir, "choice")+" says off), so nothing would be sent.\n", "preview")
}

// Whatever is written to the socket, it answers what is asked after that.
func TestSocketTakesGarbage(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	defer p.Close(t.Context())
	before := id(p)
	for _, garbage := range []string{
		"", "\x00\xff\x00", "GET", "GET /status\r\n\r\n", "POST /renew\r\n\r\n", "GET /renew HTTP/1.1\r\nHost: x\r\n\r\n", "DELETE /status HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /../../sessions HTTP/1.1\r\nHost: x\r\n\r\n", "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20), strings.Repeat("\r\n", 10_000),
	} {
		conn, err := net.Dial("unix", filepath.Join(liveDir(cfg.StateDir), before+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, garbage) // it may hang up meanwhile
		conn.(*net.UnixConn).CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	if s := deskFor(t, cfg).readStatus(); len(s.Running) != 1 || s.Running[0].ID != before {
		t.Errorf("after garbage the status is %+v", s.Running)
	}
}

// TestPreviewOfARunningProgram: what waits there is what is sent next, and what it
// has sent is shown as it was on the wire.
func TestPreviewOfARunningProgram(t *testing.T) {
	var wire []string
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var b bytes.Buffer
			if req, err := http.ReadRequest(newTee(conn, &b)); err == nil {
				io.Copy(io.Discard, req.Body)
			}
			got <- b.String()
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"code\":200}")
			conn.Close()
		}
	}()
	cfg := Config{Version: "1.2.3", URL: "http://" + l.Addr().String(), APIKey: "key", StateDir: shortDir(t), Interval: time.Hour, Getenv: noEnv}
	d := deskFor(t, cfg)
	d.refuse("no program runs on this state folder", "preview", "-sent")
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	secret, _, _ := p.Secret()
	d.want("Nothing was sent yet.", "preview", "-sent")
	d.want("Nothing waits to be sent", "preview")
	for i := range 3 {
		p.brewed.Record(large, Count(i))
		if i == 2 {
			p.spilled.Record()
		}
		// The command's own configuration does not matter: the program knows better.
		other := d
		other.cfg.URL, other.cfg.APIKey = "http://other.test", "other"
		preview := other.want(fmt.Sprintf(`"sugar":%d`, i), "preview")
		if err := p.live.Load().do(t.Context(), func() { p.live.Load().look(t.Context(), false) }); err != nil {
			t.Fatal(err)
		}
		sent := <-got
		if strings.TrimSpace(preview) != strings.TrimSpace(sent) {
			t.Errorf("the preview is\n%s\nand what was sent\n%s", preview, sent)
		}
		wire = append(wire, sent+"\n")
		d.want("Nothing waits to be sent", "preview")
	}
	if out := d.want("", "preview", "-sent"); out != strings.Join(wire, "") || strings.Contains(out, secret.Reveal()) {
		t.Errorf("what was sent is shown as\n%s\nwant\n%s", out, strings.Join(wire, ""))
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestSentIsBounded: the last requests are remembered, in a bounded room.
func TestSentIsBounded(t *testing.T) {
	var a answers
	for i := range 100 {
		a.sends([]byte(fmt.Sprint(i)))
	}
	if len(a.sent) != maxSent || string(a.sent[maxSent-1].body) != "99" {
		t.Errorf("%d requests are remembered, want the last %d", len(a.sent), maxSent)
	}
	for range 10 {
		a.sends(make([]byte, 400<<10))
	}
	total := 0
	for _, r := range a.sent {
		total += len(r.body)
	}
	if total > maxSentBytes || total != a.bytes || len(a.sent) != 2 {
		t.Errorf("%d requests of %d bytes are remembered (%d counted), want two", len(a.sent), total, a.bytes)
	}
}

// TestOffWhileRunning: off reaches a program at once, also while a request of it
// hangs. Queue and spool are gone, the secrets are kept.
func TestOffWhileRunning(t *testing.T) {
	for _, test := range []struct {
		name   string
		socket bool // and else only by the look
		stalls bool
	}{
		{"by the socket", true, false}, {"by the socket, in a request that hangs", true, true},
		{"by the look", false, false}, {"by the look, in a request that hangs", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCollector(t)
			cfg := c.config(shortDir(t))
			cfg.Interval = 2 * time.Second
			if test.socket && !test.stalls {
				cfg.Interval = time.Hour
			}
			if !test.socket {
				cfg.Interval = time.Second
				cfg.listen = noSocket
			}
			if test.stalls {
				c.stalls = make(chan struct{})
			} else {
				c.down = true
			}
			p := newCoffee()
			mustOpen(t, p.Client, cfg)
			p.brewed.Record(small, 1)
			p.brewed.Record(small, 2)
			session := id(p)
			if test.stalls {
				<-c.arrived
			}
			began := time.Now()
			deskFor(t, cfg).want("Telemetry is off", "off")
			until(t, "it is off", func() bool { return p.live.Load() == nil })
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("off takes effect after %v, want 2 s at most", took)
			}
			until(t, "the spool is gone", func() bool { left, _ := os.ReadDir(spoolDir(cfg.StateDir)); return len(left) == 0 })
			kept, err := Kept(cfg.StateDir)
			if err != nil || len(kept) != 1 || kept[0].ID.String() != session {
				t.Errorf("%v, %v are kept, want the secret of the session", kept, err)
			}
			c.set(func() { c.down = false })
			p.spilled.Record()
			p.Close(t.Context())
			c.has(t, map[string]int{})
			if left, _ := os.ReadDir(liveDir(cfg.StateDir)); len(left) != 0 {
				t.Errorf("the socket is left: %v", left)
			}
		})
	}
}
