package telemetry

import (
	"errors"
	"os"
	"syscall"
)

// allocate reserves the blocks of a file, so that a full disk is an error here
// and not a fault when the map is written.
func allocate(f *os.File, size int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return fillWithZeros(f, size)
		}
		return err
	}
}
