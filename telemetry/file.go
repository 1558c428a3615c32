package telemetry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// What a file of the state folder, or one that people name, has at most. Whatever
// stands at such a path, reading it must not take the memory of the program. 2026-11.
const (
	maxPlanFile = 1 << 20  // BlindAI's plan has 3 KiB
	maxFile     = 64 << 10 // a session, a choice, the keys of some 600 collectors
	maxCAFile   = 16 << 20 // a system's certificates have 200 to 300 KiB
)

// errTooLarge says of a file that it cannot be what it is taken for.
var errTooLarge = errors.New("the file is too large")

// readFile reads a regular file of most bytes at most.
func readFile(path string, most int64) ([]byte, error) {
	b, err := readRegular(path, most+1)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, errTooLarge
	}
	return b, nil
}

// readRegular reads the first bytes of a file, as many as most says. What is not a
// regular file is not opened: a pipe to which nobody writes would never let go.
func readRegular(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; keep what it holds in one, and name that", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// replaceFile writes a file whole or not at all, readable by its owner only.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	handOver(f)
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
