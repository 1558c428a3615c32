package collector

import (
	"container/list"
	"io"
	"net/http"
	"sync"
	"time"
)

// maxBodies bounds the bodies that are held at once, and with it the memory for
// them. Further requests are answered 503.
const maxBodies = 256

// slowBody is how long a body may be on its way while others want its place. A
// megabyte takes a second on a line of 8 Mbit/s, and SDKs send less. 2026-11.
const slowBody = time.Second

// bodies are those that are held. Senders that dribble must not keep others out:
// when all places are taken, the body that has been on its way for the longest
// time, and for more than slowBody, is cut off, and its sender told to come back.
// It is safe for concurrent use; the zero value is ready.
type bodies struct {
	mu       sync.Mutex // guards what follows
	held     int
	arriving list.List // of *body, the first to begin in front
}

// A body is one that is held. It stands in for the request's own.
type body struct {
	io.ReadCloser
	of    *bodies
	begun time.Time
	cut   func() error  // has the next read fail, and one that waits
	left  chan struct{} // closed when its place is free

	arriving *list.Element // guarded by of.mu; nil once it has arrived or was cut off
}

// bounded answers 503 where too many bodies are held already.
func (c *Collector) bounded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b := c.bodies.take(w, r)
		if b == nil {
			c.unavailable(w, "upload", errBusy)
			return
		}
		defer b.leave()
		r.Body = b
		next(w, r)
	}
}

// take returns the body of a request with a place of its own, or nil if there is
// none.
func (bs *bodies) take(w http.ResponseWriter, r *http.Request) *body {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	for bs.held >= maxBodies {
		first := bs.arriving.Front()
		if first == nil {
			return nil
		}
		slow := first.Value.(*body)
		if time.Since(slow.begun) < slowBody {
			return nil
		}
		bs.arrived(slow)
		if slow.cut() != nil {
			return nil
		}
		bs.mu.Unlock()
		<-slow.left // at once, because its read fails
		bs.mu.Lock()
	}
	b := &body{
		ReadCloser: r.Body, of: bs, begun: time.Now(), left: make(chan struct{}),
		cut: func() error { return http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) },
	}
	b.arriving = bs.arriving.PushBack(b)
	bs.held++
	return b
}

// arrived takes a body off the list of those that are waited for. The caller
// holds mu.
func (bs *bodies) arrived(b *body) {
	if b.arriving != nil {
		bs.arriving.Remove(b.arriving)
		b.arriving = nil
	}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.of.mu.Lock()
		defer b.of.mu.Unlock()
		b.of.arrived(b)
	}
	return n, err
}

// leave gives up the place.
func (b *body) leave() {
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	b.of.arrived(b)
	b.of.held--
	close(b.left)
}
