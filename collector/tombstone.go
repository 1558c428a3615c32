package collector

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// tombstones keep erased senders out. They name a keyed hash and never an id,
// so that the file is of no use to whoever looks for an id without the key.
//
// The file is text, one hash in hex a line, and only ever grows at its end.
// Damage to a whole line is an error, because a lost tombstone would let erased
// data back in.
type tombstones struct {
	key []byte

	mu   sync.RWMutex // guards what follows
	file *lineFile
	set  map[tombstone]struct{}
}

type tombstone [sha256.Size]byte

const tombstoneLine = 2*sha256.Size + 1

func openTombstones(path string, key []byte) (*tombstones, error) {
	file, b, err := openLines(path)
	if err != nil {
		return nil, fmt.Errorf("open the tombstones: %w", err)
	}
	t := &tombstones{key: key, file: file, set: map[tombstone]struct{}{}}
	for line := range bytes.Lines(b) {
		if line[len(line)-1] != '\n' && len(line) < tombstoneLine {
			break // it is the torn end
		}
		ts, ok := parseTombstone(line)
		if !ok {
			err := fmt.Errorf("%s holds a line that is no tombstone; restore it from a backup: %w", path, store.ErrDamaged)
			return nil, errors.Join(err, file.close())
		}
		t.set[ts] = struct{}{}
	}
	return t, nil
}

func parseTombstone(line []byte) (ts tombstone, ok bool) {
	if len(line) != tombstoneLine || line[len(line)-1] != '\n' {
		return ts, false
	}
	_, err := hex.Decode(ts[:], line[:tombstoneLine-1])
	return ts, err == nil
}

// of returns the keyed hash that stands for a sender of an app.
func (t *tombstones) of(app string, id plan.ID) tombstone {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte(app)) // has no zero byte
	mac.Write([]byte{0})
	mac.Write(id[:])
	return tombstone(mac.Sum(nil))
}

// add adds all or none. They are durable when it returns nil.
func (t *tombstones) add(more ...tombstone) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []byte
	for _, ts := range more {
		if _, has := t.set[ts]; !has {
			lines = append(hex.AppendEncode(lines, ts[:]), '\n')
		}
	}
	if len(lines) == 0 {
		return nil
	}
	if err := t.file.add(lines); err != nil {
		return fmt.Errorf("write tombstones: %w", err)
	}
	for _, ts := range more {
		t.set[ts] = struct{}{}
	}
	return nil
}

// has reports whether events of a sender are to be swallowed.
func (t *tombstones) has(app string, id plan.ID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.set) == 0 {
		return false
	}
	_, has := t.set[t.of(app, id)]
	return has
}

// hasHash is has for who knows what stands for the sender.
func (t *tombstones) hasHash(ts tombstone) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, has := t.set[ts]
	return has
}

// len returns how many there are.
func (t *tombstones) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.set)
}

func (t *tombstones) close() error { return t.file.close() }
