package telemetry

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestFilesAreBounded: what is larger than such a file can be is not read, and the
// error names it. Here each is right but for the room behind it.
func TestFilesAreBounded(t *testing.T) {
	c := newCollector(t)
	cfg := c.config(shortDir(t))
	secret := runOnce(t, cfg, 1)
	d := deskFor(t, cfg)
	d.want("The choice is on", "on")
	swell := func(path string, n int) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, bytes.Repeat([]byte(" "), n)...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	accepted := acceptedPath(cfg.StateDir, "coffee")
	d.want("The plans say the same.", "plan", "-diff", accepted)
	swell(accepted, maxPlanFile)
	d.refuse(accepted+" is not a plan", "plan", "-diff", accepted)
	d.want("everything, because "+accepted+" holds no plan of coffee", "status")
	choice := filepath.Join(cfg.StateDir, "choice")
	swell(choice, maxFile)
	d.want(choice+" holds neither on nor off, and counts as off", "status")
	session := sessionFile(cfg.StateDir, secret.ID().String())
	swell(session, maxFile)
	d.refuse(session+" is not a kept session; move it away", "forget")
	pins := filepath.Join(cfg.StateDir, pinFile)
	swell(pins, maxFile)
	if _, err := readPins(cfg.StateDir); err == nil || err.Error() != pins+" does not hold collectors' keys; repair it, or delete it to pin the keys anew" {
		t.Errorf("of the keys it says %v", err)
	}
}
