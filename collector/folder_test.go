package collector

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/store"
)

func TestFolderBelongsToOneProcess(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(dir); !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second OpenFolder gives %v, want ErrInUse with the folder", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = OpenFolder(dir)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	f.Close()
}

// TestFolderIsGivenUpBesideAChild: a child process that has the lock's file open
// (every one has, for a moment) must not keep the folder.
func TestFolderIsGivenUpBesideAChild(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "60")
	child.ExtraFiles = []*os.File{f.lock}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		child.Process.Kill()
		child.Wait()
	}()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenFolder(dir)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(filepath.Join(file, "data")); err == nil || !strings.Contains(err.Error(), "choose another one with --data") {
		t.Errorf("got %v, want what to do", err)
	}
}

// TestDamagedFolder: each damaged file is named, with the way back, and is left
// as it is.
func TestDamagedFolder(t *testing.T) {
	for name, content := range map[string]string{
		"key":         "short",
		"signing-key": strings.Repeat("x", 64),
		"apps.json":   "not json",
		"tombstones":  strings.Repeat("x", tombstoneLine),
		"deletions":   "2026-11-24 coffee 17 canary\n",
	} {
		dir := t.TempDir()
		f, err := OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = OpenFolder(dir)
		if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%s: got %v, want ErrDamaged with the file and the way back", name, err)
		}
		if b, _ := os.ReadFile(path); string(b) != content {
			t.Errorf("%s was changed", name)
		}
	}
}

// TestKilledProcessLeavesNothing: a file that was to take another one's place may
// hold what has been erased since.
func TestKilledProcessLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	left := []string{".new-1234", "seen-5678"}
	for _, name := range append(left, "kept") {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("canary"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range left {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "kept")); err != nil {
		t.Errorf("a file of somebody else: %v", err)
	}
}

// TestSecretKeyIsNotTheAPIKey: the one opens what the other must not.
func TestSecretKeyIsNotTheAPIKey(t *testing.T) {
	f, err := OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.AddApp("coffee", events.Plan(), Keys{"same", "same"}); !errors.Is(err, ErrKeysEqual) {
		t.Errorf("add: got %v", err)
	}
	if _, err := f.AddApp("coffee", events.Plan(), Keys{"one", "other"}); err != nil {
		t.Fatal(err)
	}
	for _, keys := range []Keys{{"same", "same"}, {API: "other"}, {Secret: "one"}} {
		if err := f.SetApp("coffee", events.Plan(), keys); !errors.Is(err, ErrKeysEqual) {
			t.Errorf("set %v: got %v", keys, err)
		}
	}
}

func TestLostKeyIsNotMadeAnew(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.tombstones.add(tombstone{1}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	os.Remove(filepath.Join(dir, "key"))
	if _, err := OpenFolder(dir); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged: a new key would let erased sessions back in", err)
	}
}

func TestTornTombstoneIsCutOff(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := mustID(t, idA)
	if err := f.tombstones.add(f.tombstones.of("blindai", id)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	path := filepath.Join(dir, "tombstones")
	b, _ := os.ReadFile(path)
	if strings.Contains(string(b), idA) {
		t.Error("the tombstones hold the id")
	}
	if err := os.WriteFile(path, append(b, "0123"...), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if f, err = OpenFolder(dir); err != nil {
			t.Fatal(err)
		}
		if !f.tombstones.has("blindai", id) || f.tombstones.has("other", id) || f.tombstones.has("blindai", mustID(t, idB)) {
			t.Error("the tombstones keep out the wrong ones")
		}
		if err := f.tombstones.add(tombstone{2}); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func TestApps(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := events.Plan()
	keys, err := f.AddApp("blindai", p, Keys{})
	if err != nil || keys.API == "" || keys.Secret == "" {
		t.Fatalf("got keys %v, %v", keys, err)
	}
	if _, err := f.AddApp("blindai", p, Keys{}); !errors.Is(err, ErrAppExists) {
		t.Errorf("a second app of the name: got %v, want ErrAppExists", err)
	}
	if _, err := f.AddApp("other", p, Keys{API: keys.API}); !errors.Is(err, ErrKeyTaken) {
		t.Errorf("a second app with the key: got %v, want ErrKeyTaken", err)
	}
	if _, err := f.AddApp("Not A Name", p, Keys{}); err == nil {
		t.Error("a name of the wrong form is accepted")
	}
	b, _ := os.ReadFile(filepath.Join(dir, "apps.json"))
	if strings.Contains(string(b), keys.Secret) {
		t.Error("the secret key is kept in the clear")
	}
	f.Close()
	if f, err = OpenFolder(dir); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := f.appByKey([]byte(keys.API))
	if a == nil || a.Name != "blindai" || !a.checkSecret(keys.Secret) || a.checkSecret("wrong") {
		t.Error("after a restart the app's keys are not right")
	}
	if err := f.SetApp("blindai", p, Keys{API: "new"}); err != nil {
		t.Fatal(err)
	}
	if f.appByKey([]byte(keys.API)) != nil || f.appByKey([]byte("new")) == nil || !f.App("blindai").checkSecret(keys.Secret) {
		t.Error("a preset API key does not replace the old one, or replaces the secret key too")
	}
	for _, name := range []string{"key", "apps.json", "tombstones", "lock"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, want 0600 (%v)", name, info.Mode().Perm(), err)
		}
	}
}
