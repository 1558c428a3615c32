package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// maxFile bounds a file that people write by hand: plans and facts have some KiB.
const maxFile = 1 << 20

// ReadFile reads a regular file of 1 MiB at most: whoever mistypes a name must not
// wait for a device, a pipe, or gigabytes.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	var fault *fs.PathError
	switch {
	case errors.As(err, &fault):
		return nil, fmt.Errorf("%s cannot be read (%w); name another file", path, fault.Err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file; name another one", path)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s is larger than 1 MiB, so it is not what is wanted here; name another file", path)
	}
	b, err := os.ReadFile(path)
	if errors.As(err, &fault) {
		return nil, fmt.Errorf("%s cannot be read (%w); change its mode, or name another file", path, fault.Err)
	}
	return b, err
}
