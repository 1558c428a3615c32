package telemetry

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A state folder may have any path: a socket that is too long for the system is
// reached by its folder's descriptor.
func TestLongPathHasASocket(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(filepath.Join(shortDir(t), strings.Repeat("long", 30)))
	cfg.Interval = time.Hour
	if err := os.MkdirAll(liveDir(cfg.StateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(liveDir(cfg.StateDir), "stale.sock")
	l, err := listenAt(stale)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(stale, stale+".moved"); err != nil { // Close would remove it
		t.Fatal(err)
	}
	l.Close()
	if err := os.Rename(stale+".moved", stale); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(stale, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	defer p.Close(t.Context())
	if _, err := os.Stat(stale); err == nil {
		t.Error("an old socket of nobody is left")
	}
	d := deskFor(t, cfg)
	if s := d.readStatus(); len(s.Running) != 1 || s.Running[0].ID != id(p) || len(s.Unasked) != 0 {
		t.Errorf("got %+v, want the session that runs", s)
	}
	d.want("Nothing was sent yet.", "preview", "-sent")
	d.want("Telemetry is off", "off")
	until(t, "it is off", func() bool { return p.live.Load() == nil }) // the next look is in an hour
	if left, _ := os.ReadDir(liveDir(cfg.StateDir)); len(left) != 0 {
		t.Errorf("the socket is left: %v", left)
	}
}
