//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package telemetry

import (
	"errors"
	"os"
)

// Elsewhere, Windows included, events wait in memory only, and the log says so
// once: the standard library has no lock and no map that is the same there.

// errNoMap says that this system cannot map files here.
var errNoMap = errors.New("files cannot be mapped on this system")

func lockFile(*os.File) error               { return errNoMap }
func unlockFile(f *os.File) error           { return f.Close() }
func lockDir(string) (func(), error)        { return func() {}, nil } // whoever pins at the same moment as another pins again
func syncDir(string) error                  { return nil }
func mapFile(*os.File, int) ([]byte, error) { return nil, errNoMap }
func unmapFile([]byte) error                { return nil }
