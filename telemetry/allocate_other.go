//go:build !linux

package telemetry

import "os"

// allocate reserves the blocks of a file, so that a full disk is an error here
// and not a fault when the map is written.
func allocate(f *os.File, size int64) error { return fillWithZeros(f, size) }
