package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadFile: what is no file to read is named at once, and nothing waits for it.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("plan"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(at("plan")); err != nil || string(b) != "{}" {
		t.Errorf("got %q, %v", b, err)
	}
	if err := os.WriteFile(at("large"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(at("large"), maxFile+1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		at("missing"): "no such file or directory", at("large"): "larger than 1 MiB", at("pipe"): "no regular file", dir: "no regular file", "/dev/zero": "no regular file",
	} {
		if b, err := ReadFile(path); b != nil || err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %d bytes, %v, want %s", path, len(b), err, want)
		}
	}
}
