package collector

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// A Refused says how often an app's plan has turned something away since the
// collector's start.
type Refused struct {
	Rule  Rule
	Field string // the declared field; empty where the rule is about what is not declared
	Count int64
}

// A Rule is why something is turned away.
type Rule string

const (
	RuleValue           Rule = "value"            // a declared field has a value outside its kind: the event is refused
	RuleMissing         Rule = "missing"          // a field is missing without which an event is none: it is refused
	RuleUndeclaredEvent Rule = "undeclared event" // it is refused
	RuleUndeclaredField Rule = "undeclared field" // it is dropped, and its event taken
)

// refusedCounts counts what the guards of one app turn away. Names of undeclared
// events and fields are not kept: a name is free text too.
type refusedCounts struct {
	undeclaredFields atomic.Int64

	mu     sync.Mutex // guards events
	events map[Refused]int64
}

// add counts a refused event or identification, under what it lacks a Count.
func (r *refusedCounts) add(what Refused) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events == nil {
		r.events = map[Refused]int64{}
	}
	r.events[what]++
}

// list returns the counts, the largest first.
func (r *refusedCounts) list() (all []Refused) {
	if n := r.undeclaredFields.Load(); n > 0 {
		all = append(all, Refused{Rule: RuleUndeclaredField, Count: n})
	}
	r.mu.Lock()
	for what, n := range r.events {
		what.Count = n
		all = append(all, what)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b Refused) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Field, b.Field))
	})
	return all
}

// Refused returns what the plan of an app has turned away since the start, the
// most frequent first.
func (c *Collector) Refused(app string) []Refused { return c.refusedOf(app).list() }

// refusedOf returns the counts of an app, which outlive its guards.
func (c *Collector) refusedOf(app string) *refusedCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.refused[app]
	if r == nil {
		r = new(refusedCounts)
		c.refused[app] = r
	}
	return r
}

// undeclaredFields counts them for all apps.
func (c *Collector) undeclaredFields() (n int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, r := range c.refused {
		n += r.undeclaredFields.Load()
	}
	return n
}

// refuse counts a refusal. A refusal names a declared field or one of ours.
func (c *Collector) refuse(app string, r *refusal) {
	what := Refused{Rule: RuleValue, Field: r.field}
	switch {
	case r.missing:
		what.Rule = RuleMissing
	case r.field == "event_type":
		what = Refused{Rule: RuleUndeclaredEvent}
	}
	c.refusedOf(app).add(what)
	c.metrics.refused.WithLabelValues(app, string(what.Rule), r.field).Inc()
}
