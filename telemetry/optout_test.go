package telemetry

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// TestDecide is the whole table: each value of each source, and which wins.
func TestDecide(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	target := Config{URL: "https://collector.test", APIKey: "k", EnvVar: "COFFEE_OFF", Getenv: env()}
	with := func(change func(*Config)) Config {
		c := target
		change(&c)
		return c
	}
	f := func(name string, c Config, wantOn bool, wantSource string) {
		t.Helper()
		d, err := Decide(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d.On != wantOn || d.Source != wantSource {
			t.Errorf("%s: got %v by %q, want %v by %q", name, d.On, d.Source, wantOn, wantSource)
		}
	}
	f("destination only", target, true, "default")
	f("nothing", Config{Getenv: env()}, false, "destination")
	f("url without key", Config{URL: "https://x.test", Getenv: env()}, false, "destination")
	for _, name := range []string{"COFFEE_OFF", "DO_NOT_TRACK"} {
		for _, v := range []string{"1", "true", "yes", "on", "TRUE", "anything", " 1 ", "-1", "00", " ", " 0 ", "no\n"} {
			f(name+"="+v, with(func(c *Config) { c.Getenv = env(name, v) }), false, name)
		}
		for _, v := range []string{"", "0", "false", "no", "off", "FALSE", "No"} {
			f(name+"="+v, with(func(c *Config) { c.Getenv = env(name, v) }), true, "default")
		}
	}
	f("another program's variable", with(func(c *Config) { c.Getenv = env("TEA_OFF", "1") }), true, "default")
	for word, on := range map[Word]bool{Silent: true, On: true, Off: false} {
		source := "flag"
		if word == Silent {
			source = "default"
		}
		f("a setting", with(func(c *Config) { c.Settings = []Setting{{"flag", word}} }), on, source)
	}
	f("off wins over on", with(func(c *Config) { c.Settings = []Setting{{"flag", On}, {"file", Off}, {"choice", On}} }), false, "file")
	f("the environment wins over on", with(func(c *Config) {
		c.Settings = []Setting{{"flag", On}}
		c.Getenv = env("DO_NOT_TRACK", "1")
	}), false, "DO_NOT_TRACK")
	f("CI with an explicit destination", with(func(c *Config) { c.Getenv = env("CI", "true") }), true, "default")
	builtIn := Config{BuiltInURL: "https://x.test", BuiltInAPIKey: "k"}
	builtIn.Getenv = env("CI", "true")
	f("CI with the built-in destination", builtIn, false, "CI")
	builtIn.Getenv = env("CI", "false")
	f("CI=false", builtIn, true, "default")
	f("off says so before a broken URL is looked at", Config{URL: ":", APIKey: "k", EnvVar: "X", Getenv: env("X", "1")}, false, "X")
}

// TestConsent is the table of what happens before and after a choice was made.
func TestConsent(t *testing.T) {
	f := func(consent Consent, choice Word, noticed bool, wantOn bool, wantSource string) {
		t.Helper()
		dir := t.TempDir()
		if choice != Silent {
			if err := WriteChoice(dir, choice); err != nil {
				t.Fatal(err)
			}
		}
		if noticed {
			p, err := newCoffee().Plan()
			if err != nil {
				t.Fatal(err)
			}
			if err := keepNotice(dir, p); err != nil {
				t.Fatal(err)
			}
		}
		d, err := Decide(Config{URL: "https://c.test", APIKey: "k", Consent: consent, StateDir: dir, Getenv: noEnv})
		if err != nil {
			t.Fatal(err)
		}
		if source := strings.TrimPrefix(d.Source, dir+"/"); d.On != wantOn || source != wantSource {
			t.Errorf("consent %d, choice %d, noticed %v: got %v by %s, want %v by %s", consent, choice, noticed, d.On, source, wantOn, wantSource)
		}
	}
	for _, noticed := range []bool{false, true} {
		f(OptOut, Silent, noticed, true, "default")
		f(OptIn, Silent, noticed, false, "consent")
		for _, consent := range []Consent{OptOut, Notice, OptIn} {
			f(consent, On, noticed, true, "choice")
			f(consent, Off, noticed, false, "choice")
		}
	}
	f(Notice, Silent, false, false, "notice")
	f(Notice, Silent, true, true, "default")
}

// TestNotice: the first start on a state folder sends nothing, the second does.
func TestNotice(t *testing.T) {
	var e endpoint
	cfg := e.config()
	cfg.Consent, cfg.StateDir = Notice, filepath.Join(t.TempDir(), "state")
	for start, want := range []int{0, 1} {
		c := newCoffee()
		mustOpen(t, c.Client, cfg)
		c.spilled.Record()
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := c.Decision(); d.On != (start == 1) {
			t.Errorf("start %d: the decision is %v", start, d)
		}
		e.check(t, want)
	}
}

// TestDamagedChoiceIsOff: when in doubt, nothing is sent.
func TestDamagedChoiceIsOff(t *testing.T) {
	for content, want := range map[string]Word{"on\n": On, "off\n": Off, "": Off, "ON": Off, "garbage": Off} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "choice"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := ReadChoice(dir); got != want {
			t.Errorf("%q is read as %d, want %d", content, got, want)
		}
	}
}

// TestWhyAFileCountsAsOff: a choice that was not made is not said to be one.
func TestWhyAFileCountsAsOff(t *testing.T) {
	d := newDesk(t)
	choice, accepted := filepath.Join(d.cfg.StateDir, "choice"), acceptedPath(d.cfg.StateDir, "coffee")
	write := func(path, content string) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(path), os.MkdirAll(d.cfg.StateDir, 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	unreadable := func(path string) { // as a folder is, for anybody
		t.Helper()
		if err := errors.Join(os.RemoveAll(path), os.MkdirAll(path, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	write(choice, "off\n")
	d.want(": off ("+choice+" says off).", "status")
	write(choice, "canary")
	if out := d.want(": off ("+choice+" holds neither on nor off, and counts as off; ", "status"); strings.Contains(out, "canary") {
		t.Errorf("status repeats what is in the file:\n%s", out)
	}
	unreadable(choice)
	d.want(": off ("+choice+" cannot be read, and counts as off; ", "status")
	os.RemoveAll(choice)

	write(accepted, "{}")
	d.want("everything, because "+accepted+" holds no plan of coffee.", "status")
	unreadable(accepted)
	d.want("everything, because "+accepted+" cannot be read.", "status")
}

func TestDestination(t *testing.T) {
	f := func(url, want string) {
		t.Helper()
		d, err := Decide(Config{URL: url, APIKey: "k", Getenv: noEnv})
		if err != nil || d.URL != want {
			t.Errorf("%s: got %s, %v; want %s", url, d.URL, err, want)
		}
	}
	f("", AmplitudeURL)
	f("https://c.test", "https://c.test/2/httpapi")
	f("https://c.test/", "https://c.test/2/httpapi")
	f("http://127.0.0.1:8080/batch", "http://127.0.0.1:8080/batch")
	f("http://[::1]:8080", "http://[::1]:8080/2/httpapi")

	for _, bad := range []string{"canary", "ftp://canary.test", "https://", "https://canary:canary@c.test", "http://c.test:canary", "//canary.test/x"} {
		d, err := Decide(Config{URL: bad, APIKey: "k", Getenv: noEnv})
		if err == nil || d.On {
			t.Errorf("%s is accepted", bad)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error repeats the URL: %v", err)
		}
	}
}

// TestOffDoesNothing: no connection, no goroutine, no file.
func TestOffDoesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	srv := &http.Server{ConnState: func(net.Conn, http.ConnState) { connections.Add(1) }}
	go srv.Serve(l)
	defer srv.Close()
	state := filepath.Join(t.TempDir(), "state")
	cfg := Config{
		URL: "http://" + l.Addr().String(), APIKey: "k", StateDir: state, Interval: 1, EnvVar: "COFFEE_OFF",
		Getenv: func(name string) string { return map[string]string{"COFFEE_OFF": "1"}[name] },
	}
	before := runtime.NumGoroutine()
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	for range 1000 {
		c.spilled.Record()
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines were started", n-before)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
	if _, err := os.Stat(state); !os.IsNotExist(err) {
		t.Error("the state folder was made")
	}
	if s := c.Stats(); s != (Stats{}) {
		t.Errorf("got %+v, want nothing recorded", s)
	}
	if d := c.Decision(); d.On || d.Source != "COFFEE_OFF" {
		t.Errorf("the decision is %v", d)
	}

	// The same configuration, on, does all that: the checks above can fail.
	cfg.Getenv = noEnv
	on := newCoffee()
	mustOpen(t, on.Client, cfg)
	on.spilled.Record()
	on.Close(t.Context())
	if connections.Load() == 0 {
		t.Error("no connection was opened with telemetry on")
	}
	if _, err := os.Stat(state); err != nil {
		t.Errorf("no state folder was made with telemetry on: %v", err)
	}
}
