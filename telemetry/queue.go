package telemetry

import (
	"sync"
	"sync/atomic"
)

// A slot holds one event as it waits: fixed in size, without pointers, so that
// writing one allocates nothing and a file can be mapped as an array of them.
type slot struct {
	mark    uint64 // checksum over the rest; written last, so that half a slot is never taken for a whole one
	where   uint64 // position in the queue in the low 56 bits, event in the high 8
	seq     int64  // from 0; a gap shows a collector that an event was dropped
	elapsed int64  // nanoseconds since the session's start, by the monotonic clock
	own     [maxOwn]int64
}

const slotSize = 64

const positionMask = 1<<56 - 1

func (s *slot) position() uint64 { return s.where & positionMask }
func (s *slot) event() uint8     { return uint8(s.where >> 56) }

// sum is the checksum of a slot, never 0. It guards against torn and rotten
// slots, not against people: multiplication by an odd constant and a shift for
// each word spread every bit (the constant is 2^64 divided by the golden ratio).
func (s *slot) sum() uint64 {
	const k = 0x9E3779B97F4A7C15
	h := (s.where ^ k) * k
	h ^= h >> 32
	h = (h ^ uint64(s.seq)) * k
	h ^= h >> 32
	h = (h ^ uint64(s.elapsed)) * k
	h ^= h >> 32
	for _, v := range s.own {
		h = (h ^ uint64(v)) * k
		h ^= h >> 32
	}
	return h | 1
}

// A queue is a bounded ring of slots, in memory or in a mapped file. Any number
// of goroutines put; one takes and acknowledges.
//
// Slots are freed when they are acknowledged, not when they are taken: what is
// under way survives the end of the process in the file.
type queue struct {
	mu     sync.Mutex // guards what follows
	slots  []slot     // len is a power of two
	head   uint64     // oldest that is not acknowledged
	next   uint64     // next to take
	tail   uint64     // next to put
	seq    int64
	last   int64 // elapsed of the newest slot
	closed bool

	dropped int64
	settled int64 // of those between head and next: refused, but not yet acknowledged because older ones wait

	// saved is where head is kept in a mapped file; nil for a queue in memory.
	saved *uint64
}

func newQueue(size int) *queue {
	return &queue{slots: make([]slot, roundUp(size))}
}

// roundUp returns the next power of two.
func roundUp(size int) int {
	n := 1
	for n < size {
		n <<= 1
	}
	return n
}

// put adds an event and gives it its sequence number. A full or closed queue
// drops it: the newest goes, because what came first explains the rest.
func (q *queue) put(event uint8, elapsed int64, own *[maxOwn]int64) {
	q.mu.Lock()
	seq := q.seq
	q.seq++
	if q.closed || q.tail-q.head == uint64(len(q.slots)) {
		q.dropped++
		q.mu.Unlock()
		return
	}
	// The clock was read before the lock: whoever got it later must not be older.
	if elapsed < q.last {
		elapsed = q.last
	}
	q.last = elapsed
	s := &q.slots[q.tail&uint64(len(q.slots)-1)]
	s.mark = 0 // half a slot, of a process that is killed here, is free; any other without its checksum is damaged
	s.where = q.tail&positionMask | uint64(event)<<56
	s.seq, s.elapsed, s.own = seq, elapsed, *own
	atomic.StoreUint64(&s.mark, s.sum())
	q.tail++
	q.mu.Unlock()
}

// take copies the oldest slots that were not taken yet into buf, as many as
// there are or fit.
func (q *queue) take(buf []slot) []slot {
	q.mu.Lock()
	defer q.mu.Unlock()
	buf = q.copy(buf)
	q.next += uint64(len(buf))
	return buf
}

// peek copies what take would take, and leaves it there.
func (q *queue) peek(buf []slot) []slot {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.copy(buf)
}

// copy is what take and peek do. The caller holds mu.
func (q *queue) copy(buf []slot) []slot {
	n := min(len(buf), int(q.tail-q.next))
	for i := range n {
		buf[i] = q.slots[(q.next+uint64(i))&uint64(len(q.slots)-1)]
	}
	return buf[:n]
}

// acknowledge frees all slots before position. Of those that are taken and not
// freed by that, pending are not settled yet.
func (q *queue) acknowledge(position uint64, pending int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.head = position
	q.settled = int64(q.next-q.head) - int64(pending)
	q.save()
}

// save keeps head where the next start finds it. The caller holds mu.
func (q *queue) save() {
	if q.saved != nil {
		atomic.StoreUint64(q.saved, seal(q.head))
	}
}

// seal puts a checksum into the high 8 bits of a position, so that a damaged
// head is not taken for events that were acknowledged. One word is written whole
// or not at all.
func seal(position uint64) uint64 {
	p := position & positionMask
	h := (p ^ 0x9E3779B97F4A7C15) * 0x9E3779B97F4A7C15
	return p | (h^h>>32)>>24<<56
}

// taken returns the position up to which slots were taken.
func (q *queue) taken() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next
}

// expire drops the oldest slots that are older than oldest, and returns how
// many. Those that are taken are left to their request.
func (q *queue) expire(oldest int64) (n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head != q.next {
		return 0
	}
	for q.head != q.tail && q.slots[q.head&uint64(len(q.slots)-1)].elapsed < oldest {
		q.head++
		n++
	}
	q.next = q.head
	q.dropped += n
	q.save()
	return n
}

// close makes every later put a drop.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
}

// clear drops all slots and returns how many there were.
func (q *queue) clear() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := int64(q.tail-q.head) - q.settled
	q.head, q.next = q.tail, q.tail
	q.dropped += n
	q.settled = 0
	q.save()
	return n
}

// counts returns how many events were put (dropped ones included), wait, and
// were dropped.
func (q *queue) counts() (put, waiting, dropped int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.seq, int64(q.tail-q.head) - q.settled, q.dropped
}
