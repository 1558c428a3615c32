//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package telemetry

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// leftBehind is a run that sends one event and ends with two that wait.
func leftBehind(t *testing.T, c *collector, cfg Config) plan.Secret {
	t.Helper()
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	until(t, "the event is sent", func() bool { return p.Stats().Sent == 1 })
	c.set(func() { c.down = true })
	p.spilled.Record()
	p.spilled.Record()
	secret, _, _ := p.Secret()
	closeNow(t, p.Client)
	c.set(func() { c.down = false })
	return secret
}

// TestForgetAsksEveryDestination: the operator changes the destination while events
// wait, so a session has sent to two collectors. Both erase it, and the secret is
// kept until they have.
func TestForgetAsksEveryDestination(t *testing.T) {
	a, b := newCollector(t), newCollector(t)
	cfg := a.config(shortDir(t))
	secret := leftBehind(t, a, cfg)
	session := secret.ID().String()
	cfg.URL = b.url
	runOnce(t, cfg, 1)
	if a.counts()[session] != 1 || b.counts()[session] != 2 {
		t.Fatalf("the collectors have %v and %v, want one event of the session and two", a.counts(), b.counts())
	}
	d := deskFor(t, cfg)
	d.want("  "+session+"  "+a.url+"/2/httpapi and "+b.url+"/2/httpapi  ", "status")
	if s := d.readStatus().Sessions[0]; s.URL != a.url+"/2/httpapi" || len(s.Further) != 1 || s.Further[0].URL != b.url+"/2/httpapi" {
		t.Errorf("the status is %+v, want both destinations", s)
	}
	out := d.want("", "show", "-remote", secret.Reveal())
	if strings.Count(out, `"user_id":"`+session+`"`) != 2 || strings.Count(out, "\n") != 2 {
		t.Errorf("show prints\n%s\nwant what both have", out)
	}

	// One is down: the other erases, and only the one that is down is asked again.
	b.set(func() { b.down = true })
	out, errs, code := d.run("forget", secret.Reveal())
	if code != 1 || !strings.Contains(out, a.url+": Erased on ") || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, b.url+": the collector answered 503") {
		t.Errorf("exit code %d, printed %s%s", code, out, errs)
	}
	if kept, _ := Kept(cfg.StateDir); len(kept) != 2 || kept[0].ID != secret.ID() {
		t.Fatal("the secret is gone although a collector has not erased the session")
	}
	d.want("Session "+session+" was erased at "+a.url+"; its secret is kept for the rest.\n", "status")
	d.want("The erasure of session "+session+" at "+b.url+" waits for the collector since 20", "status")
	if s := d.readStatus().Sessions[0]; !s.Erased || s.Asked != "" || s.Further[0].Erased || s.Further[0].Asked == "" {
		t.Errorf("the status is %+v, want it erased at the first, and asked of the second", s)
	}
	b.set(func() { b.down = false })
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	until(t, "the other erases it", func() bool { return b.counts()[session] == 0 })
	until(t, "both receipts are kept", func() bool { return len(receipts(t, cfg.StateDir)) == 2 })
	until(t, "its secret is gone", func() bool { _, err := os.Stat(sessionFile(cfg.StateDir, session)); return os.IsNotExist(err) })
	p.Close(t.Context())
	if n := len(a.requests()); n != 1 {
		t.Errorf("the first collector was asked %d times, want once", n)
	}

	// All others went to one destination.
	out = d.want("", "forget", "-all", "-json")
	if strings.Count(out, "\n") != 2 {
		t.Errorf("forget -all prints\n%s\nwant one receipt for each of the other two sessions", out)
	}
	a.has(t, map[string]int{})
	b.has(t, map[string]int{})
}

// TestForgetWithAmplitudeAmongTheDestinations: it is said what cannot be erased
// there, the others erase, and the secret is kept.
func TestForgetWithAmplitudeAmongTheDestinations(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := leftBehind(t, c, cfg)
	session := secret.ID().String()
	listed := false
	there := endpoint{answer: func(*http.Request, []string) (int, string, error) {
		// The file names the destination before the first request goes out.
		kept, err := readKept(sessionFile(cfg.StateDir, session))
		listed = err == nil && kept.at(AmplitudeURL) == 1
		return 200, `{"code":200}`, nil
	}}
	other := cfg
	other.URL, other.Transport = AmplitudeURL, &there
	runOnce(t, other, 0)
	there.check(t, 2)
	if !listed {
		t.Error("a request with events went out before the session's file named its destination")
	}
	d := deskFor(t, cfg)
	for n := 1; n <= 2; n++ {
		out, errs, code := d.run("forget", secret.Reveal())
		if code != 1 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "https://api2.amplitude.com: the events went to Amplitude, where only the project's owner can erase them; nothing was erased there; the owner needs the user_id "+session) {
			t.Errorf("exit code %d, printed %s", code, errs)
		}
		if erased := strings.Contains(out, c.url+": Erased on "); erased != (n == 1) {
			t.Errorf("the order no. %d prints %s", n, out)
		}
	}
	c.has(t, map[string]int{})
	if n := len(c.requests()); n != 1 {
		t.Errorf("the collector was asked %d times, want once", n)
	}
	if _, err := os.Stat(sessionFile(cfg.StateDir, session)); err != nil {
		t.Errorf("the secret is gone: %v", err)
	}
	d.want("was erased at "+c.url, "status")
}

// TestLeftoverWaitsWhereItsDestinationCannotBeKept: what could not be erased is not
// sent, and waits for the next start.
func TestLeftoverWaitsWhereItsDestinationCannotBeKept(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, path string) (repair func())
	}{
		{"the file cannot be changed", func(t *testing.T, path string) func() {
			unlock, err := lockDir(filepath.Dir(path)) // as long as another process has it, nobody writes there
			if err != nil {
				t.Fatal(err)
			}
			return unlock
		}},
		{"the file is damaged", func(t *testing.T, path string) func() {
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, good[:len(good)/2], 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { os.WriteFile(path, good, 0o600) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := newCollector(t), newCollector(t)
			cfg := a.config(shortDir(t))
			session := leftBehind(t, a, cfg).ID().String()
			repair := test.spoil(t, sessionFile(cfg.StateDir, session))
			var book logBook
			cfg.URL, cfg.Logger = b.url, book.logger()
			p := newCoffee()
			mustOpen(t, p.Client, cfg)
			p.spilled.Record()
			until(t, "its own event is sent", func() bool { return p.Stats().Sent == 1 })
			if st := p.Stats(); st.Waiting != 2 || st.Recovered != 2 {
				t.Errorf("got %+v, want two events that wait", st)
			}
			consistent(t, p.Client)
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if b.counts()[session] != 0 || strings.Count(book.text(), "wait for the next start, because its file in the state folder cannot name this destination") != 1 {
				t.Errorf("the other collector has %v, and the log says\n%s", b.counts(), book.text())
			}
			repair()
			runOnce(t, cfg, 0)
			if b.counts()[session] != 2 {
				t.Errorf("the collector has %v, want the two events that waited", b.counts())
			}
		})
	}
}

// TestNothingOfAForgottenSessionIsSent: also where another destination, which knows
// of no erasure, would take it.
func TestNothingOfAForgottenSessionIsSent(t *testing.T) {
	for _, waits := range []bool{false, true} { // whether the erasure still waits
		a, b := newCollector(t), newCollector(t)
		cfg := a.config(shortDir(t))
		secret := leftBehind(t, a, cfg)
		session := secret.ID().String()
		path := filepath.Join(spoolDir(cfg.StateDir), session+spoolEnding)
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// A program that was just being started has had the file in its hands.
		a.set(func() { a.down = waits })
		deskFor(t, cfg).run("forget")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg.URL = b.url
		d := deskFor(t, cfg)
		d.want("Nothing waits to be sent", "preview")
		if s := d.readStatus(); s.Waiting != 0 {
			t.Errorf("%d events are said to wait", s.Waiting)
		}
		p := newCoffee()
		mustOpen(t, p.Client, cfg)
		until(t, "it is thrown away", func() bool { return p.Stats().Dropped == 2 })
		consistent(t, p.Client)
		p.Close(t.Context())
		b.has(t, map[string]int{})
		if files := spoolFiles(t, cfg.StateDir); len(files) != 0 {
			t.Errorf("spools are left: %v", files)
		}
	}
}

// TestForgottenBetweenTwoRequests: a program has taken what a session left, its
// destination is down, and meanwhile the session is forgotten.
func TestForgottenBetweenTwoRequests(t *testing.T) {
	a := newCollector(t)
	cfg := a.config(shortDir(t))
	secret := leftBehind(t, a, cfg)
	requests := 0
	there := endpoint{answer: func(*http.Request, []string) (int, string, error) {
		requests++
		return 503, "", nil
	}}
	other := cfg
	other.URL, other.Transport, other.Interval = "http://other.test", &there, time.Hour
	p := newCoffee()
	mustOpen(t, p.Client, other)
	until(t, "it was tried", func() bool { return p.Stats().Requests == 1 })
	if err := os.Remove(sessionFile(cfg.StateDir, secret.ID().String())); err != nil {
		t.Fatal(err)
	}
	d := deskFor(t, other)
	d.want("Nothing waits to be sent", "preview")
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if requests != 1 {
		t.Errorf("%d requests, want none after the session was forgotten", requests)
	}
	if st := p.Stats(); st.Dropped != 2 || st.Waiting != 0 {
		t.Errorf("got %+v, want two events dropped", st)
	}
}

// TestOldSessionFiles: those of versions that knew one destination are read, and a
// destination that differs in its path only is the same one.
func TestOldSessionFiles(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := leftBehind(t, c, cfg)
	path := sessionFile(cfg.StateDir, secret.ID().String())
	old := map[string]string{"app": "coffee", "user_id": secret.ID().String(), "secret": secret.Reveal(), "url": c.url + "/batch", "started": "2026-11-01T08:00:00Z", "erase_asked": "2026-11-02T08:00:00Z"}
	b, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := readKept(path)
	if err != nil || len(k.SentTo) != 1 || k.SentTo[0].URL != c.url+"/batch" || k.SentTo[0].Asked.IsZero() {
		t.Fatalf("got %+v, %v", k, err)
	}
	if k.at(c.url+"/2/httpapi") != 0 || k.at("http://other.test") != -1 {
		t.Error("the two paths of one collector are not one destination")
	}
	receipts, err := k.Forget(context.Background())
	if err != nil || len(receipts) != 1 {
		t.Errorf("got %q, %v, want one receipt", receipts, err)
	}
	c.has(t, map[string]int{})
}

// TestSecretThatCannotBeKept: what it could not erase does not outlive the process.
func TestSecretThatCannotBeKept(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	if err := os.WriteFile(filepath.Join(cfg.StateDir, "sessions"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	until(t, "the event is sent", func() bool { return p.Stats().Sent == 1 })
	if _, kept, _ := p.Secret(); kept {
		t.Error("the secret is said to be kept")
	}
	if _, err := os.Stat(spoolDir(cfg.StateDir)); err == nil {
		t.Error("events are kept in the state folder without the secret that erases them")
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestOneDeadCollectorKeepsNoErasureWaiting: one that is owed by a collector that is
// gone for good is no reason for the others to wait, nor is it whose program it was.
func TestOneDeadCollectorKeepsNoErasureWaiting(t *testing.T) {
	gone, c := newCollector(t), newCollector(t)
	cfg := gone.config(shortDir(t))
	first := runOnce(t, cfg, 1)
	cfg.URL = c.url
	second := runOnce(t, cfg, 1)
	tea := New("tea", 1)
	steeped := NewEvent(tea, "steeped", "A cup was steeped.")
	mustOpen(t, tea, cfg)
	steeped.Record()
	until(t, "it is sent", func() bool { return tea.Stats().Sent == 1 })
	third, _, _ := tea.Secret()
	tea.Close(t.Context())
	gone.set(func() { gone.down = true })
	c.set(func() { c.down = true })
	deskFor(t, cfg).run("forget", "-all")
	c.has(t, map[string]int{second.ID().String(): 1, third.ID().String(): 1})

	c.set(func() { c.down = false })
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	until(t, "the others are erased", func() bool { return len(c.counts()) == 0 })
	until(t, "one session is kept beside the new one", func() bool { kept, _ := Kept(cfg.StateDir); return len(kept) == 2 })
	gone.has(t, map[string]int{first.ID().String(): 1})
	p.Close(t.Context())
}

// TestForgetMeansItsOwnProgram: where several programs share a state folder, the last
// session is the last one of the program that is asked.
func TestForgetMeansItsOwnProgram(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	mine := runOnce(t, cfg, 3)
	tea := New("tea", 1)
	steeped := NewEvent(tea, "steeped", "A cup was steeped.")
	mustOpen(t, tea, cfg)
	defer tea.Close(t.Context())
	steeped.Record()
	until(t, "it is sent", func() bool { return tea.Stats().Sent == 1 })
	theirs, _, _ := tea.Secret()
	d := deskFor(t, cfg)
	d.want("3 events", "forget")
	c.has(t, map[string]int{theirs.ID().String(): 1})
	if now, _, _ := tea.Secret(); now != theirs {
		t.Error("the session of another program has ended")
	}
	d.refuse("the sessions that are kept in the state folder are of other programs", "forget")
	if _, err := os.Stat(sessionFile(cfg.StateDir, mine.ID().String())); err == nil {
		t.Error("the secret of what was erased is still there")
	}
}

// TestForgetsAtTheSameTime: several people, or scripts, want the same session to end.
// It does, and that is success for each.
func TestForgetsAtTheSameTime(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	defer p.Close(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if out, errs, code := deskFor(t, cfg).run("forget"); code != 0 {
				t.Errorf("exit code %d, printed %s%s", code, out, errs)
			}
		})
	}
	wg.Wait()
}

// TestOffThatCannotBeWritten is no success, and is not said to be one.
func TestOffThatCannotBeWritten(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := leftBehind(t, c, cfg)
	if err := os.MkdirAll(filepath.Join(cfg.StateDir, "choice", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, errs, code := deskFor(t, cfg).run("off")
	if code != 1 || out != "" || !strings.Contains(errs, "goes on until it is started anew with the environment variable COFFEE_OFF=1") {
		t.Errorf("exit code %d, printed %s%s", code, out, errs)
	}
	if _, err := os.Stat(filepath.Join(spoolDir(cfg.StateDir), secret.ID().String()+spoolEnding)); err != nil {
		t.Errorf("what waits is deleted all the same: %v", err)
	}
}

// TestShowAsksNobodyWithoutNeed: a secret is not shown to who has erased the session.
func TestShowAsksNobodyWithoutNeed(t *testing.T) {
	a, b := newCollector(t), newCollector(t)
	cfg := a.config(shortDir(t))
	secret := leftBehind(t, a, cfg)
	cfg.URL = b.url
	runOnce(t, cfg, 1)
	b.set(func() { b.down = true })
	d := deskFor(t, cfg)
	d.run("forget", secret.Reveal())
	b.set(func() { b.down = false })
	a.set(func() { a.down = true })
	if out := d.want("", "show", "-remote", secret.Reveal()); strings.Count(out, "\n") != 1 {
		t.Errorf("show prints\n%s\nwant what the other has", out)
	}
}

// TestDamagedDestination: a file that holds no URL is named, and not repeated.
func TestDamagedDestination(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := runOnce(t, cfg, 1)
	path := sessionFile(cfg.StateDir, secret.ID().String())
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"", "ftp://canary:canary@x y/", "collector.example"} {
		if err := os.WriteFile(path, []byte(strings.Replace(string(b), c.url+"/2/httpapi", url, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, code := deskFor(t, cfg).run("forget")
		if code != 1 || strings.Contains(out+errs, "canary") || !strings.Contains(errs, path+" does not hold the URL of a destination; move it away") {
			t.Errorf("%q: exit code %d, printed %s%s", url, code, out, errs)
		}
	}
}
