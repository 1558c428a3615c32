// Package collector takes events in, holds them against their app's plan, and
// gives them out again: it is the server half of telemetry.
//
// It speaks Amplitude's upload API, so that any Amplitude SDK can be pointed at
// it. An event goes through ingest (decode), guard (nothing that the plan does
// not declare gets past it), and the writer (recognise repeats, commit in
// groups); the answer 200 goes out after the commit is durable, never before.
// Erasure is a step of the same writer, so that it cannot race with a commit.
//
// It refuses to know who sent: addresses, forwarding headers and undeclared
// names are neither stored nor logged nor passed on.
//
// Start with OpenFolder, a store, and New.
package collector
