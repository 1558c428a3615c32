package telemetry

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// maxSocketPath is how long the path of a socket can be here.
const maxSocketPath = 107

// socketPath returns a path that is short enough to listen or dial at, for a socket
// of any path: that of the folder's open descriptor. It holds until release is
// called.
func socketPath(path string) (short string, release func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.OpenFile(filepath.Dir(path), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}
