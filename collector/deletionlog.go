package collector

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/blindai-go/blindai/store"
)

// What is kept of deletions: half a year is what Amplitude lists, a year is what
// may be wanted for an audit, and 100,000 take 5 MB of memory. 2026-11.
const (
	deletionYear  = 366 * 24 * time.Hour
	keptDeletions = 100_000
)

// A deletion is one sender that was erased with an app's secret key.
type deletion struct {
	day    string // YYYY-MM-DD, UTC
	app    string
	number int64 // stands for the sender; see tombstone.number
}

// deletions are kept for Amplitude's list of jobs. They name the number that
// stands for a sender, and neither an id nor who has asked.
//
// The file is text, a day, an app and a number a line, and grows at its end. At a
// start it is written anew without what is a year older than the newest, and
// whenever it has twice keptDeletions, without the older half. It is not the clock
// that counts, because a start by a wrong one would lose all of it. Damage to a
// whole line is an error.
type deletions struct {
	path string

	mu   sync.Mutex // guards what follows
	file *lineFile  // nil if it could not be opened again; the next add tries
	list []deletion // in the order of the file
	set  map[deletion]struct{}
}

func openDeletions(path string) (*deletions, error) {
	d := &deletions{path: path}
	if err := d.open(); err != nil {
		return nil, err
	}
	newest := ""
	for _, e := range d.list {
		newest = max(newest, e.day)
	}
	day, _ := time.Parse(time.DateOnly, newest) // parseDeletion has seen to it
	old := day.Add(-deletionYear).Format(time.DateOnly)
	if slices.ContainsFunc(d.list, func(e deletion) bool { return e.day < old }) {
		if err := d.keep(slices.DeleteFunc(d.list, func(e deletion) bool { return e.day < old })); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	return d, nil
}

// open opens the file, and reads it.
func (d *deletions) open() error {
	file, b, err := openLines(d.path)
	if err != nil {
		return fmt.Errorf("open the list of deletions: %w", err)
	}
	list, set := []deletion(nil), map[deletion]struct{}{}
	for line := range bytes.Lines(b[:file.size]) {
		e, ok := parseDeletion(string(line))
		if !ok {
			err := fmt.Errorf("%s holds a line that is no deletion; restore it from a backup, or remove it: "+
				"what was erased stays erased, and the list of it is lost: %w", d.path, store.ErrDamaged)
			return errors.Join(err, file.close())
		}
		list = append(list, e)
		set[e] = struct{}{}
	}
	d.file, d.list, d.set = file, list, set
	return nil
}

func (e deletion) append(dst []byte) []byte {
	return fmt.Appendf(dst, "%s %s %d\n", e.day, e.app, e.number)
}

func parseDeletion(line string) (e deletion, ok bool) {
	day, rest, _ := strings.Cut(line, " ")
	app, digits, _ := strings.Cut(rest, " ")
	number, err := strconv.ParseInt(strings.TrimSuffix(digits, "\n"), 10, 64)
	if err != nil || app == "" {
		return deletion{}, false
	}
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return deletion{}, false
	}
	e = deletion{day, app, number}
	return e, string(e.append(nil)) == line // there is one way to write it
}

// add is durable when it returns nil. What is there already is not added.
func (d *deletions) add(more []deletion) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		if err := d.open(); err != nil {
			return err
		}
	}
	if len(d.list) >= 2*keptDeletions {
		if err := d.keep(slices.Clone(d.list[len(d.list)-keptDeletions:])); err != nil {
			return err
		}
	}
	var lines []byte
	var fresh []deletion
	for _, e := range more {
		if _, has := d.set[e]; !has {
			d.set[e] = struct{}{}
			fresh, lines = append(fresh, e), e.append(lines)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := d.file.add(lines); err != nil {
		for _, e := range fresh {
			delete(d.set, e)
		}
		return fmt.Errorf("write the list of deletions: %w", err)
	}
	d.list = append(d.list, fresh...)
	return nil
}

// keep replaces the file by one with nothing but list.
func (d *deletions) keep(list []deletion) error {
	var b []byte
	for _, e := range list {
		b = e.append(b)
	}
	if err := writeFile(d.path, b); err != nil {
		return err
	}
	// What is written to the old file from here on would be lost.
	err := d.close()
	d.file = nil
	return errors.Join(err, d.open())
}

// of returns the deletions of an app from one day to another, both included,
// by day.
func (d *deletions) of(app, first, last string) []deletion {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []deletion
	for _, e := range d.list {
		if e.app == app && first <= e.day && e.day <= last {
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b deletion) int { return strings.Compare(a.day, b.day) })
	return list
}

func (d *deletions) has(e deletion) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, has := d.set[e]
	return has
}

func (d *deletions) close() error {
	if d.file == nil {
		return nil
	}
	return d.file.close()
}
