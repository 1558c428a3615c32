package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// newer is coffee in a later version, which can say more: a field of the session,
// a field of an event, an event, and a word.
type newer struct {
	*Client
	brewed  Event3[size, Count, Milliseconds]
	spilled Event0
	roasted Event0
}

func newNewer() newer {
	c := New("coffee", 2)
	n := newer{
		Client:  c,
		spilled: NewEvent(c, "spilled", "A cup was spilled, said in other words."),
		roasted: NewEvent(c, "roasted", "Beans were roasted."),
		brewed: NewEvent3(c, "brewed", "A cup was brewed.", EnumField[size]("size", "Size of the cup.", "small", "large", "huge"),
			CountField("sugar", "Lumps of sugar."), MillisecondsField("took", "How long it took.")),
	}
	NewSession(c, EnumField[size]("roast", "How dark the beans are.", "light", "dark")).Set(large)
	NewSession(c, FlagField("milk", "Whether there is milk.")).Set(Yes)
	return n
}

// recorded opens the newer version, records one event of each type, and returns
// what was sent.
func (n newer) recorded(t *testing.T, cfg Config, e *endpoint) string {
	t.Helper()
	before := e.count()
	mustOpen(t, n.Client, cfg)
	n.spilled.Record()
	n.roasted.Record()
	n.brewed.Record(large, 2, 30)
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.count() != before+1 {
		t.Fatalf("%d requests, want one", e.count()-before)
	}
	return e.bodies[before]
}

// TestNewVersionOfAPlan: what a new version can say beyond the accepted plan is
// said at its start and in status, and is off until somebody accepts it.
func TestNewVersionOfAPlan(t *testing.T) {
	var e endpoint
	var log bytes.Buffer
	cfg := e.config()
	cfg.StateDir, cfg.Interval = t.TempDir(), time.Hour
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	first := newCoffee()
	first.roast.Set(small)
	mustOpen(t, first.Client, cfg) // accepts its plan
	if held := first.HeldBack(); len(held) != 0 {
		t.Errorf("%q is held back at the first start", held)
	}
	first.Close(t.Context())
	if info, err := os.Stat(acceptedPath(cfg.StateDir, "coffee")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the accepted plan: %v, %v", info, err)
	}
	if log.Len() > 0 {
		t.Errorf("the first start logs\n%s", &log)
	}

	held := []string{"milk", "roasted", "brewed.size", "brewed.took"}
	n := newNewer()
	body := n.recorded(t, cfg, &e)
	if got := n.HeldBack(); !slices.Equal(got, held) {
		t.Errorf("%q is held back, want %q", got, held)
	}
	for _, want := range []string{`"event_type":"spilled"`, `"user_properties":{"roast":"dark"}`, `"sugar":2`, `-1","event_properties":{"uptime":0,"sugar":2}}`} {
		if !strings.Contains(body, want) {
			t.Errorf("the request is %s, want %s in it", body, want)
		}
	}
	for _, unwanted := range []string{"milk", "roasted", "large", "took"} {
		if strings.Contains(body, unwanted) {
			t.Errorf("the request is %s, want no %s in it", body, unwanted)
		}
	}
	if s := n.Stats(); s.Recorded != 2 || s.Sent != 2 || s.Missing != 0 {
		t.Errorf("got %+v, want two events recorded, and sent whole", s)
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), `new="milk, roasted, brewed.size, brewed.took"`) {
		t.Errorf("the start logs\n%s\nwant one line that names what is new", &log)
	}

	// Status says it, the preview shows what would be sent, and on accepts.
	run := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := (Command{Name: "coffee telemetry", Client: newNewer().Client, Config: cfg, Out: &out, Err: &errs}).Run(t.Context(), args); code != 0 {
			t.Errorf("%v: exit code %d, %s", args, code, &errs)
		}
		return out.String()
	}
	if out := run("status"); !strings.Contains(out, "New in this version, and off until you accept it with the command \"on\": roasted.\n") {
		t.Errorf("status prints\n%s", out)
	}
	var s status
	if err := json.Unmarshal([]byte(run("status", "-json")), &s); err != nil || !slices.Equal(s.Held, held) {
		t.Errorf("status says %q, %v", s.Held, err)
	}
	if out := run("preview"); strings.Contains(out, "roasted") || strings.Contains(out, "took") || strings.Contains(out, "milk") || !strings.Contains(out, "spilled") {
		t.Errorf("the preview is\n%s", out)
	}
	if out := run("on"); !strings.Contains(out, "Accepted what was held back: milk, roasted, brewed.size, brewed.took.\n") {
		t.Errorf("on prints\n%s", out)
	}
	n = newNewer()
	body = n.recorded(t, cfg, &e)
	for _, want := range []string{`"roast":"dark","milk":true`, `"event_type":"roasted"`, `"size":"large","sugar":2,"took":30`} {
		if !strings.Contains(body, want) {
			t.Errorf("after on the request is %s, want %s in it", body, want)
		}
	}
	if len(n.HeldBack()) != 0 || strings.Contains(run("status"), "New in this version") {
		t.Error("after on something is held back")
	}

	// The older version says less, so nothing is new in it.
	older := newCoffee()
	mustOpen(t, older.Client, cfg)
	if held := older.HeldBack(); len(held) != 0 {
		t.Errorf("the older version holds back %q", held)
	}
	older.Close(t.Context())
}

// TestHeldBackIsNotSentLater: what was recorded while a field was held back is
// sent by a later start without it, although it was accepted meanwhile.
func TestHeldBackIsNotSentLater(t *testing.T) {
	var e endpoint
	cfg := e.config()
	cfg.StateDir, cfg.Interval = t.TempDir(), time.Hour
	p, err := newCoffee().Plan()
	if err != nil {
		t.Fatal(err)
	}
	if err := AcceptPlan(cfg.StateDir, p); err != nil {
		t.Fatal(err)
	}
	n := newNewer()
	mustOpen(t, n.Client, cfg)
	n.brewed.Record(large, 2, 30)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Close(done); err != nil {
		t.Fatal(err)
	}
	if p, err = newNewer().Plan(); err != nil {
		t.Fatal(err)
	}
	if err := AcceptPlan(cfg.StateDir, p); err != nil {
		t.Fatal(err)
	}
	n = newNewer()
	mustOpen(t, n.Client, cfg)
	n.Close(t.Context())
	e.check(t, 1)
	if strings.Contains(e.bodies[0], "took") || strings.Contains(e.bodies[0], "milk") {
		t.Errorf("what was held back is sent: %s", e.bodies[0])
	}
}

// TestAcceptedPlanCannotBeRead: when in doubt, nothing is sent.
func TestAcceptedPlanCannotBeRead(t *testing.T) {
	tea := New("tea", 1)
	NewEvent(tea, "steeped", "")
	other, err := tea.Plan()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"empty": "", "garbage": "garbage", "of another app": string(other.JSON())} {
		t.Run(name, func(t *testing.T) {
			var e endpoint
			cfg := e.config()
			cfg.StateDir = t.TempDir()
			if err := os.WriteFile(acceptedPath(cfg.StateDir, "coffee"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			c := newCoffee()
			mustOpen(t, c.Client, cfg)
			c.spilled.Record()
			c.brewed.Record(small, 1)
			if held := c.HeldBack(); len(held) != 1 || !strings.HasPrefix(held[0], "everything, because "+cfg.StateDir) {
				t.Errorf("%q is held back", held)
			}
			c.Close(t.Context())
			if e.count() != 0 {
				t.Error("something was sent")
			}
			if b, _ := os.ReadFile(acceptedPath(cfg.StateDir, "coffee")); string(b) != content {
				t.Error("a start has replaced what somebody accepted")
			}
		})
	}
}

// TestNothingIsHeldBackWithoutAFolder: there is nothing to compare with.
func TestNothingIsHeldBackWithoutAFolder(t *testing.T) {
	var e endpoint
	if body := newNewer().recorded(t, e.config(), &e); !strings.Contains(body, `"took":30`) || !strings.Contains(body, "roasted") {
		t.Errorf("the request is %s", body)
	}
}

// TestPlanDiff: exit code 0 for plans that say the same, 1 for others, as diff.
func TestPlanDiff(t *testing.T) {
	d := newDesk(t)
	write := func(p *plan.Plan, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "plan.json")
		if err := os.WriteFile(path, p.JSON(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	d.want("The plans say the same.\n", "plan", "-diff", write(newCoffee().Plan()))
	later := write(newNewer().Plan())
	out, errs, code := d.run("plan", "-diff", later)
	want := `CHANGE   EVENT        FIELD        WHAT
removed  every event  milk
changed  brewed       size         words: [small large huge], now [small large]
removed  brewed       took
changed  spilled      (the event)  description
removed  roasted      (the event)
`
	if out != want || errs != "" || code != 1 {
		t.Errorf("exit code %d, %s, printed\n%s\nwant\n%s", code, errs, out, want)
	}
	out, errs, code = d.run("plan", "-diff", later, "-json")
	var v struct {
		Old, New int
		Changes  []plan.Change
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Old != 2 || v.New != 1 || len(v.Changes) != 5 || code != 1 || errs != "" {
		t.Errorf("exit code %d, %s, %v, printed %s", code, errs, err, out)
	}
	d.refuse("read the older plan", "plan", "-diff", "missing")
	bad := filepath.Join(t.TempDir(), "bad")
	os.WriteFile(bad, []byte("{}"), 0o600)
	d.refuse("is not a plan; give a file", "plan", "-diff", bad)
}

// TestNewHeaderIsAnnounced: what travels with each request cannot be held back, so
// the start and status say it until somebody accepts it.
func TestNewHeaderIsAnnounced(t *testing.T) {
	var e endpoint
	var log bytes.Buffer
	cfg := e.config()
	cfg.StateDir = t.TempDir()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	run := func(cfg Config) {
		t.Helper()
		c := newCoffee()
		mustOpen(t, c.Client, cfg)
		if held := c.HeldBack(); len(held) != 0 {
			t.Errorf("%q is held back", held)
		}
		c.Close(t.Context())
	}
	run(cfg)
	if log.Len() > 0 {
		t.Errorf("the first start logs\n%s", &log)
	}
	cfg.Gzip = true
	d := deskFor(t, cfg)
	d.want("Content-Encoding", "plan")
	d.want(`"name": "Content-Encoding"`, "plan", "-json")
	d.want("because it travels with each request: Content-Encoding;", "status")
	run(cfg)
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "new=Content-Encoding") {
		t.Errorf("the start logs\n%s", &log)
	}
	d.want("Accepted what is new and travels with each request: Content-Encoding.\n", "on")
	log.Reset()
	run(cfg)
	if out := d.want("", "status"); log.Len() > 0 || strings.Contains(out, "New in this version") {
		t.Errorf("after on the start logs\n%s\nand status prints\n%s", &log, out)
	}
	// On an empty folder the first start accepts all that it can print.
	cfg.StateDir = t.TempDir()
	run(cfg)
	run(cfg)
	if log.Len() > 0 {
		t.Errorf("starts on a new folder log\n%s", &log)
	}
}

// TestAcceptedPlanIsGone: the first start on an empty folder accepts the plan that it
// can print, and no other start does.
func TestAcceptedPlanIsGone(t *testing.T) {
	var e endpoint
	cfg := e.config()
	cfg.StateDir = t.TempDir()
	open := func() coffee {
		c := newCoffee()
		mustOpen(t, c.Client, cfg)
		c.spilled.Record()
		c.Close(t.Context())
		return c
	}
	open()
	e.check(t, 1)
	path := acceptedPath(cfg.StateDir, "coffee")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c := open()
	e.check(t, 1)
	want := "everything, because " + path + " is gone, and earlier sessions are kept here"
	if held := c.HeldBack(); !slices.Equal(held, []string{want}) {
		t.Errorf("%q is held back", held)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a start has accepted the plan in place of somebody")
	}
	d := deskFor(t, cfg)
	d.want(want, "status")
	d.want("Accepted what was held back", "on")
	open()
	e.check(t, 2)

	// Sessions of another program say nothing about this one.
	tea := New("tea", 1)
	steeped := NewEvent(tea, "steeped", "")
	mustOpen(t, tea, cfg)
	steeped.Record()
	tea.Close(t.Context())
	e.check(t, 3)
}
