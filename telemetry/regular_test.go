//go:build unix

package telemetry

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A pipe to which nobody writes must not hold a command for ever.
func TestPipesAreNotOpened(t *testing.T) {
	d := newDesk(t)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	d.refuse("read the receipt: "+pipe+" is not a regular file; keep what it holds in one, and name that", "forget", "-verify", pipe)
	d.refuse("read the older plan: "+pipe+" is not a regular file", "plan", "-diff", pipe)
	if err := os.MkdirAll(spoolDir(d.cfg.StateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(spoolDir(d.cfg.StateDir), "0123.spool"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.want("Nothing waits to be sent", "preview")
	d.want("Telemetry of a start here: on", "status")
}
