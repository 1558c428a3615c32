package duckdb

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// image returns a folder with the files of dir as they are, which is what a
// kill would leave of a store that is open in it.
func image(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// journaled returns the image of a store with three blocks in its journal: one
// record of ada, two and one of cyd.
func journaled(t *testing.T) (dir, path string, journal []byte) {
	t.Helper()
	s := open(t, t.TempDir())
	fill(t, s)
	s.loader.end()
	wantStored(t, s, map[plan.ID]int64{ada: 2, bob: 2})
	for _, records := range [][]store.Record{testRecords(ada, 2, 2), testRecords(cyd, 0, 1), testRecords(cyd, 2, 2)} {
		if err := s.Append(t.Context(), "app", records); err != nil {
			t.Fatal(err)
		}
	}
	dir = image(t, s.dir)
	shut(t, s)
	path = filepath.Join(dir, journalName+"1")
	journal, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return dir, path, journal
}

// blockStarts returns where the blocks of a journal begin, and its length.
func blockStarts(t *testing.T, journal []byte) (starts []int) {
	t.Helper()
	at := 0
	for at < len(journal) {
		h, ok := readHead(journal[at:])
		if !ok || !h.whole(journal[at:]) {
			t.Fatalf("no whole block at byte %d", at)
		}
		starts = append(starts, at)
		at += h.length
	}
	return append(starts, at)
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReplay opens what a kill has left, and once more with a journal that came
// back from the dead.
func TestReplay(t *testing.T) {
	dir, path, journal := journaled(t)
	want := map[plan.ID]int64{ada: 3, bob: 2, cyd: 3}
	for range 3 {
		s := open(t, dir)
		wantStored(t, s, want)
		wantIDs(t, dir, want)
		if _, err := os.Stat(path); err == nil {
			t.Error("the journal was left")
		}
		shut(t, s)
		write(t, path, journal)
	}
}

// TestTornJournal ends the journal in the ways in which an append may be cut
// short. What comes before is kept.
func TestTornJournal(t *testing.T) {
	dir, _, journal := journaled(t)
	starts := blockStarts(t, journal)
	block := bytes.Clone(journal[starts[2]:])
	numbered := func(number int64) []byte {
		b := bytes.Clone(block)
		setNumber(b, number)
		return b
	}
	next := numbered(4)
	lost := bytes.Clone(next)
	clear(lost[:blockHeader+4])
	for name, tail := range map[string][]byte{
		"one byte":              next[:1],
		"half a head":           next[:blockHeader/2],
		"a head":                next[:blockHeader],
		"all but one byte":      next[:len(next)-1],
		"zeros":                 make([]byte, 5000),
		"half and zeros":        append(bytes.Clone(next[:len(next)/2]), make([]byte, len(next)-len(next)/2)...),
		"a lost page":           lost,
		"an old block":          numbered(1),
		"the last block again":  numbered(3),
		"the start of a block":  []byte(blockMagic),
		"two starts of a block": []byte(blockMagic + blockMagic),
	} {
		t.Run(name, func(t *testing.T) {
			dir := image(t, dir)
			write(t, filepath.Join(dir, journalName+"1"), append(bytes.Clone(journal), tail...))
			s := open(t, dir)
			want := map[plan.ID]int64{ada: 3, bob: 2, cyd: 3}
			wantStored(t, s, want)
			if err := s.Append(t.Context(), "app", testRecords(cyd, 3, 3)); err != nil {
				t.Fatal(err)
			}
			want[cyd]++
			wantStored(t, open(t, image(t, dir)), want)
		})
	}

	// The last block itself, which then was not acknowledged either. Its sender
	// is one that the block before knows.
	for _, cut := range []int{1, len(block) / 2, len(block)} {
		dir := image(t, dir)
		write(t, filepath.Join(dir, journalName+"1"), journal[:len(journal)-cut])
		wantStored(t, open(t, dir), map[plan.ID]int64{ada: 3, bob: 2, cyd: 2})
	}
}

// TestDamagedJournal changes the journal in ways that no crash does. Opening it
// loads nothing, so that the way back, a backup, is open.
func TestDamagedJournal(t *testing.T) {
	dir, _, journal := journaled(t)
	starts := blockStarts(t, journal)
	flip := func(at int) []byte {
		b := bytes.Clone(journal)
		b[at] ^= 0x10
		return b
	}
	otherPlan := bytes.Clone(journal[:starts[1]])
	copy(otherPlan[blockHeader+1:], "ppa")
	for name, b := range map[string][]byte{
		"the first byte has changed":        flip(0),
		"the first length has changed":      flip(4),
		"the first number has changed":      flip(8),
		"the first block has changed":       flip(starts[1] - 1),
		"the second head has changed":       flip(starts[1]),
		"the second block has changed":      flip(starts[1] + blockHeader + 10),
		"the first block is gone":           journal[starts[1]:],
		"the second block is gone":          append(bytes.Clone(journal[:starts[1]]), journal[starts[2]:]...),
		"a byte more between two blocks":    append(append(bytes.Clone(journal[:starts[1]]), 0), journal[starts[1]:]...),
		"the blocks have changed the order": append(bytes.Clone(journal[starts[1]:]), journal[:starts[1]]...),
	} {
		t.Run(name, func(t *testing.T) {
			dir := image(t, dir)
			path := filepath.Join(dir, journalName+"1")
			write(t, path, b)
			wantDamaged(t, dir, path)
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, b) {
				t.Errorf("the journal was changed, %v", err)
			}
			write(t, path, journal)
			wantStored(t, open(t, dir), map[plan.ID]int64{ada: 3, bob: 2, cyd: 3})
		})
	}
	t.Run("a block in an earlier file is torn", func(t *testing.T) {
		dir := image(t, dir)
		write(t, filepath.Join(dir, journalName+"1"), journal[:starts[2]-1])
		write(t, filepath.Join(dir, journalName+"2"), journal[starts[2]:])
		wantDamaged(t, dir, filepath.Join(dir, journalName+"1"))
	})
	t.Run("an earlier file is gone", func(t *testing.T) {
		dir := image(t, dir)
		if err := os.Remove(filepath.Join(dir, journalName+"1")); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, journalName+"2"), journal[starts[1]:])
		wantDamaged(t, dir, filepath.Join(dir, journalName+"2"))
	})
}

// TestJournalFiles reads a journal of several files, and one that is in the way.
func TestJournalFiles(t *testing.T) {
	dir, path, journal := journaled(t)
	starts := blockStarts(t, journal)
	write(t, path, journal[:starts[1]])
	write(t, filepath.Join(dir, journalName+"2"), journal[starts[1]:starts[2]])
	write(t, filepath.Join(dir, journalName+"10"), journal[starts[2]:])
	write(t, filepath.Join(dir, journalName+"11"), nil)
	wantStored(t, open(t, image(t, dir)), map[plan.ID]int64{ada: 3, bob: 2, cyd: 3})

	write(t, filepath.Join(dir, journalName+"old"), nil)
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), journalName+"old is in the way") {
		t.Errorf("got error %v", err)
	}
}

// TestManyFiles begins a new file every few blocks, while some are loaded.
func TestManyFiles(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	s.loader.end()
	a := s.apps["app"]
	want := map[plan.ID]int64{ada: 2, bob: 2, cyd: 0}
	for i := range 20 {
		for _, g := range s.journal.segments {
			if i%3 == 0 {
				g.size += maxSegment // as if it were full
			}
		}
		if i%3 == 0 {
			if _, err := s.journal.reserve(nil); err != nil {
				t.Fatal(err)
			}
			last := s.journal.segments[len(s.journal.segments)-1]
			last.waiting--
			for _, g := range s.journal.segments {
				if g != last {
					g.size -= maxSegment
				}
			}
		}
		if err := s.Append(t.Context(), "app", testRecords(cyd, want[cyd], want[cyd]+9)); err != nil {
			t.Fatal(err)
		}
		want[cyd] += 10
		if i == 11 {
			if n := len(s.journal.segments); n < 4 {
				t.Errorf("there are %d files, want more", n)
			}
			if err := s.loader.catchUp(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if n := len(s.journal.segments); n != 1 {
				t.Errorf("there are %d files after a load, want 1", n)
			}
		}
	}
	wantStored(t, open(t, image(t, s.dir)), want)
	wantStored(t, s, want)
}
