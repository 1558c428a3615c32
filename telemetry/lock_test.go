//go:build linux

package telemetry

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A process that starts another one at the moment at which a session ends has a
// copy of the spool's lock for a while. Events that are left must not wait for
// that: whoever starts next finds them.
func TestLockIsGivenUpBesideAChild(t *testing.T) {
	state := t.TempDir()
	var e endpoint
	cfg := e.config()
	cfg.StateDir, cfg.Interval = state, time.Hour
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	for range rewriteMost + 1 { // so many that the file stays the same
		c.spilled.Record()
	}
	// What the child has: the same open file by another number.
	held, err := syscall.Dup(int(c.live.Load().spool.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(held)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Close(done); err != nil {
		t.Fatal(err)
	}
	paths, _ := filepath.Glob(filepath.Join(spoolDir(state), "*"))
	if len(paths) != 1 {
		t.Fatalf("the session has left %q, want one file", paths)
	}
	f, err := os.OpenFile(paths[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := lockFile(f); err != nil {
		t.Errorf("the file of the ended session is still locked: %v", err)
	}
}
