package plan

import (
	"fmt"
	"strings"
)

// A Change is one difference between two plans.
type Change struct {
	What   string `json:"change"`           // "added", "removed" or "changed"
	Event  string `json:"event,omitempty"`  // empty for what every event has, and for delivery
	Field  string `json:"field,omitempty"`  // empty for an event as a whole
	In     string `json:"in,omitempty"`     // "delivery" for what travels for delivery only
	Detail string `json:"detail,omitempty"` // of a changed field: what it was and what it is
}

// Diff lists what a plan says otherwise than an older one: events, their fields,
// and what travels for delivery. The numbers of the plans and the order of their
// parts are no difference.
func Diff(old, now *Plan) []Change {
	var changes []Change
	diffFields(&changes, "", old.Fields, now.Fields)
	for _, e := range now.Events {
		was, is := find(old.Events, func(o Event) bool { return o.Name == e.Name })
		if !is {
			changes = append(changes, Change{What: "added", Event: e.Name})
		} else if was.Doc != e.Doc {
			changes = append(changes, Change{What: "changed", Event: e.Name, Detail: "description"})
		}
		diffFields(&changes, e.Name, was.Fields, e.Fields)
	}
	for _, e := range old.Events {
		if _, is := find(now.Events, func(n Event) bool { return n.Name == e.Name }); !is {
			changes = append(changes, Change{What: "removed", Event: e.Name})
		}
	}
	for _, d := range now.Delivery {
		was, is := find(old.Delivery, func(o Item) bool { return o.Name == d.Name })
		if !is {
			changes = append(changes, Change{What: "added", Field: d.Name, In: "delivery"})
		} else if was != d {
			changes = append(changes, Change{What: "changed", Field: d.Name, In: "delivery", Detail: "description"})
		}
	}
	for _, d := range old.Delivery {
		if _, is := find(now.Delivery, func(n Item) bool { return n.Name == d.Name }); !is {
			changes = append(changes, Change{What: "removed", Field: d.Name, In: "delivery"})
		}
	}
	return changes
}

func diffFields(changes *[]Change, event string, old, now []Field) {
	for _, f := range now {
		was, is := find(old, func(o Field) bool { return o.Name == f.Name })
		if !is {
			*changes = append(*changes, Change{What: "added", Event: event, Field: f.Name})
		} else if detail := differs(was, f); detail != "" {
			*changes = append(*changes, Change{What: "changed", Event: event, Field: f.Name, Detail: detail})
		}
	}
	for _, f := range old {
		if _, is := find(now, func(n Field) bool { return n.Name == f.Name }); !is {
			*changes = append(*changes, Change{What: "removed", Event: event, Field: f.Name})
		}
	}
}

// differs says in a few words how a field of one name has changed; "" if it has
// not.
func differs(a, b Field) string {
	var parts []string
	say := func(what string, was, is any) {
		if w, i := fmt.Sprint(was), fmt.Sprint(is); w != i {
			parts = append(parts, fmt.Sprintf("%s: %s, now %s", what, w, i))
		}
	}
	say("kind", a.Kind, b.Kind)
	say("in", a.In, b.In)
	say("words", a.Values, b.Values)
	say("bounds", a.Bounds, b.Bounds)
	say("session", a.Session, b.Session)
	if a.Doc != b.Doc {
		parts = append(parts, "description")
	}
	return strings.Join(parts, "; ")
}

func find[T any](all []T, is func(T) bool) (T, bool) {
	for _, v := range all {
		if is(v) {
			return v, true
		}
	}
	var none T
	return none, false
}
