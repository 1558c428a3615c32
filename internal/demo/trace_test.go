//go:build linux

package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A trace is the system calls of a program that matter here.
type trace struct {
	connects []string // attempts to reach something, and look-ups of names
	listens  int
	writes   []string // what is created, opened for writing, changed or removed
}

var (
	unfinished = regexp.MustCompile(`^\d+ +(\w+)\((.*)$`)
	harmless   = regexp.MustCompile(`^"/(dev/(null|tty)|proc/self/[a-z_/0-9]+)"`)
)

// readTrace sorts the lines that strace has written.
func readTrace(t *testing.T, file string) (tr trace) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 100 || !strings.Contains(lines[0], "execve(") {
		t.Fatalf("the trace has %d lines and begins with %q, so it is none", len(lines), lines[0])
	}
	for _, line := range lines {
		m := unfinished.FindStringSubmatch(line)
		if m == nil {
			continue // the second half of a call, or an end
		}
		call, args := m[1], m[2]
		switch call {
		case "connect", "sendto", "sendmsg", "sendmmsg":
			tr.connects = append(tr.connects, call+"("+args)
		case "socket":
			// Whatever is no TCP socket can only be for talking to something.
			if !strings.Contains(args, "SOCK_STREAM") || !strings.HasPrefix(args, "AF_INET") && !strings.HasPrefix(args, "AF_UNIX") {
				tr.connects = append(tr.connects, call+"("+args)
			}
		case "listen":
			tr.listens++
		case "open", "openat", "openat2":
			_, path, _ := strings.Cut(args, ", ")
			if call == "open" {
				path = args
			}
			switch {
			case strings.HasPrefix(path, `"/etc/resolv.conf"`), strings.HasPrefix(path, `"/etc/hosts"`), strings.HasPrefix(path, `"/etc/nsswitch.conf"`):
				tr.connects = append(tr.connects, call+"("+args)
			case harmless.MatchString(path):
			case strings.Contains(args, "O_WRONLY"), strings.Contains(args, "O_RDWR"), strings.Contains(args, "O_CREAT"), strings.Contains(args, "O_TRUNC"):
				tr.writes = append(tr.writes, call+"("+args)
			}
		case "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "link", "linkat", "symlink", "symlinkat",
			"mknod", "mknodat", "truncate", "ftruncate", "fallocate", "chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utimensat":
			tr.writes = append(tr.writes, call+"("+args)
		}
	}
	return tr
}

// traced returns a folder with programs that leave a trace in file, and end with
// the program: strace looks on from a process of its own. The programs are those in
// the folder real, and see what is in the folder etc, if there is one, as if it were
// in /etc.
func traced(t *testing.T, real, file, etc string) string {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatalf("%v: this test traces system calls; on Debian, as root: apt-get install strace", err)
	}
	strace := fmt.Sprintf(`exec strace -D -f -qq -s 4096 -e signal=none -e trace=%%network,%%file,ftruncate,fallocate -o "%s.PROGRAM"`, file)
	if etc == "" {
		return wrapped(t, real, strace)
	}
	// In a name space of its own, so that the machine's /etc stays as it is.
	return wrapped(t, real, fmt.Sprintf(`exec unshare --mount sh -c 'mount -t overlay overlay -o lowerdir=%s:/etc /etc && %s "$0" "$@"'`, etc, strace))
}

// released returns a folder with the programs as whoever makes a release builds
// them, with a destination of their own.
func released(t *testing.T, url string) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-X main.telemetryURL="+url+" -X main.telemetryAPIKey="+apiKey,
		"-o", filepath.Join(dir, "blindai"), "../../cmd/blindai")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build a release: %v\n%s", err, out)
	}
	bin, err := filepath.Abs(programs(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"blindai-collector", "libonnxruntime.so"} {
		if err := os.Symlink(filepath.Join(bin, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestSyscallTrace traces the whole product at work. With telemetry on, server
// and collector reach nothing but the destination that is configured, ONNX
// Runtime and DuckDB included. With telemetry off, in each way, the server has
// its own listeners and nothing more: no connection, no look-up, nothing created
// and nothing written.
func TestSyscallTrace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		env   []string
		flags []string // DIR is the test's folder
		off   bool
		// config is where a configuration file that says off lies, below the test's
		// folder, which is the user's home and has the folder etc.
		config string
		// before is what the operator does before the start.
		before func(t *testing.T, state string)
		none   bool // no destination is given
		linked bool // a release has one of its own
	}{
		{name: "on"},
		{name: "on, as released", none: true, linked: true},
		{name: "BLINDAI_DISABLE_TELEMETRY", env: []string{"BLINDAI_DISABLE_TELEMETRY=1"}, off: true},
		{name: "DO_NOT_TRACK", env: []string{"DO_NOT_TRACK=1"}, off: true},
		{name: "--no-telemetry", flags: []string{"--no-telemetry"}, off: true},
		{name: "telemetry off", before: func(t *testing.T, state string) {
			if _, complaint, code := blindai(t, "telemetry", "off", "--state-dir", state); code != 0 {
				t.Fatal(complaint)
			}
		}, off: true},
		{name: "--config", config: "config.toml", flags: []string{"--config", "DIR/config.toml"}, off: true},
		{name: "the user's config file", config: ".config/blindai/config.toml", off: true},
		{name: "the administrator's config file", config: "etc/blindai/config.toml", off: true},
		{name: "CI", env: []string{"CI=true"}, none: true, linked: true, off: true},
		{name: "no destination", none: true, off: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			state, data, file := filepath.Join(dir, "state"), filepath.Join(dir, "data"), filepath.Join(dir, "trace")
			etc := ""
			if tt.config != "" {
				path := filepath.Join(dir, tt.config)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte("[telemetry]\nenabled = false\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(tt.config, "etc/") {
					etc = filepath.Join(dir, "etc")
				}
			}
			if tt.before != nil {
				tt.before(t, state)
			}
			kept := files(t, state)
			destination := "http://127.0.0.1:9/" // nobody listens there
			var col *collector
			if !tt.off {
				var err error
				if col, err = startCollector(t.Context(), traced(t, programs(t), file, etc), data, "127.0.0.1:0"); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { col.stop() })
				destination = col.url
			}
			bin := programs(t)
			if tt.linked {
				bin = released(t, destination)
			}
			bin = traced(t, bin, file, etc)
			env := append([]string{"CI=", "HOME=" + dir, "XDG_STATE_HOME=", "XDG_CONFIG_HOME="}, tt.env...)
			args := []string{"serve", "--listen-unattested", "127.0.0.1:0", "--listen-run", "127.0.0.1:0", "--listen-manage", "127.0.0.1:0", "--state-dir", state}
			if !tt.none {
				args = append(args, "--telemetry-url", destination, "--telemetry-api-key", apiKey)
			}
			for _, flag := range tt.flags {
				args = append(args, strings.ReplaceAll(flag, "DIR", dir))
			}
			p, err := start(t.Context(), bin, "blindai", env, "  manage ", args...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.stop() })
			s := &server{process: p, bin: programs(t)}
			for _, m := range regexp.MustCompile(`(?m)^  (?:certificate|run|manage) .*:([0-9]+)$`).FindAllStringSubmatch(p.printed(), 3) {
				s.ports = append(s.ports, m[1])
			}
			if want := map[bool]string{false: "Telemetry is on", true: "Telemetry is off"}[tt.off]; !strings.HasPrefix(p.printed(), want) {
				t.Fatalf("the server prints %q, want %q", p.printed(), want)
			}
			(&session{server: s, state: state}).use(t, 1)
			if col != nil {
				col.wait(t, 3)
			}
			ends(t, p)

			tr := readTrace(t, file+".blindai")
			if want := 3; tt.off && tr.listens != want || tr.listens < want {
				t.Errorf("the server listens %d times, want %d", tr.listens, want)
			}
			if tt.off {
				if len(tr.connects) > 0 {
					t.Errorf("the server reaches out:\n%s", strings.Join(tr.connects, "\n"))
				}
				if len(tr.writes) > 0 {
					t.Errorf("the server writes:\n%s", strings.Join(tr.writes, "\n"))
				}
				if now := files(t, state); now != kept {
					t.Errorf("the state folder holds %q, before it held %q", now, kept)
				}
				return
			}
			u, err := url.Parse(destination)
			if err != nil {
				t.Fatal(err)
			}
			port := "sin_port=htons(" + u.Port() + ")"
			reached := 0
			for _, call := range tr.connects {
				if !strings.HasPrefix(call, "connect(") || !strings.Contains(call, port) || !strings.Contains(call, `inet_addr("127.0.0.1")`) {
					t.Errorf("the server reaches something else than the destination: %s", call)
					continue
				}
				reached++
			}
			if reached == 0 {
				t.Error("no connection to the destination is seen, so the others would not be either")
			}
			outside(t, "the server", tr.writes, state)

			ends(t, col.process)
			tr = readTrace(t, file+".blindai-collector")
			if len(tr.connects) > 0 {
				t.Errorf("the collector reaches out:\n%s", strings.Join(tr.connects, "\n"))
			}
			outside(t, "the collector", tr.writes, data)
		})
	}
}

// outside reports what was written anywhere but in dir.
func outside(t *testing.T, who string, writes []string, dir string) {
	t.Helper()
	inside := 0
	for _, call := range writes {
		switch {
		case strings.Contains(call, `"`+dir), strings.HasPrefix(call, "ftruncate("), strings.HasPrefix(call, "fallocate("):
			inside++ // by a descriptor that was opened here
		default:
			t.Errorf("%s writes outside its folder: %s", who, call)
		}
	}
	if inside == 0 {
		t.Errorf("%s is not seen to write in its folder, so nothing would be", who)
	}
}

// files returns what lies in a folder, which need not be there.
func files(t *testing.T, root string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && d.Type().IsRegular() {
			b, rerr := os.ReadFile(path)
			fmt.Fprintf(&all, "%s: %s\n", strings.TrimPrefix(path, root), b)
			err = rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
