package collector

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// allow lets no file of this process grow over size bytes while fn runs, as a
// disk that fills up in the middle of a write.
func allow(t *testing.T, size uint64, fn func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	fn()
}

// TestLines: a line that could not be written whole is not there, neither for
// the next one nor for the next start.
func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	var l *lineFile
	reopen := func(want string) {
		t.Helper()
		if l != nil {
			l.close()
		}
		var b []byte
		var err error
		if l, b, err = openLines(path); err != nil {
			t.Fatal(err)
		}
		if got := string(b[:l.size]); got != want {
			t.Errorf("the file has %q, want %q", got, want)
		}
	}
	add := func(line string) {
		t.Helper()
		if err := l.add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	reopen("")
	add("one\n")
	allow(t, 7, func() {
		if err := l.add([]byte("second\nand third\n")); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("got %v, want %v", err, syscall.EFBIG)
		}
		add("2\n")
	})
	add("three\n")
	const whole = "one\n2\nthree\n"
	if b, _ := os.ReadFile(path); string(b) != whole {
		t.Errorf("the file is %q, want %q", b, whole)
	}

	// Torn by a power cut, and by a disk that did not let the torn end be cut off.
	for range 2 {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, "fou"...), 0o600); err != nil {
			t.Fatal(err)
		}
		reopen(string(b))
		add("4\n")
		reopen(string(b) + "4\n")
	}
	own := l.file
	l.file, _ = os.Open(path) // cannot be written
	if err := l.add([]byte("five\n")); err == nil || !l.torn {
		t.Errorf("got %v, torn %v, want an error and that it may be torn", err, l.torn)
	}
	if _, err := own.WriteString("fi"); err != nil {
		t.Fatal(err)
	}
	if err := l.add([]byte("6\n")); err == nil {
		t.Error("a line was added behind a torn one")
	}
	l.file.Close()
	l.file = own
	add("7\n")
	reopen(whole + "4\n4\n7\n")
	l.close()
}

// TestTombstoneOnAFullDisk: one that cannot be written does not count, and leaves
// nothing that would keep the collector from starting again.
func TestTombstoneOnAFullDisk(t *testing.T) {
	r := newRig(t)
	id := mustID(t, idA)
	stone := r.folder.tombstones
	if err := stone.add(stone.of("blindai", id)); err != nil {
		t.Fatal(err)
	}
	allow(t, tombstoneLine+9, func() {
		if err := stone.add(stone.of("blindai", mustID(t, idB))); err == nil {
			t.Error("a tombstone was written on a full disk")
		}
	})
	if stone.has("blindai", mustID(t, idB)) {
		t.Error("a tombstone that could not be written counts")
	}
	if err := stone.add(stone.of("other", id)); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	stone = r.folder.tombstones
	if !stone.has("blindai", id) || !stone.has("other", id) || stone.len() != 2 {
		t.Errorf("%d tombstones are there after a start, want the two that were written", stone.len())
	}
}
