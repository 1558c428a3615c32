// Package plan says, as data, what may be collected.
//
// A Plan is the complete list of events and fields that a program may send.
// It is read at both ends: the program that speaks can only say what its plan
// says, and the collector refuses whatever the plan does not declare. Docs and
// pages are made from the same value, so the list that people read is the list
// that runs.
//
// Each field has a Kind out of a closed set. There is no kind for free text,
// and there will not be one: every kind has a form so narrow that a name, an
// address or a path has no way in.
//
// Start from Parse for a plan in JSON, or from a Plan literal and Check. Both
// report every fault at once.
package plan
