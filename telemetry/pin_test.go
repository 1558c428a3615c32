package telemetry

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestDamagedPins: a file that does not hold keys is named with the way back, and
// nothing is pinned over it. Events are sent all the same.
func TestDamagedPins(t *testing.T) {
	for _, text := range []string{"", "null", "[]", "{", `"canary"`, `{"https://collector.example":1}`} {
		c := newCollector(t)
		cfg := c.config(shortDir(t))
		path := filepath.Join(cfg.StateDir, pinFile)
		if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		secret := runOnce(t, cfg, 1)
		if n := c.counts()[secret.ID().String()]; n != 1 {
			t.Errorf("%q: %d events have arrived, want 1", text, n)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%q: the file holds %q now (%v)", text, b, err)
		}
		for _, command := range []string{"status", "forget"} {
			_, errs, code := deskFor(t, cfg).run(command)
			if code != 1 || !strings.Contains(errs, path+" does not hold collectors' keys; repair it, or delete it to pin the keys anew") || strings.Contains(errs, "canary") {
				t.Errorf("%q: %s ends with %d and %s", text, command, code, errs)
			}
		}
	}
}

// TestPinsAtTheSameTime: of many first contacts at one moment none is lost, and of
// several with one origin the first counts for all.
func TestPinsAtTheSameTime(t *testing.T) {
	dir := shortDir(t)
	const origins, keys = 20, 3
	var wg sync.WaitGroup
	var pinned [origins][keys]string
	for o := range origins {
		for k := range keys {
			wg.Go(func() {
				var err error
				if pinned[o][k], err = pinKey(dir, fmt.Sprint("https://collector.example:", o), fmt.Sprint("key ", k)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	pins, err := readPins(dir)
	if err != nil || len(pins) != origins {
		t.Fatalf("%d keys are pinned, want %d (%v)", len(pins), origins, err)
	}
	for o := range origins {
		for k := range keys {
			if want := pins[fmt.Sprint("https://collector.example:", o)]; pinned[o][k] != want {
				t.Errorf("one was told that the key is %q, and it is %q", pinned[o][k], want)
			}
		}
	}
}

// TestChangedKeyIsNotHidden by a program that has seen the pinned key or none yet,
// in whatever order they are asked.
func TestChangedKeyIsNotHidden(t *testing.T) {
	const at = "https://collector.example"
	run := func(key string) Running { return Running{URL: at + "/2/httpapi", Key: key} }
	none, old, changed := run(""), run("old"), run("new")
	for _, c := range []struct {
		running []Running
		want    []statusKey
	}{
		{nil, []statusKey{{at, "old", "", false}}},
		{[]Running{none}, []statusKey{{at, "old", "", false}}},
		{[]Running{none, old}, []statusKey{{at, "old", "old", false}}},
		{[]Running{old, none}, []statusKey{{at, "old", "old", false}}},
		{[]Running{changed, old, none}, []statusKey{{at, "old", "new", true}}},
		{[]Running{none, changed, old}, []statusKey{{at, "old", "new", true}}},
		{[]Running{old, none, changed}, []statusKey{{at, "old", "new", true}}},
	} {
		s := status{URL: at, Running: c.running}
		s.addKeys(map[string]string{at: "old"})
		if !slices.Equal(s.Keys, c.want) {
			t.Errorf("%v: got %v, want %v", c.running, s.Keys, c.want)
		}
	}
}
