package telemetry

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// A session with a state folder keeps its queue in a file that is mapped into
// memory, so that an event survives the end of the process, also by SIGKILL, as
// soon as Record has returned. The kernel writes the pages to disk within
// seconds; a power cut may lose what it had not written yet, and a slot that was
// written by half is known by its checksum.
//
// The file belongs to one process, which holds a lock on it (never shared: the
// crashes of other mapped telemetry come from maps of several processes and from
// files that shrink under them). Its blocks are allocated before it is mapped,
// so that a full disk shows when the session starts and not as a fault in the
// middle of Record. When the process is gone the lock is too, and the next start
// reads the file, without mapping it, and sends what is left.
//
//	offset  size   what
//	0       8      spoolMagic
//	8       4      1 in this machine's byte order
//	12      4      length of the description
//	16      4      CRC-32 (IEEE) of the description
//	24      8      number of slots, a power of two
//	32      8      head: position of the oldest slot that is not acknowledged, sealed
//	64      ...    description: a JSON object, see described
//	65536   64*n   slots
//
// Files are in the byte order of the machine that wrote them; on another one
// they are set aside.

const (
	spoolMagic  = "tmspool1"
	spoolHeader = 64 << 10
	headOffset  = 32
	descOffset  = 64
	spoolEnding = ".spool"
	asideEnding = ".damaged"
	newEnding   = ".new"
)

// maxAge is how long an undelivered event waits: after a week nobody asks any
// more how last week's run went, and Amplitude recognises repeats for as long.
const maxAge = 7 * 24 * time.Hour

// maxSpools bounds the files in the folder, and with them the room that a program
// takes which crashes again and again before it can send: 64 times 8 MiB at the
// worst, and a few KiB each where sessions end in order. Beyond it events wait in
// memory only.
const maxSpools = 64

// described is what is needed to send a session's events without the program
// that recorded them, which may be a newer one by then.
type described struct {
	App     string     `json:"app"`
	ID      string     `json:"user_id"`
	Started int64      `json:"started"` // milliseconds since 1970 UTC, or noTime
	Heads   []string   `json:"heads"`   // of each event, see session.makeHeads
	Plan    *plan.Plan `json:"plan"`
	Held    []int      `json:"held,omitempty"` // see heldBack.own
}

// A spool is the mapped file of a live session.
type spool struct {
	file *os.File
	path string
	mem  []byte
	desc []byte
}

func spoolDir(stateDir string) string { return filepath.Join(stateDir, "spool") }

// openSpool makes the file of a session and the queue in it.
func openSpool(stateDir string, d described, slots int) (*spool, *queue, error) {
	desc, err := json.Marshal(d)
	if err != nil {
		return nil, nil, err
	}
	if len(desc) > spoolHeader-descOffset {
		return nil, nil, errors.New("the plan is too large to be kept with the events")
	}
	dir := spoolDir(stateDir)
	if err := makeDir(dir); err != nil {
		return nil, nil, err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) >= maxSpools {
		return nil, nil, errors.New("too many sessions have left events there that wait to be sent")
	}
	n := roundUp(slots)
	s := &spool{path: filepath.Join(dir, d.ID+spoolEnding), desc: desc}
	// The file gets its name when it is locked and whole: another process that
	// starts now would take it for a damaged one, and so would the next start if
	// this one was killed here.
	s.file, err = os.OpenFile(s.path+newEnding, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, err
	}
	handOver(s.file)
	q, err := s.mapQueue(n)
	if err == nil {
		if err = os.Rename(s.file.Name(), s.path); err != nil {
			unmapFile(s.mem)
		}
	}
	if err != nil {
		unlockFile(s.file)
		os.Remove(s.file.Name())
		return nil, nil, err
	}
	return s, q, nil
}

// mapQueue locks, allocates and maps the file, and lays the queue over it.
func (s *spool) mapQueue(slots int) (*queue, error) {
	size := spoolHeader + slots*slotSize
	if err := lockFile(s.file); err != nil {
		return nil, err
	}
	if err := allocate(s.file, int64(size)); err != nil {
		return nil, err
	}
	mem, err := mapFile(s.file, size)
	if err != nil {
		return nil, err
	}
	s.mem = mem
	writeHeader(mem, s.desc, slots, 0)
	return &queue{
		slots: unsafe.Slice((*slot)(unsafe.Pointer(&mem[spoolHeader])), slots),
		saved: (*uint64)(unsafe.Pointer(&mem[headOffset])),
	}, nil
}

func writeHeader(b, desc []byte, slots int, head uint64) {
	copy(b, spoolMagic)
	binary.NativeEndian.PutUint32(b[8:], 1)
	binary.NativeEndian.PutUint32(b[12:], uint32(len(desc)))
	binary.NativeEndian.PutUint32(b[16:], crc32.ChecksumIEEE(desc))
	binary.NativeEndian.PutUint64(b[24:], uint64(slots))
	binary.NativeEndian.PutUint64(b[headOffset:], seal(head))
	copy(b[descOffset:], desc)
}

// close ends the mapping after the queue was closed. What still waits, pending
// (taken, not settled) and what was not taken, is left in a file of its own size
// for the next start; with nothing left there is no file.
func (s *spool) close(q *queue, pending []slot) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := slices.Grow(slices.Clone(pending), int(q.tail-q.next))
	for p := q.next; p != q.tail; p++ {
		left = append(left, q.slots[p&uint64(len(q.slots)-1)])
	}
	q.slots, q.saved = nil, nil // counts can still be asked for
	err := unmapFile(s.mem)
	switch {
	case len(left) == 0:
		err = errors.Join(err, os.Remove(s.path))
	case len(left) <= rewriteMost:
		// If that fails the file of full size is as good, only larger.
		err = errors.Join(err, writeSpool(s.path, s.desc, left))
	}
	return errors.Join(err, unlockFile(s.file))
}

// rewriteMost is how many slots are rewritten at the end of a session: 1 MiB,
// so that a Close without a budget stays within milliseconds.
const rewriteMost = 1 << 20 / slotSize

// discard ends the mapping of a closed and cleared queue and removes the file.
func (s *spool) discard(q *queue) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.slots, q.saved = nil, nil
	return errors.Join(unmapFile(s.mem), os.Remove(s.path), unlockFile(s.file))
}

// writeSpool replaces a spool file by one that holds just these slots. It is not
// synced: the kernel writes it within seconds, as it does the mapped one.
func writeSpool(path string, desc []byte, left []slot) error {
	// A name that nobody knows beforehand, and a file that was not there: behind a
	// link that somebody has put in the way another file would be overwritten.
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*"+newEnding) // mode 0600
	if err != nil {
		return fmt.Errorf("keep the events that wait: %w", err)
	}
	handOver(f)
	_, err = f.Write(makeSpool(desc, left))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep the events that wait: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// makeSpool returns a spool file that holds just these slots.
func makeSpool(desc []byte, left []slot) []byte {
	n := roundUp(len(left))
	b := make([]byte, spoolHeader+n*slotSize)
	writeHeader(b, desc, n, 0)
	for i, s := range left {
		// Positions are made anew: refused events may be missing in between.
		s.where = uint64(i) | uint64(s.event())<<56
		s.mark = s.sum()
		putSlot(b[spoolHeader+i*slotSize:], &s)
	}
	return b
}

func putSlot(b []byte, s *slot) {
	o := binary.NativeEndian
	o.PutUint64(b, s.mark)
	o.PutUint64(b[8:], s.where)
	o.PutUint64(b[16:], uint64(s.seq))
	o.PutUint64(b[24:], uint64(s.elapsed))
	for i, v := range s.own {
		o.PutUint64(b[32+8*i:], uint64(v))
	}
}

func getSlot(b []byte) (s slot) {
	o := binary.NativeEndian
	s.mark, s.where = o.Uint64(b), o.Uint64(b[8:])
	s.seq, s.elapsed = int64(o.Uint64(b[16:])), int64(o.Uint64(b[24:]))
	for i := range s.own {
		s.own[i] = int64(o.Uint64(b[32+8*i:]))
	}
	return s
}

// readSpool reads a spool file for parseSpool: no more of it than its header
// says and one byte, however large the file is.
func readSpool(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(info.Size(), spoolHeader))
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, err
	}
	_, _, slots, err := parseHeader(b)
	if err != nil {
		return b, nil // parseSpool says the same
	}
	b = append(b, make([]byte, min(info.Size()-spoolHeader, int64(slots)*slotSize+1))...)
	_, err = f.ReadAt(b[spoolHeader:], spoolHeader)
	return b, err
}

// parseSpool reads a spool file whole. It returns the slots that are still to
// be sent, in order, and how many there must have been that cannot be read. An
// error means that nothing of the file can be used.
func parseSpool(b []byte) (d described, desc []byte, left []slot, unreadable int64, err error) {
	d, desc, slots, err := parseHeader(b)
	if err != nil {
		return described{}, nil, nil, 0, err
	}
	head := binary.NativeEndian.Uint64(b[headOffset:])
	at := func(p uint64) (s slot, inside bool) {
		i := spoolHeader + (p&(slots-1))*slotSize
		if i+slotSize > uint64(len(b)) {
			return slot{}, false // the file was cut short
		}
		if binary.NativeEndian.Uint64(b[i:]) == 0 {
			return slot{}, true // most are free
		}
		return getSlot(b[i:]), true
	}
	whole := func(s *slot, p uint64) bool {
		return s.mark != 0 && s.mark == s.sum() && (s.position()^p)&(slots-1) == 0 && d.holds(s)
	}
	if head != seal(head) {
		// Which slots were acknowledged nobody can say, so all are sent again;
		// the collector knows them by their insert_id.
		head = positionMask
		for i := range slots {
			s, inside := at(i)
			if !inside {
				break
			}
			if whole(&s, i) {
				head = min(head, s.position())
			}
		}
	}
	head &= positionMask
	end := head
	for i := range slots {
		s, inside := at(i)
		if !inside {
			break
		}
		if p := s.position(); whole(&s, i) && p >= head && p-head < slots {
			left = append(left, s)
			end = max(end, p+1)
		}
	}
	slices.SortFunc(left, func(a, b slot) int { return cmp.Compare(a.position(), b.position()) })
	unreadable = int64(end-head) - int64(len(left))
	// Behind the newest slot there must be a free one: never written, or written
	// by half, or of the lap before. If it is damaged or cut off, there was at
	// least one more.
	for p := end; p-head < slots; p++ {
		s, inside := at(p)
		if inside && (s.mark == 0 || whole(&s, p) && s.position() < head) {
			break
		}
		unreadable++
		if !inside {
			break
		}
	}
	if unreadable == 0 && uint64(len(b)) > spoolHeader+slots*slotSize {
		unreadable = 1 // the number of slots is damaged
	}
	return d, desc, left, unreadable, nil
}

// usedSpool returns the size of a spool file without the free slots at its end,
// but for the one that shows where the events end.
func usedSpool(b []byte, left []slot) int64 {
	slots := binary.NativeEndian.Uint64(b[24:])
	used := uint64(0)
	for i := range left {
		used = max(used, left[i].position()&(slots-1)+1)
	}
	return spoolHeader + int64(min(used+1, slots))*slotSize
}

// parseHeader reads and checks what comes before the slots.
func parseHeader(b []byte) (d described, desc []byte, slots uint64, err error) {
	fail := func(what string) (described, []byte, uint64, error) {
		return described{}, nil, 0, errors.New("the spool file " + what)
	}
	if len(b) < spoolHeader || string(b[:8]) != spoolMagic {
		return fail("has no header")
	}
	if binary.NativeEndian.Uint32(b[8:]) != 1 {
		return fail("is from a machine of another byte order")
	}
	n := binary.NativeEndian.Uint32(b[12:])
	if n > spoolHeader-descOffset {
		return fail("has a damaged description")
	}
	desc = b[descOffset : descOffset+n]
	if crc32.ChecksumIEEE(desc) != binary.NativeEndian.Uint32(b[16:]) || json.Unmarshal(desc, &d) != nil || d.check() != nil {
		return fail("has a damaged description")
	}
	slots = binary.NativeEndian.Uint64(b[24:])
	if slots == 0 || slots&(slots-1) != 0 || slots > 1<<26 {
		return fail("has a damaged header")
	}
	return d, desc, slots, nil
}

// holds reports whether a slot is one that the session can have written and the
// plan takes.
func (d *described) holds(s *slot) bool {
	return int(s.event()) < len(d.Heads) && s.seq >= 0 && s.elapsed >= 0 &&
		d.Started+s.elapsed/int64(time.Millisecond) <= plan.MaxTime
}

// check holds a description that was read against what encodeEvent relies on.
func (d *described) check() error {
	id, _, ok := plan.ParseID([]byte(d.ID))
	switch {
	case !ok || id.String() != d.ID:
		return errors.New("no id")
	case d.Plan == nil || plan.Check(d.Plan) != nil:
		return errors.New("no plan")
	case len(d.Heads) != len(d.Plan.Events):
		return errors.New("the heads do not fit the plan")
	case len(d.Held) != 0 && len(d.Held) != len(d.Plan.Events):
		return errors.New("what is held back does not fit the plan")
	case d.Started != noTime && (d.Started < plan.MinTime || d.Started > plan.MaxTime):
		return errors.New("no time")
	}
	for _, h := range d.Heads {
		if !json.Valid(append([]byte(h), "0}"...)) || !strings.HasPrefix(h, "{") || bytes.ContainsAny([]byte(h), "\n") {
			return errors.New("a head is no JSON")
		}
	}
	for _, e := range d.Plan.Events {
		if len(e.Fields) > maxOwn {
			return errors.New("an event has too many fields")
		}
	}
	return nil
}
