//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package telemetry

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func init() { syscall.Umask(0o022) } // whatever the person's is who runs the tests

// A folderOf is a folder with an owner.
type folderOf struct {
	fs.FileInfo
	uid, gid uint32
	mode     fs.FileMode
}

func (f folderOf) Sys() any          { return &syscall.Stat_t{Uid: f.uid, Gid: f.gid} }
func (f folderOf) Mode() fs.FileMode { return f.mode | fs.ModeDir }

func TestWhoGetsWhatIsMade(t *testing.T) {
	for _, test := range []struct {
		name string
		user int
		uid  uint32
		give bool
	}{
		{"root in root's own folder", 0, 0, false},
		{"root in another's folder", 0, 7, true},
		{"somebody in their own folder", 7, 7, false},
		{"somebody in a shared folder", 7, 9, false},
		{"somebody in root's folder", 7, 0, false},
	} {
		uid, gid, give := heir(test.user, folderOf{uid: test.uid, gid: 8})
		if give != test.give || give && (uid != int(test.uid) || gid != 8) {
			t.Errorf("%s: %d, %d, %v", test.name, uid, gid, give)
		}
	}
}

// TestWhatIsMadeBelongsToTheOwnerOfTheFolder: the commands are also typed by root,
// and the server's user must be able to read what they write. Whoever runs this test
// owns the folder; root makes one of another's.
func TestWhatIsMadeBelongsToTheOwnerOfTheFolder(t *testing.T) {
	c := newCollector(t)
	folder := shortDir(t)
	if os.Geteuid() == 0 {
		if err := os.Chown(folder, 12345, 12346); err != nil {
			t.Fatal(err)
		}
	}
	cfg := c.config(filepath.Join(folder, "local", "state"))
	d := deskFor(t, cfg)
	d.want("The choice is on", "on")
	runOnce(t, cfg, 1)
	runOnce(t, cfg, 1)
	d.want("UTC: 1 event of coffee.", "forget")
	c.set(func() { c.down = true })
	if _, errs, code := d.run("forget"); code != 1 {
		t.Errorf("forget without a collector ends with %d, %s", code, errs)
	}
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Close(done); err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(folder)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	err = filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		a, b := info.Sys().(*syscall.Stat_t), want.Sys().(*syscall.Stat_t)
		if a.Uid != b.Uid {
			t.Errorf("%s belongs to %d, the folder to %d", path, a.Uid, b.Uid)
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %v", path, mode)
		}
		seen = append(seen, e.Name())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"local", "state", "choice", "accepted-coffee.json", "collectors.json", "receipts", "sessions", "spool", "live", p.live.Load().ID + ".json", p.live.Load().ID + ".spool"} {
		if !slices.Contains(seen, name) {
			t.Errorf("%s is not there, of %q", name, seen)
		}
	}
}

func TestRightsToTheFolder(t *testing.T) {
	for _, test := range []struct {
		name string
		user int
		uid  uint32
		mode fs.FileMode
		want string
	}{
		{"somebody's own", 7, 7, 0o700, ""},
		{"somebody's own that others can read", 7, 7, 0o755, ""},
		{"somebody's own, for the group", 7, 7, 0o770, "other users can write"},
		{"somebody's own, for all", 7, 7, 0o777, "other users can write"},
		{"another's", 7, 8, 0o777, "belongs to another user"},
		{"root's, for all", 7, 0, 0o777, "belongs to another user"},
		{"root in another's", 0, 7, 0o700, ""},
		{"root in another's, for all", 0, 7, 0o707, "other users can write"},
	} {
		if got := rightsFault(test.user, folderOf{uid: test.uid, mode: test.mode}); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestFolderThatOthersCanWriteTo is said once at the start.
func TestFolderThatOthersCanWriteTo(t *testing.T) {
	var e endpoint
	for mode, want := range map[fs.FileMode]int{0o700: 0, 0o777: 1} {
		var log bytes.Buffer
		cfg := e.config()
		cfg.StateDir = t.TempDir()
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		if err := os.Chmod(cfg.StateDir, mode); err != nil {
			t.Fatal(err)
		}
		p := newCoffee()
		mustOpen(t, p.Client, cfg)
		p.Close(t.Context())
		if strings.Count(log.String(), "\n") != want || want > 0 && !strings.Contains(log.String(), "level=WARN msg=\"telemetry: other users can write to the state folder") {
			t.Errorf("mode %v: the log says\n%s", mode, &log)
		}
	}
}
