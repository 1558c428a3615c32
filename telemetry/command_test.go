package telemetry

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A desk is somebody at a terminal with coffee's command.
type desk struct {
	t   *testing.T
	cfg Config
}

// run carries out one command and returns what it printed and its exit code.
func (d desk) run(args ...string) (out, errs string, code int) {
	d.t.Helper()
	var stdout, stderr bytes.Buffer
	c := Command{Name: "coffee telemetry", Client: newCoffee().Client, Config: d.cfg, Out: &stdout, Err: &stderr}
	code = c.Run(d.t.Context(), args)
	return stdout.String(), stderr.String(), code
}

// want asserts what a command prints and that it succeeds.
func (d desk) want(want string, args ...string) string {
	d.t.Helper()
	out, errs, code := d.run(args...)
	if code != 0 || errs != "" || !strings.Contains(out, want) {
		d.t.Errorf("%v: exit code %d, printed %s%s, want %s", args, code, out, errs, want)
	}
	return out
}

// refuse asserts that a command fails with one line that says why.
func (d desk) refuse(want string, args ...string) {
	d.t.Helper()
	out, errs, code := d.run(args...)
	if code != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, want) {
		d.t.Errorf("%v: exit code %d, printed %s%s, want one line with %s", args, code, out, errs, want)
	}
}

func newDesk(t *testing.T) desk {
	return desk{t, Config{Version: "1.2.3", StateDir: filepath.Join(t.TempDir(), "state"), URL: "https://collector.test", APIKey: "key", EnvVar: "COFFEE_OFF", Getenv: noEnv}}
}

func TestCommandStatusOnOff(t *testing.T) {
	d := newDesk(t)
	d.want("on (nothing says off), sending to https://collector.test/2/httpapi", "status")
	if _, err := os.Stat(d.cfg.StateDir); !os.IsNotExist(err) {
		t.Error("status makes the state folder")
	}
	d.want("Telemetry is off", "off")
	d.want("off ("+filepath.Join(d.cfg.StateDir, "choice")+" says off)", "status")
	d.want("\nThe state folder is "+d.cfg.StateDir+".\n", "status")
	d.want("The choice is on", "on")
	d.want("says on, and nothing says off", "status")
	d.cfg.Getenv = func(name string) string { return map[string]string{"COFFEE_OFF": "1"}[name] }
	d.want("off (the environment variable COFFEE_OFF is set)", "on")
	var status struct {
		On     bool
		Source string
	}
	if err := json.Unmarshal([]byte(d.want("", "status", "-json")), &status); err != nil || status.On || status.Source != "COFFEE_OFF" {
		t.Errorf("got %+v, %v", status, err)
	}
	d.cfg.StateDir = ""
	d.refuse("there is no state folder", "off")
}

// TestOffSaysWhomItHasReached: somebody who names the wrong folder must not believe
// that the program is off.
func TestOffSaysWhomItHasReached(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	d := deskFor(t, cfg)
	out := d.want("for all programs that use the state folder "+cfg.StateDir+".", "off")
	if !strings.Contains(out, "No program was found that runs on it. One that runs on another folder goes on; to reach it, name its folder.\n") {
		t.Errorf("off prints\n%s", out)
	}
	d.want("The choice is on", "on")
	first, second := newCoffee(), newCoffee()
	mustOpen(t, first.Client, cfg)
	d.want("Off is carried out by 1 program that runs on it.\n", "off")
	d.want("The choice is on", "on")
	first = newCoffee()
	mustOpen(t, first.Client, cfg)
	mustOpen(t, second.Client, cfg)
	d.want("Off is carried out by 2 programs that run on it.\n", "off")
	first.Close(t.Context())
	second.Close(t.Context())

	// A folder that cannot be written.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.cfg.StateDir = filepath.Join(file, "state")
	d.refuse("; a program that runs on the state folder "+d.cfg.StateDir+" goes on until it is started anew with the environment variable COFFEE_OFF=1", "off")
}

func TestCommandPlan(t *testing.T) {
	d := newDesk(t)
	out := d.want("Lumps of sugar.", "plan")
	for _, name := range []string{"event_type", "user_id", "device_id", "uptime", "roast", "small or large", "insert_id", "Content-Length"} {
		if !strings.Contains(out, name) {
			t.Errorf("the list does not hold %s", name)
		}
	}
	p, err := newCoffee().Plan()
	if err != nil {
		t.Fatal(err)
	}
	if out := d.want("", "plan", "-json"); out != string(p.JSON()) {
		t.Error("the list in JSON is not the plan")
	}
}

// TestPreviewIsWhatIsSent compares the preview with the bytes on a connection.
func TestPreviewIsWhatIsSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var wire bytes.Buffer
		req, err := http.ReadRequest(newTee(c, &wire))
		if err == nil {
			io.Copy(io.Discard, req.Body)
		}
		sent <- wire.String()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"code\":200}")
	}()
	d := newDesk(t)
	d.cfg.URL, d.cfg.APIKey = "", ""
	if out := d.want("No destination is configured, so nothing would be sent anywhere.", "preview"); strings.Contains(out, "amplitude") || !strings.Contains(out, "\nPOST /2/httpapi HTTP/1.1\r\nHost: collector.example\r\n") {
		t.Errorf("without a destination it prints\n%s", out)
	}
	d.cfg.APIKey = "key"
	d.want("\r\nHost: api2.amplitude.com\r\n", "preview")
	d.cfg.URL = "http://" + l.Addr().String()
	d.want("Nothing waits to be sent", "preview")

	// A session ends with an event that it could not send.
	c := newCoffee()
	mustOpen(t, c.Client, d.cfg)
	c.brewed.Record(large, 2)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Close(done); err != nil {
		t.Fatal(err)
	}
	preview := d.want(`"event_type":"brewed"`, "preview")
	d.want("Events that wait in the state folder: 1.", "status")

	next := newCoffee()
	mustOpen(t, next.Client, d.cfg)
	if err := next.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-sent; strings.TrimSpace(got) != strings.TrimSpace(preview) {
		t.Errorf("the preview is\n%s\nand what was sent\n%s", preview, got)
	}
	d.want("Nothing waits to be sent", "preview")
}

func TestCommandTest(t *testing.T) {
	var bodies []string
	status, answer := 200, `{"code":200,"events_ingested":0}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(b))
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	d := newDesk(t)
	d.cfg.URL = srv.URL
	d.cfg.Getenv = func(name string) string { return map[string]string{"COFFEE_OFF": "1"}[name] } // a typed order connects all the same
	d.want("It takes events with this API key. None was sent.", "test")
	if len(bodies) != 1 || bodies[0] != `{"api_key":"key","events":[]}` {
		t.Errorf("the test sent %s", bodies)
	}
	status, answer = 400, `{"code":400,"error":"Invalid API key: x"}`
	if out, errs, code := d.run("test"); code != 1 || !strings.Contains(errs, "does not know the API key") {
		t.Errorf("with a wrong key: exit code %d, %s%s", code, out, errs)
	}
	status, answer = 404, "not here"
	if out, errs, code := d.run("test"); code != 1 || !strings.Contains(errs, "does not take events") {
		t.Errorf("at a wrong path: exit code %d, %s%s", code, out, errs)
	}
	// What says 200 need not be the destination: a login page of the network does too.
	for _, page := range []string{"<html>Welcome to the hotel</html>", "", `{"success":true}`, `{"code":400}`} {
		status, answer = 200, page
		if out, errs, code := d.run("test"); code != 1 || strings.Contains(out, "takes events") || !strings.Contains(errs, "something else answers in the destination's place") {
			t.Errorf("where 200 comes with %q: exit code %d, %s%s", page, code, out, errs)
		}
	}
	for _, busy := range []int{503, 500, 429} {
		status, answer = busy, "not now"
		if _, errs, code := d.run("test"); code != 1 || !strings.Contains(errs, "cannot take events now; try again later") || strings.Contains(errs, "URL") {
			t.Errorf("with %d: exit code %d, %s", busy, code, errs)
		}
	}
	srv.Close()
	d.refuse("cannot be reached", "test")
	d.cfg.URL, d.cfg.APIKey = "", ""
	d.refuse("no destination", "test")
}

// TestCommandUsage: what was wrong stands in the first line, without what was typed,
// and help that was asked for is no error.
func TestCommandUsage(t *testing.T) {
	d := newDesk(t)
	for want, args := range map[string][]string{
		"name a command":                                      {},
		"there is no such command":                            {"statcanary"},
		"status has no such flag":                             {"status", "-canary"},
		"status has no flag -all":                             {"status", "-all"},
		"off has no flag -json":                               {"off", "-json"},
		"plan takes no argument":                              {"plan", "canary"},
		"forget takes one argument, and flags come before it": {"forget", "canary", "-json"},
		"show takes one argument, and flags come before it":   {"show", "-remote", "canary", "b"},
		"show asks the collector, so say -remote; what is here is shown by status and preview": {"show"},
		"-key goes with -verify, and takes a collector's key":                                  {"forget", "-key", "canary"},
		"-verify checks one receipt; leave -all out":                                           {"forget", "-verify", "canary", "-all"},
		"-verify takes the name of a file":                                                     {"forget", "-verify", ""},
		"-diff takes the name of a file":                                                       {"plan", "-diff", ""},
		"the secret is empty; it is 64 hex digits":                                             {"forget", ""},
		"a flag of status lacks its value, or has one that it does not take":                   {"status", "-json=canary"},
		"a flag of plan lacks its value, or has one that it does not take":                     {"plan", "-diff"},
	} {
		out, errs, code := d.run(args...)
		if code != 2 || out != "" || !strings.HasPrefix(errs, "coffee telemetry: "+want+"\n") || !strings.Contains(errs, "For example: coffee telemetry status") || strings.Contains(errs, "canary") {
			t.Errorf("%v: exit code %d, printed %s%s, want %s and the usage", args, code, out, errs, want)
		}
	}
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}, {"-help"}, {"status", "-h"}, {"forget", "--help"}} {
		d.want("For example: coffee telemetry status", args...)
	}
}

// newTee reads from r and keeps what was read.
func newTee(r io.Reader, kept io.Writer) *bufio.Reader {
	return bufio.NewReader(io.TeeReader(r, kept))
}

// TestExposedDestination: whoever sends over http to another machine is told so, by
// status, and before the secret is shown to anybody.
func TestExposedDestination(t *testing.T) {
	const words = ", and the secret that shows and erases it, can be read on the way, because http:// is not encrypted; use https://.\n"
	for url, exposed := range map[string]string{
		"http://collector.test": "http://collector.test", "http://10.0.0.7:8080/2/httpapi": "http://10.0.0.7:8080",
		"http://localhost.test": "http://localhost.test", "http://[2001:db8::1]": "http://[2001:db8::1]",
		"https://collector.test": "", "http://127.0.0.1:1": "", "http://127.8.8.8": "", "http://LOCALHOST:1": "",
		"http://a.localhost.": "", "http://[::1]:1": "", "http://[::ffff:127.0.0.1]:1": "",
	} {
		d := newDesk(t)
		d.cfg.URL, d.cfg.Transport = url, new(endpoint)
		want := "What is sent to " + exposed + words
		if out := d.want("sending to", "status"); strings.Contains(out, want) != (exposed != "") || strings.Contains(out, words) != (exposed != "") {
			t.Errorf("status for %s prints\n%s", url, out)
		}
		for _, args := range [][]string{{"forget", strings.Repeat("1", 64)}, {"show", "-remote", strings.Repeat("1", 64)}} {
			out, errs, code := d.run(args...)
			if code != 1 || out != "" || strings.HasPrefix(errs, want) != (exposed != "") || strings.Contains(errs, words) != (exposed != "") {
				t.Errorf("%s for %s: exit code %d, printed %s%s", args[0], url, code, out, errs)
			}
		}
	}
}

// TestSecretFromInput: a secret need not be an argument, which others can see.
func TestSecretFromInput(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := runOnce(t, cfg, 3)
	run := func(in io.Reader, args ...string) (out, errs string, code int) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if in == nil { // somebody who types nothing, and then Ctrl-C
			r, w := io.Pipe()
			defer w.Close()
			in = r
			cancel()
		}
		code = Command{Name: "coffee telemetry", Client: newCoffee().Client, Config: cfg, In: in, Out: &stdout, Err: &stderr}.Run(ctx, args)
		return stdout.String(), stderr.String(), code
	}
	if out, errs, code := run(strings.NewReader(secret.Reveal()+"\nmore"), "show", "-remote", "-"); code != 0 || !strings.Contains(out, `"n":3`) {
		t.Errorf("show: exit code %d, printed %s%s", code, out, errs)
	}
	for in, want := range map[string]string{
		"": "standard input holds no secret", "\n": "standard input holds no secret", "canary\n": "64 hex digits", strings.Repeat("canary", 1000): "64 hex digits",
	} {
		if out, errs, code := run(strings.NewReader(in), "forget", "-"); code != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, want) || strings.Contains(errs, "canary") {
			t.Errorf("%q: exit code %d, printed %s%s", in, code, out, errs)
		}
	}
	if _, errs, code := run(nil, "forget", "-"); code != 1 || !strings.Contains(errs, "interrupted before a secret was read") {
		t.Errorf("interrupted: exit code %d, printed %s", code, errs)
	}
	if n := len(c.requests()); n != 0 {
		t.Errorf("%d requests without a secret", n)
	}
	if out, errs, code := run(strings.NewReader(" "+secret.Reveal()), "forget", "-"); code != 0 || !strings.Contains(out, "3 events of coffee") {
		t.Errorf("forget: exit code %d, printed %s%s", code, out, errs)
	}
	receipt := receipts(t, cfg.StateDir)[0]
	if out, errs, code := run(strings.NewReader(secret.Reveal()), "forget", "-verify", receipt, "-"); code != 0 || !strings.Contains(out, "It is about the session of this secret.") {
		t.Errorf("verify: exit code %d, printed %s%s", code, out, errs)
	}
}
