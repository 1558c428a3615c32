package telemetry

import "sync"

// A record is one event as it waits: fixed in size, without pointers, so that
// writing one allocates nothing.
type record struct {
	seq     int64 // from 0; a gap shows a collector that an event was dropped
	elapsed int64 // nanoseconds since the session's start, by the monotonic clock
	own     [maxOwn]int64
	event   uint8
}

// A queue is a bounded ring of records. Any number of goroutines put; one takes.
type queue struct {
	mu      sync.Mutex
	ring    []record // len is a power of two
	head    uint64   // next to take
	tail    uint64   // next to put
	seq     int64
	dropped int64
	closed  bool
}

func newQueue(size int) *queue {
	n := 1
	for n < size {
		n <<= 1
	}
	return &queue{ring: make([]record, n)}
}

// put adds r and gives it its sequence number. A full or closed queue drops it:
// the newest goes, because what came first is what explains the rest.
func (q *queue) put(event uint8, elapsed int64, own *[maxOwn]int64) {
	q.mu.Lock()
	seq := q.seq
	q.seq++
	if q.closed || q.tail-q.head == uint64(len(q.ring)) {
		q.dropped++
		q.mu.Unlock()
		return
	}
	r := &q.ring[q.tail&uint64(len(q.ring)-1)]
	r.seq, r.elapsed, r.event, r.own = seq, elapsed, event, *own
	q.tail++
	q.mu.Unlock()
}

// take moves the oldest records into buf, as many as there are or fit.
func (q *queue) take(buf []record) []record {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(buf), int(q.tail-q.head))
	for i := range n {
		buf[i] = q.ring[(q.head+uint64(i))&uint64(len(q.ring)-1)]
	}
	q.head += uint64(n)
	return buf[:n]
}

// clear throws away all records and returns how many there were.
func (q *queue) clear() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.tail - q.head
	q.head = q.tail
	return int64(n)
}

// close makes every later put a drop.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
}

// counts returns how many records were put (dropped ones included), wait, and
// were dropped.
func (q *queue) counts() (put, waiting, dropped int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.seq, int64(q.tail - q.head), q.dropped
}
