//go:build linux

package telemetry

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// A wayOff is a reason for telemetry to be off.
type wayOff struct {
	name    string
	env     map[string]string
	change  func(t *testing.T, j *job)
	source  string   // of the Decision
	creates []string // files that this way may create in the state folder
}

var waysOff = []wayOff{
	{name: "own variable", env: map[string]string{"COFFEE_OFF": "1"}, source: "COFFEE_OFF"},
	{name: "DO_NOT_TRACK", env: map[string]string{"DO_NOT_TRACK": "true"}, source: "DO_NOT_TRACK"},
	{name: "setting", change: func(_ *testing.T, j *job) { j.Says = Off }, source: "flag"},
	{name: "choice", change: func(t *testing.T, j *job) {
		if err := WriteChoice(j.State, Off); err != nil {
			t.Fatal(err)
		}
	}, source: "choice"},
	{name: "CI with the built-in destination", env: map[string]string{"CI": "true"}, change: func(_ *testing.T, j *job) {
		j.URL, j.BuiltIn = "", j.URL
	}, source: "CI"},
	{name: "no destination", change: func(_ *testing.T, j *job) { j.URL = "" }, source: "destination"},
	{name: "no consent", change: func(_ *testing.T, j *job) { j.Consent = OptIn }, source: "consent"},
	{name: "notice at the first start", change: func(_ *testing.T, j *job) { j.Consent = Notice }, source: "notice", creates: []string{"noticed", "accepted-coffee.json"}},
}

// offJob is a program that would send 100 events at once if telemetry were on.
func offJob(t *testing.T, url string) job {
	return job{URL: url, State: filepath.Join(t.TempDir(), "state"), Interval: time.Millisecond, Count: 100}
}

// TestOffMakesNoSystemCall traces a program, telemetry switched off in every way
// there is: no socket, and no file created or opened for writing. The trace with
// telemetry on shows both, so the test would see them.
func TestOffMakesNoSystemCall(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatalf("%v: this test traces system calls; on Debian, as root: apt-get install strace", err)
	}
	y := newTally()
	url := y.serve(t)
	for _, way := range waysOff {
		t.Run(way.name, func(t *testing.T) {
			j := offJob(t, url)
			if way.change != nil {
				way.change(t, &j)
			}
			before := tree(t, j.State)
			network, writes := traced(t, j, way.env)
			if len(network) > 0 {
				t.Errorf("calls to the network:\n%s", strings.Join(network, "\n"))
			}
			if way.creates == nil && len(writes) > 0 {
				t.Errorf("files are created or opened for writing:\n%s", strings.Join(writes, "\n"))
			}
			for _, name := range way.creates {
				before[name] = true
			}
			if after := tree(t, j.State); !maps.Equal(before, after) {
				t.Errorf("the state folder holds %v, want %v", after, before)
			}
		})
	}
	if n := y.received(); n != 0 {
		t.Errorf("%d requests have come", n)
	}
	t.Run("on", func(t *testing.T) {
		j := offJob(t, url)
		network, writes := traced(t, j, nil)
		if !slices.ContainsFunc(network, func(line string) bool { return strings.Contains(line, "connect(") }) {
			t.Errorf("no connection is seen:\n%s", strings.Join(network, "\n"))
		}
		for _, part := range []string{"/sessions/", "/spool/"} {
			if !slices.ContainsFunc(writes, func(line string) bool {
				return strings.Contains(line, j.State+part) && strings.Contains(line, "O_CREAT")
			}) {
				t.Errorf("no file is seen to be created in %s:\n%s", part, strings.Join(writes, "\n"))
			}
		}
		if delivered, _, lost, _, _ := y.sum(numbersTo(j.Count)); delivered != int(j.Count) || lost != 0 {
			t.Errorf("%d events are delivered and %d lost, want %d and 0", delivered, lost, j.Count)
		}
	})
}

// traced runs a job under strace and returns the calls that have to do with the
// network and those that create, change or open a file for writing.
func traced(t *testing.T, j job, env map[string]string) (network, writes []string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "trace")
	var set []string
	for name, value := range env {
		set = append(set, name+"="+value)
	}
	cmd := j.command(t, set...)
	cmd.Args = append([]string{"strace", "-f", "-qq", "-s", "4096", "-e", "trace=%network,%file,ftruncate,fallocate", "-e", "signal=none", "-o", out, cmd.Path}, cmd.Args[1:]...)
	var err error
	if cmd.Path, err = exec.LookPath("strace"); err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("strace: %v\n%s", err, errs.String())
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if !strings.Contains(lines[0], "execve(") {
		t.Fatalf("the trace begins with %s, want the program's start", lines[0])
	}
	for _, line := range lines {
		_, call, _ := strings.Cut(line, " ") // after the process id
		call = strings.TrimSpace(call)
		name, _, is := strings.Cut(call, "(")
		if !is || call == "???( <detached ...>" {
			continue // the second half of a call, an exit, or a thread that went with the process before it had made a call
		}
		switch name {
		case "execve", "access", "faccessat", "faccessat2", "stat", "lstat", "newfstatat", "statx", "statfs", "readlink", "readlinkat", "getcwd", "chdir":
		case "open", "openat", "openat2":
			if strings.Contains(call, "O_WRONLY") || strings.Contains(call, "O_RDWR") || strings.Contains(call, "O_CREAT") || strings.Contains(call, "O_TRUNC") {
				writes = append(writes, call)
			}
		case "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "link", "linkat", "symlink", "symlinkat",
			"mknod", "mknodat", "truncate", "ftruncate", "fallocate", "chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utime", "utimes", "utimensat", "futimesat":
			writes = append(writes, call)
		default:
			network = append(network, call) // %network, and whatever is not known to be harmless
		}
	}
	return network, writes
}

// tree returns the names of what there is below a folder, which need not be there.
func tree(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && path != root {
			rel, _ := filepath.Rel(root, path)
			names[rel] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestOffStartsNoGoroutine.
func TestOffStartsNoGoroutine(t *testing.T) {
	for _, way := range waysOff {
		t.Run(way.name, func(t *testing.T) {
			j := offJob(t, "http://127.0.0.1:1")
			if way.change != nil {
				way.change(t, &j)
			}
			cfg := j.config()
			cfg.Getenv = func(name string) string { return way.env[name] }
			c := newCoffee()
			before := goroutines()
			mustOpen(t, c.Client, cfg)
			for range 1000 {
				c.spilled.Record()
			}
			for by, n := range goroutines() {
				if n > before[by] {
					t.Errorf("%s has started %d goroutines", by, n-before[by])
				}
			}
			if d := c.Decision(); d.On || !strings.HasSuffix(d.Source, way.source) {
				t.Errorf("the decision is %q by %q, want off by %q", d, d.Source, way.source)
			}
			if s := c.Stats(); s != (Stats{}) {
				t.Errorf("got %+v, want nothing recorded", s)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("on", func(t *testing.T) {
		c := newCoffee()
		before := goroutines()
		mustOpen(t, c.Client, Config{URL: "http://127.0.0.1:1", APIKey: "key", Interval: time.Hour, Getenv: noEnv})
		started := 0
		for by, n := range goroutines() {
			started += max(0, n-before[by])
		}
		if started != 1 {
			t.Errorf("%d goroutines are seen with telemetry on, want 1", started)
		}
		c.Close(t.Context())
	})
}

// goroutines counts the goroutines that run, by the function of this package
// that started them.
func goroutines() map[string]int {
	started := map[string]int{}
	b := make([]byte, 1<<20)
	for line := range strings.Lines(string(b[:runtime.Stack(b, true)])) {
		if strings.HasPrefix(line, "created by github.com/blindai-go/blindai/telemetry.") {
			started[strings.Fields(line)[2]]++
		}
	}
	return started
}
