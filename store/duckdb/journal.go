package duckdb

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// journalName is how the names of the journal's files begin. A number follows;
// the higher it is, the later are the blocks in the file.
const journalName = "journal-"

const (
	// maxSegment is the size at which the next file of the journal is begun, so
	// that what is loaded can be removed: about a million events.
	maxSegment = 16 << 20

	// maxJournal bounds the files of the journal together. They grow this far
	// only if the database takes nothing: then Append fails.
	maxJournal = 1 << 30
)

// A journal keeps blocks until the database has them. It is files that only
// grow at their end, one block at a time, each synced before the next.
type journal struct {
	dir  string
	step func(string) error // see Store.step

	// For the writer only.
	number int64 // of the last block
	stale  bool  // the last file may go on after its size, where an append has failed
	limit  int64 // maxJournal, but in tests

	mu       sync.Mutex // guards segments and their fields
	segments []*segment // the oldest first; blocks go to the last one
}

// A segment is a file of the journal.
type segment struct {
	number  int64
	file    *os.File
	size    int64 // up to here the file is durable
	waiting int   // blocks in it that are not loaded yet, or are just being written
}

// A place is where a block lies.
type place struct {
	segment *segment
	at      int64
	length  int
}

// add appends a block, and returns its place. It is durable when the error is
// nil; otherwise nothing of it stays. The place waits until it is given to drop.
func (j *journal) add(block []byte) (place, error) {
	p, err := j.reserve(block)
	if err != nil {
		return place{}, err
	}
	file := p.segment.file
	err = func() error {
		if j.stale {
			if err := file.Truncate(p.at); err != nil {
				return err
			}
		}
		j.stale = true
		setNumber(block, j.number+1)
		if _, err := file.WriteAt(block, p.at); err != nil {
			return err
		}
		if err := j.step(stepBlockWritten); err != nil {
			return err
		}
		return file.Sync()
	}()
	if err != nil {
		// What a failed write or sync has left must not be taken for a block.
		if file.Truncate(p.at) == nil {
			j.stale = false
		}
		j.drop(p)
		return place{}, fmt.Errorf("append to the journal: %w", err)
	}
	j.stale = false
	j.number++
	j.mu.Lock()
	p.segment.size += int64(len(block))
	j.mu.Unlock()
	return p, nil
}

// reserve returns the place of the next block, in a new file if it is time.
func (j *journal) reserve(block []byte) (place, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := int64(0)
	for _, g := range j.segments {
		all += g.size
	}
	if all+int64(len(block)) > j.limit {
		return place{}, fmt.Errorf("the journal in %s has grown to %d MiB, because the database does not take its events; see the errors before this one", j.dir, all>>20)
	}
	last := len(j.segments) - 1
	if last < 0 || j.segments[last].size >= maxSegment && !j.stale {
		g, err := j.begin(last)
		if err != nil {
			return place{}, fmt.Errorf("begin a file of the journal: %w", err)
		}
		j.segments = append(j.segments, g)
	}
	g := j.segments[len(j.segments)-1]
	g.waiting++
	return place{g, g.size, len(block)}, nil
}

// begin makes the file that follows the segment last.
func (j *journal) begin(last int) (*segment, error) {
	number := int64(1)
	if last >= 0 {
		number = j.segments[last].number + 1
	}
	file, err := os.OpenFile(filepath.Join(j.dir, journalName+strconv.FormatInt(number, 10)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syncFolder(j.dir); err != nil {
		file.Close()
		return nil, err
	}
	return &segment{number: number, file: file}, nil
}

// read reads the block into b, which is as long as it.
func (p place) read(b []byte) (*block, error) {
	if _, err := p.segment.file.ReadAt(b, p.at); err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	h, ok := readHead(b)
	if !ok || !h.whole(b) {
		return nil, damaged(p.segment.file.Name(), fmt.Errorf("the block at byte %d is not what was written there", p.at))
	}
	x, err := readBlock(h, b)
	if err != nil {
		return nil, damaged(p.segment.file.Name(), err)
	}
	return x, nil
}

// drop says that the blocks at these places are needed no more. Files that hold
// no others are removed, and the last one is emptied.
func (j *journal) drop(places ...place) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range places {
		p.segment.waiting--
	}
	last := len(j.segments) - 1
	kept := j.segments[:0]
	for i, g := range j.segments {
		switch {
		case g.waiting > 0 || i == last && g.size == 0:
			kept = append(kept, g)
		case i == last:
			// If this fails, it is tried again: until then the blocks are
			// passed over, because the database says that it has them.
			if g.file.Truncate(0) == nil {
				g.size = 0
			}
			kept = append(kept, g)
		default:
			g.file.Close()
			os.Remove(g.file.Name())
		}
	}
	clear(j.segments[len(kept):])
	j.segments = kept
}

// close closes the files, and removes them if no block waits.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var err error
	for _, g := range j.segments {
		e := g.file.Close()
		if g.waiting == 0 && e == nil {
			e = os.Remove(g.file.Name())
		}
		if err == nil {
			err = e
		}
	}
	j.segments = nil
	return err
}

// open reads the journal that was left in the folder, calls found for each
// block with its place, and cuts off the end that an append has not finished.
func (j *journal) open(log *slog.Logger, found func(p place, x *block) error) error {
	segments, err := j.find()
	if err != nil {
		return err
	}
	j.segments = slices.Clone(segments)
	for i, g := range segments {
		if err := j.scan(g, i == len(segments)-1, log, found); err != nil {
			return err
		}
		j.drop(place{segment: g})
	}
	return nil
}

// find opens the journal's files.
func (j *journal) find() (segments []*segment, err error) {
	defer func() {
		if err != nil {
			for _, g := range segments {
				g.file.Close()
			}
		}
	}()
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, fmt.Errorf("find the journal: %w", err)
	}
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), journalName)
		if !ok {
			continue
		}
		path := filepath.Join(j.dir, e.Name())
		number, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || number < 1 {
			return segments, fmt.Errorf("%s is in the way of the journal; move it out of the folder", path)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return segments, fmt.Errorf("open the journal: %w", err)
		}
		// It waits as a whole until it is read.
		segments = append(segments, &segment{number: number, file: file, waiting: 1})
	}
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	return segments, nil
}

// scan reads one file. Only the end of the last one may be torn.
func (j *journal) scan(g *segment, last bool, log *slog.Logger, found func(p place, x *block) error) error {
	path := g.file.Name()
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	for at := 0; at < len(b); {
		h, ok := readHead(b[at:])
		if !ok || !h.whole(b[at:]) || h.number <= j.number || at > 0 && h.number != j.number+1 {
			if !last || laterBlock(b[at:], j.number+1) {
				return damaged(path, fmt.Errorf("the block at byte %d is not whole, and others follow it", at))
			}
			log.Info("cut off the end of the journal, which was never acknowledged", slog.Int("bytes", len(b)-at))
			if err := g.file.Truncate(int64(at)); err != nil {
				return fmt.Errorf("cut off the end of the journal: %w", err)
			}
			break
		}
		x, err := readBlock(h, b[at:])
		if err == nil {
			g.waiting++
			err = found(place{g, int64(at), h.length}, x)
		}
		if err != nil {
			return damaged(path, err)
		}
		at += h.length
		g.size = int64(at)
		j.number = h.number
	}
	return nil
}

// laterBlock reports whether b holds a whole block whose number is higher than
// after.
func laterBlock(b []byte, after int64) bool {
	for {
		at := bytes.Index(b, []byte(blockMagic))
		if at < 0 {
			return false
		}
		b = b[at:]
		if h, ok := readHead(b); ok && h.number > after && h.whole(b) {
			return true
		}
		b = b[1:]
	}
}
