//go:build !linux

package telemetry

// socketPath returns the path itself: there is no other way to a socket here, and
// one that is too long is an error of whoever uses it.
func socketPath(path string) (short string, release func(), err error) {
	return path, func() {}, nil
}
