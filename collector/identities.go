package collector

import (
	"bytes"
	"container/list"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// maxIdentified bounds the properties that are kept over all senders, and with
// it the memory for them. Beyond it, the sender that was not heard of for the longest time is forgotten.
const maxIdentified = 200_000

// maxHeard is how many identifications of a sender are remembered by their
// insert ids, so that a request that comes again does not add twice, nor undo
// what was said since. A request seldom has more than one or two.
const maxHeard = 16

// maxHashes bounds the senders whose keyed hash is remembered: to make one takes
// as long as everything else that is done for an event.
const maxHashes = 1 << 14

// identities is what is kept of identifications. SDKs say it once, so it is in a
// file too before the answer 200 goes out. Senders are told apart by the keyed
// hash that tombstones use, so the file names no id.
//
// The file grows at its end by one line for each group of requests, synced: a
// checksum, and in JSON all that is now kept of each sender that has changed.
// When it has twice as many entries as there are senders it is written anew, and
// so it is at once when a sender is erased. Damage to a whole line is an error.
// What a start finds of erased senders (the tombstone is written first) and of
// apps that are gone is dropped, and of the rest only what the app's plan
// declares is taken.
//
// It belongs to the writer's goroutine, but for size and said.
type identities struct {
	tombstones *tombstones
	path       string
	file       *lineFile    // nil if it could not be opened again; the next save tries
	size       atomic.Int64 // properties kept

	// mu is held by the writer while it changes byHash and what can be reached from
	// there, and by others while they read it.
	mu     sync.Mutex
	byHash map[tombstone]*list.Element

	recent *list.List // of *identified, last heard of first
	hashes map[sender]tombstone

	changed map[tombstone]bool // not in the file as they are now
	entries int                // in the file
	dropped bool               // the file may have entries of senders that are not kept
	renew   bool               // the file has what it must not have, and is to be written anew
}

// A sender is told apart within its app only.
type sender struct {
	app string
	id  plan.ID
}

// An identified is what is kept of one sender.
type identified struct {
	app        string
	hash       tombstone
	properties []property
	heard      []uint64 // insert ids of the last identifications, the oldest first
}

// An entry is an identified as the file has it. Without Says, nothing is kept.
type entry struct {
	App    string                     `json:"app"`
	Sender []byte                     `json:"sender"`
	Says   map[string]json.RawMessage `json:"says,omitempty"`
	Heard  []uint64                   `json:"heard,omitempty"`
}

// openIdentities reads what is kept, by the plans of the apps that there are.
func openIdentities(path string, t *tombstones, apps []*App) (*identities, error) {
	k := &identities{
		tombstones: t, path: path, byHash: map[tombstone]*list.Element{}, recent: list.New(),
		hashes: map[sender]tombstone{}, changed: map[tombstone]bool{},
	}
	if err := k.read(apps); err != nil {
		return nil, errors.Join(err, k.close())
	}
	if err := k.save(); err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

func (k *identities) open() (b []byte, err error) {
	if k.file, b, err = openLines(k.path); err != nil {
		return nil, fmt.Errorf("open what senders have said of themselves: %w", err)
	}
	return b, nil
}

func (k *identities) close() error {
	if k.file == nil {
		return nil
	}
	err := k.file.close()
	k.file = nil
	return err
}

func (k *identities) read(apps []*App) error {
	b, err := k.open()
	if err != nil {
		return err
	}
	guards := map[string]*guard{}
	for _, a := range apps {
		guards[a.Name] = newGuard(a.Plan, new(refusedCounts))
	}
	for line := range bytes.Lines(b[:k.file.size]) {
		entries, ok := parseEntries(line)
		if !ok {
			return fmt.Errorf("%s holds a line that is damaged; restore it from a backup, or remove it: "+
				"then user properties are missing from events until their senders say them again: %w", k.path, store.ErrDamaged)
		}
		for i := range entries {
			k.take(&entries[i], guards)
		}
	}
	k.bound()
	return nil
}

// take keeps what an entry says, in place of what one before it has said.
func (k *identities) take(e *entry, guards map[string]*guard) {
	k.entries++
	who := &identified{app: e.App, hash: tombstone(e.Sender), heard: e.Heard}
	k.drop(k.byHash[who.hash])
	if len(e.Says) == 0 {
		k.dropped = true
		return
	}
	g := guards[e.App]
	if g == nil || k.tombstones.hasHash(who.hash) {
		k.renew = true
		return
	}
	for name, raw := range e.Says {
		if s, ok := g.user[name]; ok {
			if v, ok := fromJSON(s.field, raw); ok {
				who.properties = append(who.properties, property{s.field, v})
			}
		}
	}
	if len(who.properties) == 0 {
		k.dropped = true
	} else {
		k.byHash[who.hash] = k.recent.PushFront(who)
		k.size.Add(int64(len(who.properties)))
	}
}

// fromJSON reads a value that AppendJSON has written.
func fromJSON(f *plan.Field, raw []byte) (plan.Value, bool) {
	switch {
	case raw[0] == '"':
		return f.FromString(bytes.Trim(raw, `"`)) // nothing in it needs escaping
	case f.Kind == plan.Flag:
		return f.FromBool(string(raw) == "true")
	}
	return f.FromNumber(raw)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendEntries appends a line.
func appendEntries(dst []byte, entries []entry) []byte {
	b, err := json.Marshal(entries)
	if err != nil {
		panic(err) // an entry has only texts and numbers
	}
	return fmt.Appendf(dst, "%08x %s\n", crc32.Checksum(b, castagnoli), b)
}

func parseEntries(line []byte) (entries []entry, ok bool) {
	sum, b, _ := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte{' '})
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(b, castagnoli) || json.Unmarshal(b, &entries) != nil {
		return nil, false
	}
	for _, e := range entries {
		if len(e.Sender) != len(tombstone{}) {
			return nil, false
		}
	}
	return entries, true
}

// entry returns how a sender is written.
func (k *identities) entry(hash tombstone) entry {
	at := k.byHash[hash]
	if at == nil {
		return entry{Sender: hash[:]}
	}
	who := at.Value.(*identified)
	e := entry{App: who.app, Sender: who.hash[:], Says: map[string]json.RawMessage{}, Heard: who.heard}
	for _, p := range who.properties {
		e.Says[p.field.Name] = p.field.AppendJSON(nil, p.value)
	}
	return e
}

// save brings what has changed to the file. It is durable when save returns nil;
// otherwise the next save tries again.
func (k *identities) save() error {
	if k.renew || k.entries+len(k.changed) > 2*k.recent.Len()+1000 {
		return k.rewrite()
	}
	if len(k.changed) == 0 {
		return nil
	}
	var entries []entry
	for hash := range k.changed {
		entries = append(entries, k.entry(hash))
	}
	if err := k.write(appendEntries(nil, entries)); err != nil {
		return fmt.Errorf("write what senders have said of themselves: %w", err)
	}
	k.entries += len(entries)
	clear(k.changed)
	return nil
}

func (k *identities) write(line []byte) error {
	if k.file == nil {
		if _, err := k.open(); err != nil {
			return err
		}
	}
	err := k.file.add(line)
	k.renew = k.file.torn
	return err
}

// rewrite replaces the file by one with nothing but what is kept, who was not
// heard of for the longest time first.
func (k *identities) rewrite() error {
	const perLine = 1000
	var b []byte
	var entries []entry
	for at := k.recent.Back(); at != nil; at = at.Prev() {
		entries = append(entries, k.entry(at.Value.(*identified).hash))
		if len(entries) == perLine || at.Prev() == nil {
			b, entries = appendEntries(b, entries), entries[:0]
		}
	}
	if err := writeFile(k.path, b); err != nil {
		return err
	}
	k.entries, k.renew, k.dropped = k.recent.Len(), false, false
	clear(k.changed)
	// What is written to the old file from here on would be lost.
	_ = k.close()
	return nil
}

// hash returns what stands for a sender.
func (k *identities) hash(app string, id plan.ID) tombstone {
	name := sender{app, id}
	h, ok := k.hashes[name]
	if !ok {
		if len(k.hashes) >= maxHashes {
			clear(k.hashes)
		}
		h = k.tombstones.of(app, id)
		k.hashes[name] = h
	}
	return h
}

// apply keeps what the identifications of one request say, and completes its
// records, in the order in which they came.
func (k *identities) apply(app string, g *guard, records []store.Record, said []identification) {
	if len(said) == 0 && k.recent.Len() == 0 {
		return // the usual case
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var last plan.ID // most records of a request are of one sender
	var at *list.Element
	known := false
	var from, to []plan.Value // a session's values before and after: its records share them
	for i := range records {
		for len(said) > 0 && said[0].before <= i {
			k.keep(app, g, &said[0])
			said, known = said[1:], false
		}
		r := &records[i]
		if !known || r.ID != last {
			last, at, known = r.ID, k.byHash[k.hash(app, r.ID)], true
			from, to = nil, nil
			if at != nil {
				k.recent.MoveToFront(at)
			}
		}
		if at == nil {
			continue
		}
		if len(from) == 0 || len(r.Session) == 0 || &from[0] != &r.Session[0] {
			from = r.Session
			at.Value.(*identified).complete(g, r)
			to = r.Session
			continue
		}
		r.Session = to
		at.Value.(*identified).completeOwn(g, r)
	}
	for i := range said {
		k.keep(app, g, &said[i])
	}
}

// keep notes an identification.
func (k *identities) keep(app string, g *guard, said *identification) {
	hash := k.hash(app, said.id)
	if k.tombstones.hasHash(hash) {
		return
	}
	at := k.byHash[hash]
	who := &identified{app: app, hash: hash}
	if at != nil {
		k.recent.MoveToFront(at)
		who = at.Value.(*identified)
		if said.insert != 0 && slices.Contains(who.heard, said.insert) {
			return
		}
	}
	before := slices.Clone(who.properties)
	who.apply(g, said)
	if !slices.Equal(before, who.properties) {
		k.changed[hash] = true
	}
	k.size.Add(int64(len(who.properties) - len(before)))
	switch {
	case len(who.properties) == 0:
		k.drop(at)
	case at == nil:
		k.byHash[hash] = k.recent.PushFront(who)
	}
	k.bound()
}

// bound forgets senders while there are too many properties.
func (k *identities) bound() {
	for k.size.Load() > maxIdentified {
		k.drop(k.recent.Back())
	}
}

// apply does what an identification says.
func (who *identified) apply(g *guard, said *identification) {
	if said.clear {
		who.properties = nil
	}
	for _, o := range said.says {
		who.operate(o)
	}
	if said.insert != 0 {
		if len(who.heard) == maxHeard {
			who.heard = who.heard[1:]
		}
		who.heard = append(who.heard, said.insert)
	}
}

func (who *identified) operate(o operation) {
	at := slices.IndexFunc(who.properties, func(p property) bool { return p.field.Name == o.field.Name })
	switch {
	case o.op == amplitude.SetOnce && at >= 0:
		return
	case o.op == amplitude.Add:
		var now plan.Value
		if at >= 0 {
			now = who.properties[at].value
		}
		// A sum that the kind does not take leaves the number as it is.
		sum, ok := o.field.FromInt(now.Int + o.value.Int)
		if !ok {
			return
		}
		o.value = sum
	}
	switch {
	case !o.value.Set && at >= 0:
		who.properties = slices.Delete(who.properties, at, at+1)
	case !o.value.Set:
	case at >= 0:
		who.properties[at].value = o.value
	default:
		who.properties = append(who.properties, o.property)
	}
}

// complete fills in what an event does not say of its sender. What it does say
// is for this event alone: repeats come late and in any order, so they must not
// change what is kept.
func (who *identified) complete(g *guard, r *store.Record) {
	shared := true // with other records of the session
	for _, p := range who.properties {
		s, ok := g.user[p.field.Name]
		if !ok || s.role != sessionColumn || r.Session[s.index].Set {
			continue
		}
		if shared {
			r.Session, shared = slices.Clone(r.Session), false
		}
		r.Session[s.index] = p.value
	}
	who.completeOwn(g, r)
}

// completeOwn fills in the event's own values.
func (who *identified) completeOwn(g *guard, r *store.Record) {
	for _, p := range who.properties {
		if s, ok := g.user[p.field.Name]; ok && s.role == eventColumn && !r.Own[s.index].Set {
			r.Own[s.index] = p.value
		}
	}
}

// drop forgets one sender, if there is one.
func (k *identities) drop(at *list.Element) {
	if at == nil {
		return
	}
	who := k.recent.Remove(at).(*identified)
	delete(k.byHash, who.hash)
	k.size.Add(-int64(len(who.properties)))
	k.dropped = true
}

// said returns what is kept of a sender. It is safe for concurrent use.
func (k *identities) said(app string, id plan.ID) []property {
	if k.size.Load() == 0 {
		return nil // the usual case
	}
	hash := k.tombstones.of(app, id) // hashes belongs to the writer
	k.mu.Lock()
	defer k.mu.Unlock()
	if at := k.byHash[hash]; at != nil {
		return slices.Clone(at.Value.(*identified).properties)
	}
	return nil
}

// forget is a part of an erasure, after the tombstones were written. When it
// returns nil the file has nothing of the senders any more. It counts the
// properties that were kept of each.
func (k *identities) forget(app string, ids []plan.ID) (counts []int64, err error) {
	counts = make([]int64, len(ids))
	k.mu.Lock()
	for i, id := range ids {
		hash := k.hash(app, id)
		delete(k.hashes, sender{app, id})
		if at := k.byHash[hash]; at != nil {
			counts[i] = int64(len(at.Value.(*identified).properties))
			k.drop(at)
		}
	}
	k.mu.Unlock()
	if !k.dropped {
		return counts, nil // nor had it before
	}
	k.renew = true
	return counts, k.save()
}

// forgetApp forgets all senders of an app.
func (k *identities) forgetApp(app string) error {
	k.mu.Lock()
	for _, at := range k.byHash {
		if at.Value.(*identified).app == app {
			k.drop(at)
		}
	}
	k.mu.Unlock()
	k.renew = true
	return k.save()
}

// identitiesPath is where a data folder has them.
func identitiesPath(dir string) string { return filepath.Join(dir, "identified") }
