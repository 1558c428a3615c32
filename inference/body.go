package inference

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// patience is how long a sender may be silent in the middle of a body. As long as something comes,
// a body may take its time: it may be large, and the line slow.
const patience = time.Minute

// firstRoom is the memory for a body of which nothing has come yet.
const firstRoom = 64 << 10

// A budget bounds the memory for request bodies of one listener. Without it the limit of a single
// body would mean little: a hundred senders could take a hundred times as much.
type budget struct {
	max  int64
	used atomic.Int64
}

// take reserves n bytes if they are there.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.max {
		b.used.Add(-n)
		return false
	}
	return true
}

// read returns the body of a request, at most limit bytes of it. The caller calls release when it
// needs the body no more. Memory is taken from the budget as the body comes in, so that a large
// Content-Length with nothing behind it costs little.
func (b *budget) read(w http.ResponseWriter, r *http.Request, limit int64, larger error) (body []byte, release func(), err error) {
	if r.ContentLength > limit {
		return nil, nil, larger
	}
	var taken int64
	giveBack := func() { b.used.Add(-taken) }
	defer func() {
		if err != nil {
			giveBack()
		}
	}()
	// grow makes room. If the length is not known, it is for one byte more than may come, to see
	// where the body ends.
	grow := func() error {
		room := max(firstRoom, 2*int64(cap(body)))
		most := limit + 1
		if r.ContentLength >= 0 {
			most = max(r.ContentLength, 1)
		}
		room = min(room, most)
		if !b.take(room - taken) {
			return busy
		}
		taken = room
		body = append(make([]byte, 0, room), body...)
		return nil
	}

	control := http.NewResponseController(w)
	defer control.SetReadDeadline(time.Time{}) // the next request has its own
	for {
		if len(body) == cap(body) {
			if r.ContentLength >= 0 && int64(len(body)) == r.ContentLength {
				return body, giveBack, nil
			}
			if int64(len(body)) > limit {
				return nil, nil, larger
			}
			if err := grow(); err != nil {
				return nil, nil, err
			}
		}
		if err := control.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return nil, nil, err
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			if int64(len(body)) > limit {
				return nil, nil, larger
			}
			return body, giveBack, nil
		}
		if err != nil {
			return nil, nil, refuse("The request ended before its body was complete")
		}
	}
}
