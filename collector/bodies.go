package collector

import (
	"io"
	"net/http"
	"time"
)

// maxBodies bounds the bodies that are held at once, and with it the memory for
// them. Further requests are answered 503, unless one that is slow gives up its place.
const maxBodies = 256

// slowBody is how long a body may be on its way while others want its place. A
// megabyte takes a second on a line of 8 Mbit/s, and SDKs send less. 2026-11.
const slowBody = time.Second

// A body is one that is held, in a place of its own until it has arrived. It stands
// in for the request's own.
type body struct {
	io.ReadCloser
	*place
}

// bounded answers 503 where too many bodies are held already. One that is cut off
// is answered 408, so its sender comes back.
func (c *Collector) bounded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := c.bodies.take(func() error { return http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) })
		if p == nil {
			c.unavailable(w, "upload", errBusy)
			return
		}
		defer p.leave()
		r.Body = &body{r.Body, p}
		next(w, r)
	}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.settled()
	}
	return n, err
}
