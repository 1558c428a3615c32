package telemetry

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// runOnce is a run of the program that records n events and ends in order.
func runOnce(t *testing.T, cfg Config, n int) plan.Secret {
	t.Helper()
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	secret, _, _ := p.Secret()
	for i := range n {
		p.brewed.Record(small, Count(i))
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return secret
}

// receipts returns the paths of those that are kept.
func receipts(t *testing.T, stateDir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(stateDir, "receipts", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestForgetSessions(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	d := deskFor(t, cfg)
	d.refuse("no session is kept", "forget")
	var secrets []plan.Secret
	want := map[string]int{}
	for n := 1; n <= 3; n++ {
		s := runOnce(t, cfg, n)
		secrets = append(secrets, s)
		want[s.ID().String()] = n
	}
	c.has(t, want)

	// What is no secret is not sent, and not repeated.
	for _, bad := range []string{"canary", secrets[0].Reveal()[1:], secrets[0].Reveal() + "0", strings.Repeat("g", 64)} {
		d.refuse("64 hex digits", "forget", bad)
		if _, errs, _ := d.run("forget", bad); strings.Contains(errs, bad) {
			t.Errorf("the error repeats what was given: %s", errs)
		}
	}
	if n := len(c.requests()); n != 0 {
		t.Errorf("%d requests for what is no secret", n)
	}

	// One that is kept here, by its secret: its file goes, and nothing else.
	out := d.want("UTC: 1 event of coffee.\nThe receipt is kept in ", "forget", secrets[0].Reveal())
	delete(want, secrets[0].ID().String())
	c.has(t, want)
	if kept, _ := Kept(cfg.StateDir); len(kept) != 2 {
		t.Errorf("%d sessions are kept, want the other two", len(kept))
	}
	if strings.Contains(out, secrets[0].Reveal()) || strings.Contains(out, secrets[0].ID().String()) {
		t.Errorf("forget prints the secret or the id:\n%s", out)
	}
	// The same again: the collector has nothing, and knows why.
	d.want("nothing, because an earlier request has erased this session.", "forget", secrets[0].Reveal())
	// A secret of nobody.
	d.want("nothing, because nothing of this session was there.", "forget", strings.Repeat("5a", 32))
	c.has(t, want)

	// All others, one in a request, and only JSON.
	out = d.want("", "forget", "-all", "-json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("forget -all -json prints\n%s\nwant two receipts", out)
	}
	for _, line := range lines {
		if r, err := parseReceipt([]byte(line)); err != nil || len(r.erased) != 1 {
			t.Errorf("%s: %+v, %v", line, r, err)
		}
	}
	c.has(t, map[string]int{})
	d.refuse("no session is kept", "forget")
	if asked := c.requests(); len(asked) != 5 {
		t.Errorf("%d requests to erase, want 5, one session in each", len(asked))
	}

	// All receipts are kept, for their owner only, and can be checked.
	paths := receipts(t, cfg.StateDir)
	if len(paths) != 5 {
		t.Errorf("%d receipts are kept, want 5", len(paths))
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v, want mode 0600", info, err)
		}
		d.want("The receipt is genuine: signed by "+c.url+", and not changed since.\nErased on ", "forget", "-verify", path)
	}
	cfg.URL = AmplitudeURL
	d.cfg = cfg
	d.refuse("nothing was erased", "forget", secrets[0].Reveal())
	if _, err := Forget(t.Context(), AmplitudeURL, secrets[0].Reveal()); !errors.Is(err, ErrAmplitude) {
		t.Errorf("got %v, want ErrAmplitude", err)
	}
	if b, err := Forget(t.Context(), c.url, secrets[0].Reveal()); err != nil || !json.Valid(b) {
		t.Errorf("got %s, %v, want a receipt", b, err)
	}
}

// TestForgetTheRunningSession: it ends, what waited is thrown away, and the
// program goes on with a new one, whose events have nothing in common with it.
func TestForgetTheRunningSession(t *testing.T) {
	c := newCollector(t)
	var log bytes.Buffer
	cfg := c.config(shortDir(t))
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	old, _, _ := p.Secret()
	p.brewed.Record(small, 1)
	until(t, "the event is sent", func() bool { return p.Stats().Sent == 1 })
	// The next request hangs: its events wait, and are thrown away.
	stalls := make(chan struct{})
	c.set(func() { c.stalls = stalls })
	<-c.arrived
	p.brewed.Record(small, 2)
	<-c.arrived
	p.brewed.Record(small, 3)
	d := deskFor(t, cfg)
	d.want("UTC: 1 event of coffee.", "forget")
	if id(p) == old.ID().String() {
		t.Fatal("the session that was forgotten goes on")
	}
	if _, kept, ok := p.Secret(); !kept || !ok {
		t.Error("the secret of the new session is not kept")
	}
	close(stalls)
	c.set(func() { c.stalls = nil })
	p.brewed.Record(small, 4)
	until(t, "the event of the new session is sent", func() bool { return c.counts()[id(p)] == 1 })
	c.has(t, map[string]int{id(p): 1})
	s := d.readStatus()
	if len(s.Running) != 1 || s.Running[0].ID != id(p) || len(s.Sessions) != 1 || s.Sessions[0].ID != id(p) {
		t.Errorf("the status is %+v, want the new session only", s)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := p.Stats(); st.Recorded != 4 || st.Sent != 2 || st.Dropped != 2 || st.Waiting != 0 {
		t.Errorf("got %+v, want 4 recorded, 2 sent and 2 dropped", st)
	}
	consistent(t, p.Client)
	if left, _ := os.ReadDir(spoolDir(cfg.StateDir)); len(left) != 0 {
		t.Errorf("spools are left: %v", left)
	}
	if s := log.String(); strings.Contains(s, old.Reveal()) || strings.Contains(s, "level=WARN") {
		t.Errorf("the log says\n%s", s)
	}
}

// TestForgetTheRunningSessionWhereNoSecretCanBeKept: no session begins whose secret
// is nowhere; telemetry of the program ends, which is said at both ends.
func TestForgetTheRunningSessionWhereNoSecretCanBeKept(t *testing.T) {
	c := newCollector(t)
	var book logBook
	cfg := c.config(shortDir(t))
	cfg.Logger = book.logger()
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	secret, _, _ := p.Secret()
	p.spilled.Record()
	until(t, "the event is sent", func() bool { return p.Stats().Sent == 1 })
	// The folder of the secrets cannot be written any more.
	sessions := filepath.Join(cfg.StateDir, "sessions")
	if err := os.Rename(sessions, sessions+"-"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sessions, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := deskFor(t, cfg).run("forget", secret.Reveal())
	if code != 1 || !strings.Contains(out, "UTC: 1 event of coffee.") || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "its telemetry is off until its next start") {
		t.Errorf("exit code %d, printed %s%s", code, out, errs)
	}
	if secret, _, ok := p.Secret(); ok {
		t.Errorf("a session goes on, with the id %s", secret.ID())
	}
	if n := strings.Count(book.text(), "off until the next start"); n != 1 || strings.Contains(book.text(), "memory only") {
		t.Errorf("the log says %d times that telemetry is off, want once and no more:\n%s", n, book.text())
	}
	p.spilled.Record()
	time.Sleep(10 * cfg.Interval)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.has(t, map[string]int{})
	if left, _ := os.ReadDir(liveDir(cfg.StateDir)); len(left) != 0 {
		t.Errorf("the socket is left: %v", left)
	}
}

// TestForgetARunningSessionWithoutASocket: it is erased, and whoever asked is told
// that it cannot be ended.
func TestForgetARunningSessionWithoutASocket(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	cfg.listen = noSocket
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	until(t, "the event is sent", func() bool { return p.Stats().Sent == 1 })
	secret, _, _ := p.Secret()
	out, errs, code := deskFor(t, cfg).run("forget")
	if code != 1 || !strings.Contains(out, "1 event of coffee") || !strings.Contains(errs, "cannot be asked and goes on with it") {
		t.Errorf("exit code %d, printed %s%s", code, out, errs)
	}
	// Its secret is not kept any more, and still it is known that it goes on.
	if _, errs, _ := deskFor(t, cfg).run("forget", secret.Reveal()); !strings.Contains(errs, "cannot be asked and goes on with it") {
		t.Errorf("by the secret, it says only %s", errs)
	}
	// A program of another app that can be asked is no reason to say less.
	tea := New("tea", 1)
	NewEvent(tea, "steeped", "A cup was steeped.")
	other := cfg
	other.listen = nil
	mustOpen(t, tea, other)
	if _, errs, _ := deskFor(t, cfg).run("forget", secret.Reveal()); !strings.Contains(errs, "cannot be asked and goes on with it") {
		t.Errorf("beside another program, it says only %s", errs)
	}
	tea.Close(t.Context())
	p.spilled.Record()
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.has(t, map[string]int{})
}

// TestForgetWhileRecording: whoever records meanwhile does not notice, and no
// event of the new session is lost.
func TestForgetWhileRecording(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	stop, stopped := make(chan struct{}), make(chan int64)
	go func() {
		for n := int64(0); ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			default:
				p.spilled.Record()
				time.Sleep(10 * time.Microsecond)
			}
		}
	}()
	d := deskFor(t, cfg)
	for range 5 {
		d.want("Erased on", "forget")
	}
	close(stop)
	recorded := <-stopped
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := p.Stats()
	if st.Recorded != recorded || st.Sent+st.Dropped != recorded {
		t.Errorf("got %+v, want all %d events counted", st, recorded)
	}
	for session := range c.counts() {
		if session != id(p) {
			t.Errorf("there are events of a session that was forgotten")
		}
	}
}

// hurry ends all waits.
func (e *erasing) hurry() {
	e.quiet = time.Time{}
	for from, w := range e.waits {
		e.waits[from] = erasingWait{wait: w.wait}
	}
}

// TestForgetWhileTheCollectorIsDown: the request is kept and shown, and the
// program that runs tries it again, no oftener than delivery does.
func TestForgetWhileTheCollectorIsDown(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	first := runOnce(t, cfg, 2)
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	d := deskFor(t, cfg)
	c.set(func() { c.down = true })
	d.refuse("the collector answered 503 and gave no receipt, so count on nothing being erased; try again later; the request is kept", "forget", first.Reveal())
	d.want("The erasure of session "+first.ID().String()+" waits for the collector since 20", "status")
	if s := d.readStatus(); len(s.Sessions) != 2 || s.Sessions[0].Asked == "" && s.Sessions[1].Asked == "" {
		t.Errorf("the status is %+v, want an erasure that waits", s.Sessions)
	}
	c.has(t, map[string]int{first.ID().String(): 2})
	c.set(func() { c.down = false })
	// It waits as after a failed delivery; the test does not.
	p.live.Load().do(t.Context(), p.live.Load().erasing.hurry)
	until(t, "it is erased", func() bool { return len(c.counts()) == 0 })
	until(t, "its receipt is kept", func() bool { return len(receipts(t, cfg.StateDir)) == 1 })
	until(t, "its secret is gone", func() bool { s := d.readStatus(); return len(s.Sessions) == 1 && s.Sessions[0].ID == id(p) })
	d.want("It is about the session of this secret.", "forget", "-verify", receipts(t, cfg.StateDir)[0], first.Reveal())
	p.Close(t.Context())
}

// TestErasuresWaitAsDeliveryDoes: the waits between the tries for an erasure grow
// as those of delivery, and keep to what the collector asks for.
func TestErasuresWaitAsDeliveryDoes(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	cfg.Interval = time.Hour
	runOnce(t, cfg, 1)
	c.set(func() { c.down = true })
	deskFor(t, cfg).refuse("the request is kept", "forget")
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	s := p.live.Load()
	wait := func() (d time.Duration) {
		if err := s.do(t.Context(), func() {
			s.erasing.hurry()
			s.tryErasures(t.Context())
			d = time.Until(s.erasing.waits[c.url].next)
		}); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for last := time.Duration(0); last < lastWait-time.Second; {
		d := wait()
		if d < firstWait/2 || d <= last || d > lastWait {
			t.Fatalf("after a wait of %v comes one of %v", last, d)
		}
		last = d
	}
	if d := wait(); d > lastWait {
		t.Errorf("the wait grows to %v", d)
	}
	c.set(func() { c.after = "900" })
	if d := wait(); d < 14*time.Minute || d > 15*time.Minute {
		t.Errorf("the collector asks for 900 s, and the wait is %v", d)
	}
	// Without a second look nothing is asked.
	n := len(c.requests())
	s.do(t.Context(), func() { s.tryErasures(t.Context()) })
	if len(c.requests()) != n {
		t.Error("an erasure is tried before its time")
	}
	p.Close(t.Context())
}

// TestErasuresWaitForForgetWhereTelemetryIsOff: off means no connection, so what
// waits is tried when somebody types forget.
func TestErasuresWaitForForgetWhereTelemetryIsOff(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	first := runOnce(t, cfg, 1)
	runOnce(t, cfg, 2)
	d := deskFor(t, cfg)
	d.want("Telemetry is off", "off")
	c.set(func() { c.down = true })
	d.refuse("the request is kept", "forget", first.Reveal())
	c.set(func() { c.down = false })
	runOnce(t, cfg, 1) // is off
	if n := len(c.requests()); n != 0 {
		t.Fatalf("%d requests reached the collector while telemetry is off", n)
	}
	out := d.want("Erased on", "forget", "-json=false")
	if strings.Count(out, "Erased on") != 2 {
		t.Errorf("forget prints\n%s\nwant the last session and the one that waited", out)
	}
	c.has(t, map[string]int{})
}

// TestForgetThrowsAwayWhatWaits: what an ended session has left is thrown away with it.
func TestForgetThrowsAwayWhatWaits(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	cfg.Interval = time.Hour
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Close(done); err != nil {
		t.Fatal(err)
	}
	deskFor(t, cfg).want("nothing of this session was there", "forget")
	runOnce(t, cfg, 0)
	c.has(t, map[string]int{})
	if len(c.arrived) != 0 {
		t.Error("what a forgotten session has left is sent")
	}
}

// TestReceiptsThatProveNothing: whatever comes in place of a receipt, the secret
// is kept, and it is said that nothing can be counted on.
func TestReceiptsThatProveNothing(t *testing.T) {
	_, stranger, _ := ed25519.GenerateKey(nil)
	for _, test := range []struct {
		name, want string
		edit       func(c *collector, receipt []byte) []byte
		shown      bool
	}{
		{"no JSON", "gave no receipt", func(*collector, []byte) []byte { return []byte("<html>") }, false},
		{"no receipt", "gave no receipt", func(*collector, []byte) []byte { return []byte(`{"erased":[]}`) }, false},
		{"without a signature", "gave no receipt", func(_ *collector, b []byte) []byte {
			return bytes.Replace(b, []byte(`"signature"`), []byte(`"sig"`), 1)
		}, false},
		{"changed on the way", "signature does not fit", func(_ *collector, b []byte) []byte {
			return bytes.Replace(b, []byte(`\"events\":1`), []byte(`\"events\":2`), 1)
		}, false},
		{"about another session", "about another session", func(c *collector, _ []byte) []byte { return c.receipt(plan.NewSecret(), "", "") }, false},
		{"about something else", "gave no receipt", func(c *collector, _ []byte) []byte { return c.sign(`{"kind":"invoice"}`) }, false},
		{"too large", "too large", func(c *collector, _ []byte) []byte { return c.sign(strings.Repeat("x", 1<<20)) }, false},
		{"by another key than the pinned one", "is not the one that was pinned at first contact", func(c *collector, _ []byte) []byte {
			s, _ := plan.ParseSecret(c.asked[len(c.asked)-1])
			own := c.key
			defer func() { c.key = own }()
			c.key = stranger
			return c.receipt(s, "", "")
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCollector(t)
			cfg := c.config(shortDir(t))
			secret := runOnce(t, cfg, 1)
			c.set(func() { c.edit = func(b []byte) []byte { return test.edit(c, b) } })
			d := deskFor(t, cfg)
			out, errs, code := d.run("forget")
			if code != 1 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, test.want) || (out != "") != test.shown {
				t.Errorf("exit code %d, printed %s%s, want one line with %s", code, out, errs, test.want)
			}
			if strings.Contains(errs, secret.Reveal()) {
				t.Errorf("the error repeats the secret: %s", errs)
			}
			if kept, _ := Kept(cfg.StateDir); len(kept) != 1 || kept[0].SentTo[0].Fault == "" {
				t.Errorf("%+v is kept, want the session, and why it was not erased", kept)
			}
			if n := len(receipts(t, cfg.StateDir)); n != 0 && !test.shown || test.shown && n != 1 {
				t.Errorf("%d receipts are kept", n)
			}
			d.want("The erasure of session "+secret.ID().String()+" was asked for at 20", "status")
			// A program that runs does not try it by itself; the next forget does.
			n := len(c.requests())
			runOnce(t, cfg, 0)
			if len(c.requests()) != n {
				t.Error("it is tried again by itself")
			}
			c.set(func() { c.edit = nil })
			d.want("Erased on", "forget", secret.Reveal())
			if kept, _ := Kept(cfg.StateDir); len(kept) != 1 || kept[0].ID == secret.ID() {
				t.Error("the session is kept although it was erased")
			}
		})
	}
}

// TestDamagedSessionFile: one digit of the secret is another one. It is named, nothing
// is asked, and the file stays.
func TestDamagedSessionFile(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := runOnce(t, cfg, 1)
	path := sessionFile(cfg.StateDir, secret.ID().String())
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(good, []byte(secret.Reveal()))
	bad := bytes.Clone(good)
	bad[at] = "10"[min(int(bad[at]-'0'), 1)]
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	d := deskFor(t, cfg)
	d.refuse(path+" is damaged", "forget")
	d.refuse(path+" is damaged", "show", "-remote", "-all")
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, bad) {
		t.Errorf("the file is changed or gone: %v", err)
	}
	if n := len(c.requests()); n != 0 {
		t.Errorf("the collector was asked %d times", n)
	}
	d.want("1 event of coffee", "forget", secret.Reveal()) // by whoever has the right one
}

// TestReceiptByAnotherKeyIsKept: it is the only proof that there will be, if the
// folder's owner accepts the key.
func TestReceiptByAnotherKeyIsKept(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := runOnce(t, cfg, 1)
	_, key, _ := ed25519.GenerateKey(nil)
	c.set(func() { c.key = key })
	d := deskFor(t, cfg)
	_, errs, code := d.run("forget")
	paths := receipts(t, cfg.StateDir)
	if code != 1 || len(paths) != 1 || !strings.Contains(errs, "the destination says that the session was erased, and its receipt is kept in "+paths[0]+", but it proves nothing until its key is accepted: the key of "+c.url) {
		t.Fatalf("exit code %d, printed %s, and %v are kept", code, errs, paths)
	}
	d.refuse("not pinned in this state folder", "forget", "-verify", paths[0])
	if err := os.Remove(filepath.Join(cfg.StateDir, pinFile)); err != nil {
		t.Fatal(err)
	}
	d.want("an earlier request has erased this session", "forget") // pins the new key
	d.want("Erased on", "forget", "-verify", paths[0], secret.Reveal())
}

// TestReceiptThatCannotBeKept: the erasure has happened and is said, and the receipt
// is printed, whatever of the state folder cannot be written.
func TestReceiptThatCannotBeKept(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		words bool
		want  string
	}{
		{"the folder of receipts", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "receipts"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, true, "the session was erased, but its receipt is nowhere but here, because it cannot be kept: keep the receipt: "},
		{"the keys", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, pinFile), []byte("[]"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, false, "the destination says that the session was erased, and its receipt is kept in "},
		{"the keys, at the first contact", func(t *testing.T, dir string) {
			unlock, err := lockDir(dir) // as long as another process has it, no key is pinned
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(unlock)
			if err := os.RemoveAll(filepath.Join(dir, pinFile)); err != nil {
				t.Fatal(err)
			}
		}, true, "the session was erased, and its receipt is kept in "},
		{"the whole folder", func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, true, "the session was erased, but its receipt is nowhere but here, because it cannot be kept: keep the receipt: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCollector(t)
			cfg := c.config(filepath.Join(shortDir(t), "s"))
			secret := runOnce(t, cfg, 1)
			test.spoil(t, cfg.StateDir)
			out, errs, code := deskFor(t, cfg).run("forget", secret.Reveal())
			_, raw, _ := strings.Cut(out, "{")
			if _, err := parseReceipt([]byte("{" + raw)); err != nil || strings.Contains(out, "Erased on") != test.words {
				t.Errorf("it prints %s, want the receipt", out)
			}
			if code != 1 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, test.want) {
				t.Errorf("exit code %d, and the errors %s, want one line with %s", code, errs, test.want)
			}
			c.has(t, map[string]int{})
		})
	}
}

// TestReceiptThatCannotBeKeptIsLogged: where a program that runs has carried out an
// erasure that waited, its log has the only proof.
func TestReceiptThatCannotBeKeptIsLogged(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := runOnce(t, cfg, 1)
	c.set(func() { c.down = true })
	deskFor(t, cfg).run("forget", secret.Reveal())
	if err := os.WriteFile(filepath.Join(cfg.StateDir, "receipts"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var book logBook
	cfg.Logger = book.logger()
	c.set(func() { c.down = false })
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	until(t, "the log says that it was erased", func() bool { return strings.Contains(book.text(), "an erasure that waited was carried out") })
	p.Close(t.Context())
	c.has(t, map[string]int{})
	log := book.text()
	_, quoted, _ := strings.Cut(log, " receipt=")
	quoted, _, _ = strings.Cut(quoted, "\n")
	raw, err := strconv.Unquote(quoted)
	if err != nil {
		t.Fatalf("the log has no receipt: %s", log)
	}
	if r, err := parseReceipt([]byte(raw)); err != nil || !r.of(secret) {
		t.Errorf("the log has %s: %v", raw, err)
	}
	if strings.Contains(log, secret.Reveal()) || strings.Contains(log, secret.ID().String()) {
		t.Errorf("the log has the secret or the id: %s", log)
	}
}

// TestKeyIsPinned: at first contact, for each origin, and never replaced.
func TestKeyIsPinned(t *testing.T) {
	c := newCollector(t)
	var log bytes.Buffer
	cfg := c.config(shortDir(t))
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	old := runOnce(t, cfg, 1)
	pins, err := readPins(cfg.StateDir)
	if err != nil || len(pins) != 1 || pins[c.url] != c.publicKey() {
		t.Fatalf("%v, %v are pinned, want the collector's key", pins, err)
	}
	first := c.publicKey()
	_, key, _ := ed25519.GenerateKey(nil)
	c.set(func() { c.key = key })
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	p.spilled.Record()
	until(t, "events are sent all the same", func() bool { return c.counts()[id(p)] == 2 })
	d := deskFor(t, cfg)
	until(t, "the new key is seen", func() bool { s := d.readStatus(); return len(s.Keys) == 1 && s.Keys[0].Changed })
	d.want("The collector's key has changed: the key of "+c.url+" is not the one that was pinned", "status")
	p.spilled.Record()
	until(t, "more is sent", func() bool { return c.counts()[id(p)] == 3 })
	if pins, _ := readPins(cfg.StateDir); pins[c.url] != first {
		t.Error("the pin was replaced")
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("the log warns %d times, want once:\n%s", n, &log)
	}
	if _, errs, code := d.run("forget", old.Reveal()); code != 1 || !strings.Contains(errs, "delete the line of that address in "+filepath.Join(cfg.StateDir, pinFile)) {
		t.Errorf("with a new key: exit code %d, %s", code, errs)
	}
	// The owner accepts it.
	if err := os.Remove(filepath.Join(cfg.StateDir, pinFile)); err != nil {
		t.Fatal(err)
	}
	p.spilled.Record()
	until(t, "the new key is pinned", func() bool { pins, _ := readPins(cfg.StateDir); return pins[c.url] == c.publicKey() })
	d.want("an earlier request has erased this session", "forget", old.Reveal()) // it was erased before
	p.Close(t.Context())
}

func TestOrigin(t *testing.T) {
	for url, want := range map[string]string{
		"https://Collector.Example/2/httpapi":  "https://collector.example",
		"https://collector.example:443/x":      "https://collector.example",
		"http://collector.example:80":          "http://collector.example",
		"http://collector.example:443/2":       "http://collector.example:443",
		"http://127.0.0.1:8080/2/httpapi?a=b":  "http://127.0.0.1:8080",
		"https://[2001:DB8::1]/2/httpapi":      "https://[2001:db8::1]",
		"https://[2001:db8::1]:8443/2/httpapi": "https://[2001:db8::1]:8443",
		"nonsense":                             "",
	} {
		if got := origin(url); got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}
}

// TestReceiptWithOneBitChanged: every bit of the file counts.
func TestReceiptWithOneBitChanged(t *testing.T) {
	c := newCollector(t)
	dir := shortDir(t)
	cfg := c.config(dir)
	secret := runOnce(t, cfg, 3)
	d := deskFor(t, cfg)
	d.want("3 events of coffee", "forget")
	path := receipts(t, dir)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d.want("It is about the session of this secret.", "forget", "-verify", path, secret.Reveal())
	changed := filepath.Join(dir, "changed.json")
	check := func(b []byte, want string, args ...string) {
		t.Helper()
		if err := os.WriteFile(changed, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, code := d.run(append([]string{"forget", "-verify", changed}, args...)...)
		if code != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, want) {
			t.Errorf("%q: exit code %d, printed %s%s, want one line with %s", b, code, out, errs, want)
		}
	}
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			check(b, "")
			if t.Failed() {
				t.Fatalf("byte %d, bit %d", i, bit)
			}
		}
	}
	check(bytes.Replace(good, []byte(`\"events\":3`), []byte(`\"events\":4`), 1), "the signature does not fit the receipt")
	check(good[:len(good)-10], "this is not a collector's receipt")
	check(append(bytes.Clone(good), good...), "this is not a collector's receipt")
	check(nil, "this is not a collector's receipt")
	check([]byte("{}"), "this is not a collector's receipt")
	check(good, "is a genuine receipt, but about another session", strings.Repeat("5a", 32))
	check(good, "64 hex digits", "5a")
	stranger := newCollector(t)
	check(stranger.receipt(secret, "", ""), "is signed by a key that is not pinned in this state folder")
	d.refuse("read the receipt", "forget", "-verify", filepath.Join(dir, "missing"))
	d.cfg.StateDir = shortDir(t)
	check(good, "no collector's key is pinned in this state folder")

	// Whoever has no state folder has the key from the collector.
	d.want("The receipt is genuine: signed by the given key,", "forget", "-verify", path, "-key", c.publicKey())
	d.want("It is about the session of this secret.", "forget", "-verify", path, "-key", c.publicKey(), secret.Reveal())
	check(good, "is signed by another key than the given one", "-key", stranger.publicKey())
	check(good, "the key is not a collector's", "-key", c.publicKey()[1:])
	check(bytes.Replace(good, []byte(`\"events\":3`), []byte(`\"events\":4`), 1), "the signature does not fit the receipt", "-key", c.publicKey())
	d.cfg.StateDir = dir
	if err := os.WriteFile(filepath.Join(dir, pinFile), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(good, "does not hold collectors' keys")
}

// TestVerifyAsJSON: the check is for machines too.
func TestVerifyAsJSON(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := runOnce(t, cfg, 3)
	d := deskFor(t, cfg)
	d.want("", "forget")
	var v struct {
		Valid   bool
		Origin  string
		Key     string
		Matches *bool `json:"session_matches"`
		Receipt struct{ Erased []erasedApp }
	}
	out := d.want("", "forget", "-verify", receipts(t, cfg.StateDir)[0], "-json", secret.Reveal())
	if err := json.Unmarshal([]byte(out), &v); err != nil || !v.Valid || v.Origin != c.url || v.Key != c.publicKey() || v.Matches == nil || !*v.Matches || len(v.Receipt.Erased) != 1 || v.Receipt.Erased[0].Events != 3 {
		t.Errorf("got %s, %v", out, err)
	}
}

// TestReceiptInWords: what was erased, what an earlier request has erased, and what
// was forwarded and so is not erased by this. What a terminal would obey is not
// printed.
func TestReceiptInWords(t *testing.T) {
	c := newCollector(t)
	f := func(erased, recipients, more, want string) {
		t.Helper()
		r, err := parseReceipt(c.sign(`{"kind":"erasure","time":"2026-11-24T02:36:02Z","session":"` + strings.Repeat("0", 64) +
			`","erased":` + erased + `,"recipients":` + recipients + more + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.words(); got != "Erased on 2026-11-24 02:36:02 UTC: "+want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	const coffee = `{"app":"coffee","events":3,"sessions":1}`
	f(`[]`, `[]`, ``, "nothing, because nothing of this session was there.")
	f(`[]`, `[]`, `,"erased_before":true`, "nothing, because an earlier request has erased this session.")
	f(`[`+coffee+`]`, `[]`, ``, "3 events of coffee.")
	f(`[`+coffee+`]`, `[]`, `,"erased_before":true`, "3 events of coffee, beside what an earlier request has erased.")
	f(`[`+coffee+`,{"app":"t\u001bea","events":1,"sessions":1,"properties":2}]`, `[]`, ``, "3 events of coffee, 1 event and 2 kept values of tea.")
	f(`[`+coffee+`]`, `[]`, `,"recipients_stated":false`, "3 events of coffee. Whether others were given events is not stated by who runs the collector.")
	f(`[`+coffee+`]`, `[]`, `,"recipients_stated":true`, "3 events of coffee.")
	const forwarded = " Events may have been forwarded to Ampli[31mtude, where this did not erase them."
	f(`[]`, `["Ampli\u001b[31mtude"]`, ``, "nothing, because nothing of this session was there."+forwarded)
	f(`[]`, `[{"name":"Ampli\u001b[31mtude","why":"x"}]`, ``, "nothing, because nothing of this session was there."+forwarded)
}

func FuzzReceipt(f *testing.F) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	c := &collector{key: key}
	good := c.receipt(plan.NewSecret(), `{"app":"coffee","events":3,"sessions":1}`, "")
	signed := map[string]bool{}
	if r, err := parseReceipt(good); err == nil {
		signed[r.payload] = true
	}
	f.Add(good)
	f.Add([]byte(`{"payload":"","key":"","signature":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReceipt(b)
		if err == nil && r.key == c.publicKey() && !signed[r.payload] {
			t.Errorf("%q passes, which the collector has not signed", b)
		}
	})
}

func TestShow(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	d := deskFor(t, cfg)
	d.refuse("no session is kept in the state folder, so there is nothing to show from here", "show", "-remote")
	first, second := runOnce(t, cfg, 1), runOnce(t, cfg, 2)
	d.cfg.Getenv = func(name string) string { return map[string]string{"COFFEE_OFF": "1"}[name] } // a typed order connects all the same
	out := d.want(`"user_id":"`+first.ID().String()+`"`, "show", "-remote", first.Reveal())
	if strings.Contains(out, first.Reveal()) || !json.Valid([]byte(out)) {
		t.Errorf("show prints %s", out)
	}
	out = d.want("", "show", "-remote", "-all")
	if strings.Count(out, `"app":"coffee"`) != 2 || strings.Count(out, "\n") != 2 {
		t.Errorf("show -all prints\n%s\nwant both sessions, one a line", out)
	}
	d.want(`"apps":[]`, "show", "-remote", strings.Repeat("5a", 32))
	d.refuse("64 hex digits", "show", "-remote", "5a")
	c.set(func() { c.down = true })
	d.refuse("the collector answered 503", "show", "-remote", second.Reveal())
	d.cfg.URL = AmplitudeURL
	d.refuse("only the project's owner can see them; the owner needs the user_id", "show", "-remote", strings.Repeat("5a", 32))
}

// TestErrorsNameTheSession: by when it started, where there are several.
func TestErrorsNameTheSession(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	runOnce(t, cfg, 1)
	d := deskFor(t, cfg)
	c.set(func() { c.down = true })
	_, errs, _ := d.run("forget")
	if strings.Contains(errs, "the session of") {
		t.Errorf("of one session it says\n%s", errs)
	}
	runOnce(t, cfg, 1)
	for _, order := range [][]string{{"forget", "-all"}, {"show", "-remote", "-all"}} {
		_, errs, _ := d.run(order...)
		lines := strings.Split(strings.TrimSpace(errs), "\n")
		kept, err := Kept(cfg.StateDir)
		if err != nil || len(lines) != 2 || len(kept) != 2 {
			t.Fatalf("%v: %v, and it says\n%s", order, err, errs)
		}
		for i, k := range kept {
			if !strings.HasPrefix(lines[i], "coffee telemetry: the session of "+k.Started.UTC().Format(time.DateTime)+" UTC: the collector answered 503") || strings.Contains(errs, k.Secret.Reveal()) {
				t.Errorf("%v: it says\n%s", order, errs)
			}
		}
	}
}

// TestCopiedStateFolder: a folder is copied to another machine, with events that
// wait. Both machines send them, and they count once; new sessions are new; what
// was sent is erased from either.
func TestCopiedStateFolder(t *testing.T) {
	c := newCollector(t)
	here, there := c.config(shortDir(t)), c.config(shortDir(t))
	here.Interval, there.Interval = time.Hour, time.Hour
	p := newCoffee()
	mustOpen(t, p.Client, here)
	old, _, _ := p.Secret()
	for range 3 {
		p.spilled.Record()
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Close(done); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(there.StateDir, os.DirFS(here.StateDir)); err != nil {
		t.Fatal(err)
	}
	a, b := newCoffee(), newCoffee()
	mustOpen(t, a.Client, here)
	mustOpen(t, b.Client, there)
	a.spilled.Record()
	b.spilled.Record()
	if id(a) == id(b) || id(a) == old.ID().String() || id(b) == old.ID().String() {
		t.Error("a session is not new")
	}
	for _, p := range []coffee{a, b} {
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.has(t, map[string]int{old.ID().String(): 3, id(a): 1, id(b): 1})
	deskFor(t, there).want("3 events of coffee", "forget", old.Reveal())
	c.has(t, map[string]int{id(a): 1, id(b): 1})
	deskFor(t, here).want("an earlier request has erased this session", "forget", old.Reveal())
	for _, cfg := range []Config{here, there} {
		if kept, err := Kept(cfg.StateDir); err != nil || len(kept) != 1 {
			t.Errorf("%d sessions are kept (%v), want the new one of that machine", len(kept), err)
		}
	}
}

// TestTheLastSessionDoesNotGoByTheClock: a board without a battery starts in 1970,
// and its last session is the last one all the same. One that runs comes before one
// that has ended since.
func TestTheLastSessionDoesNotGoByTheClock(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	d := deskFor(t, cfg)
	first := runOnce(t, cfg, 1)
	atZero := cfg
	atZero.now = func() time.Time { return time.Unix(100, 0) }
	second := runOnce(t, atZero, 2)
	third := runOnce(t, cfg, 3)
	fourth := runOnce(t, atZero, 4)
	if kept, err := Kept(cfg.StateDir); err != nil || len(kept) != 4 ||
		kept[0].Secret != first || kept[1].Secret != second || kept[2].Secret != third || kept[3].Secret != fourth {
		t.Errorf("%v, %v are kept, want the sessions in the order in which they began", kept, err)
	}
	d.want(" 4 events of coffee.", "forget")
	d.want(" 3 events of coffee.", "forget")

	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	defer p.Close(t.Context())
	for range 5 {
		p.spilled.Record()
	}
	until(t, "they are sent", func() bool { return p.Stats().Sent == 5 })
	runOnce(t, cfg, 6)
	d.want(`"n":5`, "show", "-remote")
	d.want(" 5 events of coffee.", "forget")
	c.has(t, map[string]int{first.ID().String(): 1, second.ID().String(): 2, lastOf(t, cfg): 6})
}

// lastOf returns the id of the session that has ended last.
func lastOf(t *testing.T, cfg Config) string {
	t.Helper()
	last := ""
	kept, err := Kept(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kept {
		if _, err := os.Stat(filepath.Join(liveDir(cfg.StateDir), k.ID.String()+socketEnding)); err != nil {
			last = k.ID.String()
		}
	}
	return last
}
