package collector

import (
	"container/list"
	"errors"
	"sync"
	"time"
)

// Places bound what is done at once for anybody who asks. Who is slow must not keep
// others out: when all places are taken, the one that was taken first is cut off,
// if that was more than slow ago, and its place goes to who comes next. They are
// safe for concurrent use.
type places struct {
	most int
	slow time.Duration

	mu      sync.Mutex // guards what follows
	held    int
	waiting list.List // of *place, the first to be taken in front: those that wait for the other end
}

// A place is one that is taken.
type place struct {
	of    *places
	begun time.Time
	cut   func() error  // has what waits for the other end fail, at once
	left  chan struct{} // closed when the place is free

	waiting *list.Element // guarded by of.mu; nil once it waits no more, or was cut off
}

// take returns a place, or nil if there is none. Whoever is cut off has to leave
// soon, because somebody waits for that.
func (ps *places) take(cut func() error) *place {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for ps.held >= ps.most {
		first := ps.waiting.Front()
		if first == nil {
			return nil
		}
		slow := first.Value.(*place)
		if time.Since(slow.begun) < ps.slow {
			return nil
		}
		ps.settle(slow)
		if slow.cut() != nil {
			return nil
		}
		ps.mu.Unlock()
		<-slow.left
		ps.mu.Lock()
	}
	p := &place{of: ps, begun: time.Now(), cut: cut, left: make(chan struct{})}
	p.waiting = ps.waiting.PushBack(p)
	ps.held++
	return p
}

// settle takes a place off the list of those that wait. The caller holds mu.
func (ps *places) settle(p *place) {
	if p.waiting != nil {
		ps.waiting.Remove(p.waiting)
		p.waiting = nil
	}
}

// settled notes that a place waits for the other end no more, and is not cut off.
func (p *place) settled() {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.of.settle(p)
}

var errCutOff = errors.New("others waited for the place")

// unlessCut does what could undo a cut, such as giving the other end more time. It
// fails where the place was cut off already.
func (p *place) unlessCut(do func()) error {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	if p.waiting == nil {
		return errCutOff
	}
	do()
	return nil
}

// leave gives up the place.
func (p *place) leave() {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.of.settle(p)
	p.of.held--
	close(p.left)
}
