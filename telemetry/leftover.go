package telemetry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// A leftover is what a session that has ended could not send. Its file is locked
// while it is here, so that two processes that start at once do not both send it
// (if they did, the events would still be counted once).
type leftover struct {
	described
	desc    []byte
	path    string
	lock    *os.File
	left    []slot
	damaged bool // the file goes aside when all else is sent

	unreadable int64 // events of it that are lost by that
}

// findLeftovers opens the files of an app's sessions that have ended, the oldest
// session first, and returns how many events are lost with what cannot be read or is
// beyond the bounds, and how many of those cannot be read. Files of live sessions are
// left alone, and so is what cannot be opened now.
func findLeftovers(ctx context.Context, stateDir, app string, now time.Time, bound int) (found []*leftover, lost, unreadable int64, err error) {
	dir := spoolDir(stateDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, 0, err
	}
	var faults []error
	for _, e := range entries {
		if ctx.Err() != nil {
			break // Close does not wait for all of them
		}
		path := filepath.Join(dir, e.Name())
		switch {
		case !e.Type().IsRegular():
		case strings.HasSuffix(e.Name(), asideEnding):
			// Kept for whoever wants to know; not for ever.
			removeOlder(e, path, now, maxAge)
		case strings.HasSuffix(e.Name(), newEnding):
			// Of a process that was killed before the file had its name: nothing
			// was recorded in it yet, or it is the copy of one that is still here.
			removeOlder(e, path, now, time.Hour)
		case strings.HasSuffix(e.Name(), spoolEnding):
			l, n, err := openLeftover(path, app, now)
			lost += n
			if err != nil {
				faults = append(faults, err)
			}
			if l != nil {
				unreadable += l.unreadable
				found = append(found, l)
			} else {
				unreadable += n
			}
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Started < found[j].Started })
	// All leftovers together have the bound of one queue; by age, the oldest go.
	total := 0
	for i := len(found) - 1; i >= 0; i-- {
		l := found[i]
		if total += len(l.left); total > bound {
			over := min(total-bound, len(l.left))
			l.left = l.left[over:]
			lost += int64(over)
			total = bound
		}
	}
	kept := found[:0]
	for _, l := range found {
		if len(l.left) == 0 {
			faults = append(faults, l.finish())
			continue
		}
		kept = append(kept, l)
	}
	return kept, lost, unreadable, errors.Join(faults...)
}

// openLeftover reads one file. It returns nil without an error for a file that
// belongs to a live session or to another app, or has just gone.
func openLeftover(path, app string, now time.Time) (l *leftover, lost int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, 0, nil
		}
		return nil, 0, err
	}
	if lockFile(f) != nil {
		return nil, 0, f.Close()
	}
	// Between opening and locking another process may have finished with it, and
	// even put a file of the same name in its place.
	if a, err1 := f.Stat(); err1 == nil {
		if b, err2 := os.Stat(path); err2 != nil || !os.SameFile(a, b) {
			return nil, 0, unlockFile(f)
		}
	}
	b, err := readSpool(f)
	if err != nil {
		return nil, 0, errors.Join(err, unlockFile(f))
	}
	d, desc, left, unreadable, err := parseSpool(b)
	if err != nil {
		// How many events it held nobody can say; it counts as one.
		return nil, 1, errors.Join(setAside(path), unlockFile(f))
	}
	if d.App != app {
		return nil, 0, unlockFile(f)
	}
	l = &leftover{described: d, desc: append([]byte(nil), desc...), path: path, lock: f, left: left, damaged: unreadable > 0, unreadable: unreadable}
	if used := usedSpool(b, left); unreadable == 0 && len(left) > 0 && used < int64(len(b)) {
		// A program that crashes again and again while the destination is down
		// leaves many files of full size. If that fails it is only larger.
		f.Truncate(used)
	}
	return l, l.expire(now) + unreadable, nil
}

// expire drops what is older than maxAge by the wall clock, and returns how many.
// Where the clock is or was wrong beyond doubt nothing is too old.
func (l *leftover) expire(now time.Time) (n int64) {
	if l.Started == noTime || startTime(now) == noTime {
		return 0
	}
	oldest := now.Add(-maxAge).UnixMilli() - l.Started
	for len(l.left) > 0 && l.left[0].elapsed/int64(time.Millisecond) < oldest {
		l.left = l.left[1:]
		n++
	}
	return n
}

func removeOlder(e os.DirEntry, path string, now time.Time, age time.Duration) {
	if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > age {
		os.Remove(path)
	}
}

func setAside(path string) error {
	return os.Rename(path, strings.TrimSuffix(path, spoolEnding)+asideEnding)
}

// finish removes the file, or puts it aside if not all of it could be read.
func (l *leftover) finish() error {
	var err error
	if l.damaged {
		err = setAside(l.path)
	} else {
		err = os.Remove(l.path)
	}
	return errors.Join(err, unlockFile(l.lock))
}

// keep leaves what is left for the next start.
func (l *leftover) keep() error {
	var err error
	if len(l.left) > 0 && !l.damaged {
		err = writeSpool(l.path, l.desc, l.left)
	}
	return errors.Join(err, unlockFile(l.lock))
}

// A passage says whether events of a leftover may go to the destination of the
// session that has found them, which need not be that of their own session.
type passage uint8

const (
	open      passage = iota // the session's file names the destination
	unlisted                 // it does not yet
	forgotten                // the session is to be erased or was: nothing of it goes anywhere
	closed                   // the file cannot be read
)

// passageTo looks into the state folder and changes nothing. Whoever erases a
// session asks every destination that its file names, so what goes to another one
// could not be erased.
func (d *described) passageTo(url, stateDir string) (KeptSession, passage, error) {
	k, err := readKept(sessionFile(stateDir, d.ID))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, forgotten, nil
	case err != nil:
		return k, closed, err
	case k.ID.String() != d.ID:
		return k, closed, errors.New("the session's file holds another session")
	case k.begun():
		return k, forgotten, nil
	case k.at(url) < 0:
		return k, unlisted, nil
	}
	return k, open, nil
}

// passes reports whether a leftover may be sent, and has its session's file name the
// destination first. One that may not is gone after that, or left for the next start.
func (s *session) passes(l *leftover) bool {
	k, way, err := l.passageTo(s.url, s.cfg.StateDir)
	if way == unlisted {
		switch err = k.extend(s.url); {
		case err == nil:
			way = open
		case errors.Is(err, errForgotten):
			way = forgotten
		}
	}
	switch way {
	case open:
		return true
	case forgotten:
		n := int64(len(l.left))
		s.lost.Add(n)
		s.old.Add(-n)
		s.cfg.Logger.Info("telemetry: events of a session that was forgotten, or whose secret is gone, are thrown away", "events", n)
		s.warn(l.finish())
	default:
		s.cfg.Logger.Warn("telemetry: events of an ended session wait for the next start, because its file in the state folder cannot name this destination, and what it does not name could not be erased there", "err", err)
		s.warn(l.keep())
	}
	return false
}
