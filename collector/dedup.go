package collector

import (
	"context"
	"slices"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A dedup recognises repeated events of one app. Senders of ours count their
// events, so what was seen of one is a few intervals, kept for ever and in
// whatever order events come: about 100 bytes of memory for each sender. Foreign
// ids are kept for foreignWindow.
//
// What counts as seen changes only with the commit: admit marks, and rollback
// takes the marks of a failed commit back. It belongs to the writer's goroutine.
type dedup struct {
	own     map[plan.ID]*intervals
	foreign *window

	// Marks since the last commit, in order.
	marks []mark

	// The sender of the last event: most of a request are of one.
	last   plan.ID
	lastIn *intervals
}

// A mark is of own sequence numbers on end, or of a foreign insert id.
type mark struct {
	id          plan.ID
	first, last int64
	foreign     uint64 // 0 if they are own ones
}

func emptyDedup(dir string) *dedup {
	return &dedup{own: map[plan.ID]*intervals{}, foreign: newWindow(dir)}
}

// newDedup learns what is stored. The folder dir is for what does not fit into
// memory.
func newDedup(ctx context.Context, s store.Store, app, dir string, now time.Time) (*dedup, error) {
	d := emptyDedup(dir)
	for seen, err := range s.Seen(ctx, app, now.Add(-foreignWindow)) {
		if err != nil {
			d.close()
			return nil, err
		}
		if seen.Foreign != (plan.ID{}) {
			d.foreign.add(d.foreign.hash(seen.ID, seen.Foreign), seen.Received)
			if d.foreign.young.used >= d.foreign.limit {
				d.foreign.turn(now.UnixMilli()) // tried again at the next commit
			}
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
func (d *dedup) admit(r *store.Record) (bool, error) {
	if r.Insert.Own {
		if d.lastIn == nil || d.last != r.ID {
			d.last, d.lastIn = r.ID, d.sender(r.ID)
		}
		seq := r.Insert.Seq
		if !d.lastIn.add(seq) {
			return false, nil
		}
		if n := len(d.marks); n > 0 {
			if m := &d.marks[n-1]; m.foreign == 0 && m.last+1 == seq && m.id == r.ID {
				m.last = seq
				return true, nil
			}
		}
		d.marks = append(d.marks, mark{id: r.ID, first: seq, last: seq})
		return true, nil
	}
	h := d.foreign.hash(r.ID, r.Insert.Foreign)
	if has, err := d.foreign.has(h); has || err != nil {
		return false, err
	}
	d.foreign.add(h, r.Received)
	d.marks = append(d.marks, mark{foreign: h})
	return true, nil
}

// commit makes the marks permanent. An error concerns none of them.
func (d *dedup) commit(now time.Time) error {
	d.marks = d.marks[:0]
	return d.foreign.turn(now.UnixMilli())
}

// rollback takes back the marks of a commit that failed.
func (d *dedup) rollback() {
	for _, m := range d.marks {
		if m.foreign != 0 {
			d.foreign.remove(m.foreign)
			continue
		}
		for seq := m.first; seq <= m.last; seq++ {
			d.own[m.id].remove(seq)
		}
	}
	d.marks = d.marks[:0]
}

// forget drops what is known of a sender. Hashes of its foreign ids stay until
// they are old: they say nothing, and its tombstone comes before them.
func (d *dedup) forget(id plan.ID) {
	d.lastIn = nil
	delete(d.own, id)
}

func (d *dedup) close() { d.foreign.close() }

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
	if i := len(s) - 1; i >= 0 && s[i].last == n-1 { // the usual case: the next in order
		s[i].last = n
		return true
	}
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
