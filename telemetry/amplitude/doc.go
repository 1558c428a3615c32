// Package amplitude is Amplitude's HTTP V2 upload format, both ways: what a
// client writes, what a collector reads, and the answer between them. It does
// no I/O and keeps nothing.
//
// The package knows the format and no plan: which fields may appear is the
// caller's business. Facts are from Amplitude's public documentation of the
// HTTP V2 API; where the documentation is silent, from how its SDKs behave.
package amplitude

// Limits that Amplitude documents for one request to /2/httpapi.
const (
	// MaxEvents is the number of events that a request stays below.
	MaxEvents = 2000

	// MaxBody is the size of a request's body in bytes; /batch takes 20 MB.
	MaxBody = 1 << 20
)

// Headers are the request headers that a client of ours sends, and no others:
// they are part of what is published about it. Host and Content-Length follow
// from HTTP itself.
var Headers = []string{"Host", "Content-Type", "Content-Length"}
