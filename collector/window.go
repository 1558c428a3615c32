package collector

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"os"
	"slices"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// foreignWindow is how long a foreign insert id is remembered at least: Amplitude
// promises to recognise a repeat for 7 days. It may be a day more.
const foreignWindow = 7 * 24 * time.Hour

const (
	// maxYoung is how many ids a window holds in its table before it moves them
	// to a run, which stops the writer meanwhile. The table takes 16 MiB.
	maxYoung = 3 << 19

	// maxAge is how long it does at most: what is in one run goes at once.
	maxAge = 24 * time.Hour

	// maxFiltered bounds the ids whose runs have a filter, and with it the
	// memory for filters: 10 bits for each, 120 MiB in all. An older run costs
	// each event one read of 4 KiB, mostly from the system's cache.
	maxFiltered = 100_000_000
)

// A window knows which foreign insert ids have come within foreignWindow. It
// keeps 8 bytes of a keyed hash of each (the key is new at each start, and known
// to nobody), the last ones in a table and those before in sorted runs on disk,
// which have no names: they end with the process, and the next start learns from
// the store. Memory is bounded by the constants above, to 160 MiB for an app.
//
// Two ids with the same 8 bytes would pass for one. With a hundred million in
// the window, that happens to one event in 180 billion.
//
// It is not safe for concurrent use.
type window struct {
	dir  string // for the runs
	seed maphash.Seed

	young  table
	begun  int64 // when the first of young was received, milliseconds since 1970
	newest int64 // and the last
	runs   []*run
	stored int // ids in runs

	limit int // maxYoung, but in tests
}

func newWindow(dir string) *window {
	return &window{dir: dir, seed: maphash.MakeSeed(), limit: maxYoung}
}

// hash returns what stands for an insert id of a sender.
func (w *window) hash(sender, insert plan.ID) uint64 {
	var b [2 * len(plan.ID{})]byte
	copy(b[:], sender[:])
	copy(b[len(sender):], insert[:])
	return max(1, maphash.Bytes(w.seed, b[:])) // 0 is an empty place in a table
}

// has reports whether h was added. An error means that it cannot be known now.
func (w *window) has(h uint64) (bool, error) {
	if w.young.has(h) {
		return true, nil
	}
	for _, r := range slices.Backward(w.runs) { // a repeat mostly comes soon
		if has, err := r.has(h); has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// add adds h, which is not there, as received at a time in milliseconds.
func (w *window) add(h uint64, received int64) {
	if w.young.used == 0 {
		w.begun, w.newest = received, received
	}
	w.newest = max(w.newest, received)
	w.young.add(h)
}

// remove takes out h, which was added since the last turn.
func (w *window) remove(h uint64) { w.young.remove(h) }

// turn lets go of what is older than the window, and moves the table to a run if
// it is full or old. After an error everything is as it was: the table grows on,
// and the next turn tries again.
func (w *window) turn(now int64) error {
	for len(w.runs) > 0 && now-w.runs[0].newest >= foreignWindow.Milliseconds() {
		w.stored -= w.runs[0].n
		w.runs[0].close()
		w.runs = slices.Delete(w.runs, 0, 1)
	}
	if w.young.used == 0 || w.young.used < w.limit && now-w.begun < maxAge.Milliseconds() {
		return nil
	}
	if now-w.newest < foreignWindow.Milliseconds() {
		r, err := writeRun(w.dir, w.young.sorted())
		if err != nil {
			return fmt.Errorf("keep what was seen: %w", err)
		}
		r.newest = w.newest
		w.runs = append(w.runs, r)
		// In the order in which they expire: the sender of a restored clock may
		// come from the past.
		slices.SortStableFunc(w.runs, func(a, b *run) int { return cmp.Compare(a.newest, b.newest) })
		w.stored += r.n
		filtered := 0
		for _, r := range slices.Backward(w.runs) {
			if filtered += r.n; filtered > maxFiltered {
				r.filter = nil
			}
		}
	}
	w.young.clear()
	return nil
}

func (w *window) close() {
	for _, r := range w.runs {
		r.close()
	}
	w.runs = nil
}

// A table is a set of numbers other than 0, which are spread evenly: open
// addressing by the highest bits, so that it lies nearly sorted.
type table struct {
	places []uint64
	used   int
	shift  int
}

const minTable = 1 << 10

// find returns the place of h, or the one for it. The table has free places.
func (t *table) find(h uint64) int {
	i := int(h >> t.shift)
	for t.places[i] != h && t.places[i] != 0 {
		if i++; i == len(t.places) {
			i = 0
		}
	}
	return i
}

func (t *table) has(h uint64) bool { return t.used > 0 && t.places[t.find(h)] == h }

// clear empties t, and keeps its memory.
func (t *table) clear() {
	clear(t.places)
	t.used = 0
}

// add adds h, which is not there.
func (t *table) add(h uint64) {
	if t.used >= len(t.places)/4*3 {
		old := t.places
		t.places = make([]uint64, max(minTable, 2*len(old)))
		t.shift = 64 - bits.TrailingZeros(uint(len(t.places)))
		for _, h := range old {
			if h != 0 {
				t.places[t.find(h)] = h
			}
		}
	}
	t.places[t.find(h)] = h
	t.used++
}

// remove takes out h, and moves up what would not be found any more.
func (t *table) remove(h uint64) {
	if !t.has(h) {
		return
	}
	hole, mask := t.find(h), len(t.places)-1
	for i := (hole + 1) & mask; t.places[i] != 0; i = (i + 1) & mask {
		home := int(t.places[i] >> t.shift)
		if (i-home)&mask >= (i-hole)&mask {
			t.places[hole], hole = t.places[i], i
		}
	}
	t.places[hole] = 0
	t.used--
}

// sorted returns what is in t, in ascending order.
func (t *table) sorted() []uint64 {
	list := make([]uint64, 0, t.used)
	for _, h := range t.places {
		if h != 0 {
			list = append(list, h)
		}
	}
	// The table wraps: what has found no place at its end lies at its start.
	wrapped := 0
	for wrapped < len(list) && int(list[wrapped]>>t.shift) > len(t.places)/2 {
		wrapped++
	}
	list = append(list, list[:wrapped]...)[wrapped:]
	for i := 1; i < len(list); i++ { // each is a few places from its own
		h, j := list[i], i
		for ; j > 0 && list[j-1] > h; j-- {
			list[j] = list[j-1]
		}
		list[j] = h
	}
	return list
}

// A run is a file of sorted numbers, 8 bytes each, little-endian, in pages of
// which the first number is known.
type run struct {
	file   *os.File
	n      int
	firsts []uint64
	filter filter // nil if it has none
	newest int64  // when the last was received

	page [runPage * 8]byte
}

const runPage = 512 // numbers

// seenPrefix is how the name of a run begins while it has one.
const seenPrefix = "seen-"

var errRun = errors.New("a file of what was seen is shorter than it was")

// writeRun writes a run, whose file has no name any more when it returns.
func writeRun(dir string, list []uint64) (*run, error) {
	file, err := os.CreateTemp(dir, seenPrefix+"*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, err
	}
	r := &run{file: file, n: len(list), filter: newFilter(len(list))}
	b := make([]byte, 0, 1<<20)
	for i, h := range list {
		if i%runPage == 0 {
			r.firsts = append(r.firsts, h)
		}
		r.filter.add(h)
		b = binary.LittleEndian.AppendUint64(b, h)
		if len(b) == cap(b) || i == len(list)-1 {
			if _, err := file.Write(b); err != nil {
				file.Close()
				return nil, err
			}
			b = b[:0]
		}
	}
	return r, nil
}

func (r *run) has(h uint64) (bool, error) {
	if r.filter != nil && !r.filter.has(h) {
		return false, nil
	}
	p, found := slices.BinarySearch(r.firsts, h)
	if found || p == 0 {
		return found, nil
	}
	at := (p - 1) * runPage
	b := r.page[:8*min(runPage, r.n-at)]
	if n, err := r.file.ReadAt(b, int64(at)*8); n < len(b) {
		return false, fmt.Errorf("look up what was seen: %w", cmp.Or(err, errRun))
	}
	low, high := 0, len(b)/8
	for low < high {
		mid := (low + high) / 2
		switch x := binary.LittleEndian.Uint64(b[8*mid:]); {
		case x == h:
			return true, nil
		case x < h:
			low = mid + 1
		default:
			high = mid
		}
	}
	return false, nil
}

func (r *run) close() { r.file.Close() }

// A filter says of a number that it is not in a set, or that it may be: wrongly
// for one in eighty. It is a Bloom filter of blocks of 64 bytes, with one bit in
// each of a block's eight words, so that a question touches one line of the
// CPU's cache (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom
// Filters, 2007).
type filter [][8]uint64

func newFilter(n int) filter { return make(filter, n*10/512+1) }

// bits returns the block of h, and a number whose highest 48 bits say which bits
// of it. The highest bits of h itself choose the block.
func (f filter) bits(h uint64) (*[8]uint64, uint64) {
	at, _ := bits.Mul64(h, uint64(len(f)))
	return &f[at], h * 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio, odd
}

func (f filter) add(h uint64) {
	block, which := f.bits(h)
	for i := range block {
		block[i] |= 1 << (which >> 58)
		which <<= 6
	}
}

func (f filter) has(h uint64) bool {
	block, which := f.bits(h)
	for i := range block {
		if block[i]>>(which>>58)&1 == 0 {
			return false
		}
		which <<= 6
	}
	return true
}
