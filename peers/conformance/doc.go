// Package conformance points clients that no one here wrote at a collector, and
// holds it against what they do with its answers.
//
// Each client is the unmodified official one, at a pinned version; the collector
// is a real one, with a store on disk, behind a listener on loopback. What a
// client sends is stored once whatever happens in between, it never sends in a
// storm, and it ends when it is told to.
//
// The tests write the tables of docs/conformance.md (go test ./peers/conformance
// -update) and fail when one differs. Where a client loses events by itself, the
// table says so.
package conformance
