// Package bench measures what a program pays for telemetry, with our library
// and with others, and what becomes of the events.
//
// The benchmarks time one call that records one event: a model was uploaded,
// with its size. The scenarios (Burst, Stalled, Refused) count what arrives when
// something is in the way. Both refuse to measure what is not delivered: several
// libraries drop events without a word, and dropping is cheap, so everything is
// counted at an Endpoint on loopback and reported beside the time.
//
// Every library runs at its default settings, but for the destination and a log
// that is switched off; docs/benchmarks.md names the one exception and says how
// to read the figures. Nothing leaves the machine: Fence sees to it.
//
// Command report runs it all and writes the table of docs/benchmarks.md:
//
//	go run ./peers/bench/report
package bench
