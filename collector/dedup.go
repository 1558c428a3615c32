package collector

import (
	"context"
	"slices"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// foreignWindow is how long a foreign insert id is remembered: Amplitude
// promises to recognise a repeat for 7 days.
const foreignWindow = 7 * 24 * time.Hour

// A dedup recognises repeated events of one app. Senders of ours count their
// events, so what was seen of one is a few intervals, kept for ever and in
// whatever order events come. Foreign ids are kept for foreignWindow.
//
// What counts as seen changes only with the commit: admit marks, and rollback
// takes the marks of a failed commit back. It belongs to the writer's goroutine.
type dedup struct {
	own     map[plan.ID]*intervals
	foreign map[foreignKey]int64 // time received, milliseconds

	// Marks since the last commit, in order.
	marks []mark

	// The sender of the last event: most of a request are of one.
	last   plan.ID
	lastIn *intervals

	nextPrune int64
}

type foreignKey struct{ sender, insert plan.ID }

type mark struct {
	id      plan.ID
	seq     int64
	foreign plan.ID
	own     bool
}

// newDedup learns what is stored.
func newDedup(ctx context.Context, s store.Store, app string, now time.Time) (*dedup, error) {
	d := &dedup{own: map[plan.ID]*intervals{}, foreign: map[foreignKey]int64{}}
	for seen, err := range s.Seen(ctx, app, now.Add(-foreignWindow)) {
		if err != nil {
			return nil, err
		}
		if seen.Foreign != (plan.ID{}) {
			d.foreign[foreignKey{seen.ID, seen.Foreign}] = seen.Received
			continue
		}
		d.sender(seen.ID).addRange(seen.First, seen.Last)
	}
	return d, nil
}

func (d *dedup) sender(id plan.ID) *intervals {
	in := d.own[id]
	if in == nil {
		in = new(intervals)
		d.own[id] = in
	}
	return in
}

// admit reports whether r is new, and marks it.
func (d *dedup) admit(r *store.Record) bool {
	if r.Insert.Own {
		if d.lastIn == nil || d.last != r.ID {
			d.last, d.lastIn = r.ID, d.sender(r.ID)
		}
		if !d.lastIn.add(r.Insert.Seq) {
			return false
		}
		d.marks = append(d.marks, mark{id: r.ID, seq: r.Insert.Seq, own: true})
		return true
	}
	key := foreignKey{r.ID, r.Insert.Foreign}
	if at, has := d.foreign[key]; has && r.Received-at < foreignWindow.Milliseconds() {
		return false
	}
	d.foreign[key] = r.Received
	d.marks = append(d.marks, mark{id: r.ID, foreign: r.Insert.Foreign})
	return true
}

// commit makes the marks permanent.
func (d *dedup) commit(now time.Time) {
	d.marks = d.marks[:0]
	if ms := now.UnixMilli(); ms >= d.nextPrune {
		d.nextPrune = ms + time.Hour.Milliseconds()
		for key, at := range d.foreign {
			if ms-at >= foreignWindow.Milliseconds() {
				delete(d.foreign, key)
			}
		}
	}
}

// rollback takes back the marks of a commit that failed.
func (d *dedup) rollback() {
	for _, m := range d.marks {
		if m.own {
			d.own[m.id].remove(m.seq)
		} else {
			delete(d.foreign, foreignKey{m.id, m.foreign})
		}
	}
	d.marks = d.marks[:0]
}

// forget drops all that is known of a sender.
func (d *dedup) forget(id plan.ID) {
	d.lastIn = nil
	delete(d.own, id)
	for key := range d.foreign {
		if key.sender == id {
			delete(d.foreign, key)
		}
	}
}

// intervals is a set of numbers as sorted, disjoint, non-adjacent ranges. A
// sender whose events arrive in order needs one.
type intervals []interval

type interval struct{ first, last int64 } // both included

// find returns the index of the first interval that ends at n or later.
func (in intervals) find(n int64) int {
	if len(in) > 0 && in[len(in)-1].last < n {
		return len(in) // the usual case: the next in order
	}
	i, _ := slices.BinarySearchFunc(in, n, func(iv interval, n int64) int {
		if iv.last < n {
			return -1
		}
		return 1
	})
	return i
}

// add reports whether n is new, and adds it.
func (in *intervals) add(n int64) bool {
	s := *in
	i := s.find(n)
	if i < len(s) && s[i].first <= n {
		return false
	}
	before := i > 0 && s[i-1].last == n-1
	after := i < len(s) && s[i].first == n+1
	switch {
	case before && after:
		s[i-1].last = s[i].last
		s = slices.Delete(s, i, i+1)
	case before:
		s[i-1].last = n
	case after:
		s[i].first = n
	default:
		s = slices.Insert(s, i, interval{n, n})
	}
	*in = s
	return true
}

// addRange adds a range that touches none of the ones before; the store yields
// them so. Anything else is added number by number.
func (in *intervals) addRange(first, last int64) {
	if s := *in; len(s) == 0 || s[len(s)-1].last < first-1 {
		*in = append(s, interval{first, last})
		return
	}
	for n := first; n <= last; n++ {
		in.add(n)
	}
}

// remove takes n out.
func (in *intervals) remove(n int64) {
	s := *in
	i := s.find(n)
	if i == len(s) || s[i].first > n {
		return
	}
	iv := s[i]
	switch {
	case iv.first == iv.last:
		s = slices.Delete(s, i, i+1)
	case iv.first == n:
		s[i].first++
	case iv.last == n:
		s[i].last--
	default:
		s[i].last = n - 1
		s = slices.Insert(s, i+1, interval{n + 1, iv.last})
	}
	*in = s
}
