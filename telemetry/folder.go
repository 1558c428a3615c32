package telemetry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Who may read what in a state folder. Everything that is made in it is its owner's
// only: folders have mode 0700, files 0600. Commands are also typed by root, in the
// folder of a server that runs as another user. That user must be able to read
// what they write, and keep the folder in order; so root gives what it makes to the
// owner of the folder that it is made in.

// makeDir makes a folder, and those above it that are missing.
func makeDir(path string) error {
	var missing []string // the innermost first
	for at := path; ; {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, at)
		above := filepath.Dir(at)
		if above == at {
			break
		}
		at = above
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for i := len(missing) - 1; i >= 0; i-- {
		handOverDir(missing[i])
	}
	return nil
}
