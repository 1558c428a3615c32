package telemetry

import (
	"errors"
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

// readFile reads a file of most bytes at most.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, errTooLarge
	}
	return b, nil
}

// replaceFile writes a file whole or not at all, readable by its owner only.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
