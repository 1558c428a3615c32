//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package telemetry

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// closeNow closes without a budget, as a short command does.
func closeNow(t *testing.T, c *Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// leftBySIGKILL returns the spool file of a session that was killed after play,
// and its id. The queue has 16 slots, and nothing looks at it but play.
func leftBySIGKILL(t testing.TB, play func(c coffee, q *queue)) (file []byte, id string) {
	t.Helper()
	state := t.TempDir()
	var e endpoint
	cfg := e.config()
	cfg.StateDir, cfg.QueueSize, cfg.Interval = state, 16, time.Hour
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	s := c.live.Load()
	play(c, s.queue)
	file, err := os.ReadFile(filepath.Join(spoolDir(state), s.ID+spoolEnding))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(sessionFile(state, s.ID))
	if err != nil {
		t.Fatal(err)
	}
	keptOfKilled.Store(s.ID, kept)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.Close(ctx)
	return file, s.ID
}

// keptOfKilled holds the session's file, by id, of each that leftBySIGKILL has made.
var keptOfKilled sync.Map

func recordAndAcknowledge(c coffee, q *queue, record, acknowledge int) {
	for range record {
		c.brewed.Record(large, 1)
	}
	q.take(make([]slot, acknowledge))
	q.acknowledge(q.taken(), 0)
}

// nextStart starts the program on a state folder, and returns the numbers of the
// events that it sent, per session, its counts, and the names in the spool.
func nextStart(t *testing.T, state string, change func(*Config)) (sent map[string][]int, s Stats, files []string) {
	t.Helper()
	var e endpoint
	cfg := e.config()
	cfg.StateDir, cfg.Interval = state, time.Hour
	if change != nil {
		change(&cfg)
	}
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	consistent(t, c.Client)
	sent = map[string][]int{}
	for id := range e.stored {
		session, number, _ := strings.Cut(id, "-")
		var n int
		fmt.Sscan(number, &n)
		sent[session] = append(sent[session], n)
	}
	for _, numbers := range sent {
		slices.Sort(numbers)
	}
	return sent, c.Stats(), spoolFiles(t, state)
}

func spoolFiles(t *testing.T, state string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(spoolDir(state))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// putSpool puts a spool file into a state folder, and the file of its session beside
// it, without which the session would count as forgotten.
func putSpool(t testing.TB, state, id string, b []byte) (path string) {
	t.Helper()
	if kept, is := keptOfKilled.Load(id); is {
		if err := os.MkdirAll(filepath.Dir(sessionFile(state, id)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(sessionFile(state, id), kept.([]byte), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := newCoffee().Plan()
		if err := errors.Join(err, AcceptPlan(state, p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(spoolDir(state), 0o700); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(spoolDir(state), id+spoolEnding)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// slotAt returns the bytes of a slot.
func slotAt(b []byte, i int) []byte { return b[spoolHeader+i*slotSize:][:slotSize] }

func put32(at int, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.NativeEndian.PutUint32(b[at:], v); return b }
}

func put64(at int, v uint64) func([]byte) []byte {
	return func(b []byte) []byte { binary.NativeEndian.PutUint64(b[at:], v); return b }
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 0x10; return b }
}

func cut(at int) func([]byte) []byte { return func(b []byte) []byte { return b[:at] } }

// describe changes the description and makes its checksum right again.
func describe(change func(d *described)) func([]byte) []byte {
	return func(b []byte) []byte {
		var d described
		n := binary.NativeEndian.Uint32(b[12:])
		if err := json.Unmarshal(b[descOffset:descOffset+n], &d); err != nil {
			panic(err)
		}
		change(&d)
		desc, err := json.Marshal(d)
		if err != nil {
			panic(err)
		}
		return describeAs(string(desc))(b)
	}
}

func describeAs(desc string) func([]byte) []byte {
	return func(b []byte) []byte {
		clear(b[descOffset:spoolHeader])
		copy(b[descOffset:], desc)
		binary.NativeEndian.PutUint32(b[12:], uint32(len(desc)))
		binary.NativeEndian.PutUint32(b[16:], crc32.ChecksumIEEE([]byte(desc)))
		return b
	}
}

// TestDamagedSpool is the table of what can happen to a spool file, and of what
// the next start makes of it: what is readable is sent, the rest is counted, and
// the file is set aside. The file is one of a session that was killed: of ten
// events the first four were acknowledged. In the second part it is one whose
// ring has gone round: of 24 events in 16 slots the first 12 were acknowledged.
func TestDamagedSpool(t *testing.T) {
	numbers := func(from, to int, but ...int) (n []int) {
		for i := from; i < to; i++ {
			if !slices.Contains(but, i) {
				n = append(n, i)
			}
		}
		return n
	}
	type row struct {
		name   string
		damage func(b []byte) []byte
		sent   []int
		lost   int64
		aside  bool
	}
	intact := func(b []byte) []byte { return b }
	nothing := func(name string, damage func([]byte) []byte) row { return row{name, damage, nil, 1, true} }
	at := func(i int) int { return spoolHeader + i*slotSize } // offset of a slot
	first := []row{
		{"intact", intact, numbers(4, 10), 0, false},
		nothing("empty", cut(0)),
		nothing("cut in the magic", cut(4)),
		nothing("cut in the header", cut(40)),
		nothing("cut in the description", cut(descOffset+20)),
		nothing("cut before the slots", cut(spoolHeader-1)),
		{"cut at the first slot", cut(spoolHeader), nil, 1, true},
		{"cut in the fourth slot", cut(at(3) + 8), nil, 1, true},
		{"cut in the seventh slot", cut(at(6) + 63), numbers(4, 6), 1, true},
		{"cut in the newest slot", cut(at(9) + 1), numbers(4, 9), 1, true},
		{"cut behind the newest slot", cut(at(10)), numbers(4, 10), 1, true},
		{"cut in free slots", cut(at(11)), numbers(4, 10), 0, false},
		{"longer than it says", func(b []byte) []byte { return append(b, make([]byte, 100)...) }, numbers(4, 10), 1, true},
		nothing("all zeros", func(b []byte) []byte { clear(b); return b }),
		nothing("magic", flip(3)),
		nothing("another version's magic", func(b []byte) []byte { b[7] = '2'; return b }),
		nothing("byte order", func(b []byte) []byte { slices.Reverse(b[8:12]); return b }),
		nothing("length of the description 0", put32(12, 0)),
		nothing("length of the description one less", func(b []byte) []byte { b[12]--; return b }),
		nothing("length of the description beyond the header", put32(12, spoolHeader)),
		nothing("length of the description 2^32-1", put32(12, 1<<32-1)),
		nothing("checksum of the description", flip(17)),
		nothing("description", flip(descOffset+30)),
		nothing("number of slots 0", put64(24, 0)),
		nothing("number of slots 12", put64(24, 12)),
		nothing("number of slots 2^63", put64(24, 1<<63)),
		nothing("number of slots 2^27", put64(24, 1<<27)),
		{"number of slots halved", put64(24, 8), numbers(4, 8), 1, true},
		{"number of slots 2^26", put64(24, 1<<26), numbers(4, 10), 0, false},
		{"head", flip(headOffset), numbers(0, 10), 0, false},
		{"head 0", put64(headOffset, 0), numbers(0, 10), 0, false},
		{"head 2^64-1", put64(headOffset, 1<<64-1), numbers(0, 10), 0, false},
		{"head's checksum", flip(headOffset + 7), numbers(0, 10), 0, false},
		{"acknowledged slot", flip(at(2)), numbers(4, 10), 0, false},
		{"oldest slot", flip(at(4)), numbers(5, 10), 1, true},
		{"newest slot", flip(at(9)), numbers(4, 9), 1, true},
		{"the two newest slots", func(b []byte) []byte { return flip(at(8))(flip(at(9))(b)) }, numbers(4, 8), 2, true},
		{"newest slot written by half", func(b []byte) []byte { clear(slotAt(b, 9)[:8]); return b }, numbers(4, 9), 0, false},
		{"two slots swapped", func(b []byte) []byte {
			a := slices.Clone(slotAt(b, 5))
			copy(slotAt(b, 5), slotAt(b, 6))
			copy(slotAt(b, 6), a)
			return b
		}, numbers(4, 10, 5, 6), 2, true},
		{"one slot over another", func(b []byte) []byte { copy(slotAt(b, 5), slotAt(b, 6)); return b }, numbers(4, 10, 5), 1, true},
		{"zeros in the middle", func(b []byte) []byte { clear(b[at(5):at(7)]); return b }, numbers(4, 10, 5, 6), 2, true},
		{"an event that the plan does not have", rewrite(7, func(s *slot) { s.where |= 9 << 56 }), numbers(4, 10, 7), 1, true},
		{"a time before the session", rewrite(7, func(s *slot) { s.elapsed = -1 }), numbers(4, 10, 7), 1, true},
		{"a time that no plan takes", rewrite(7, func(s *slot) { s.elapsed = 1<<63 - 1 }), numbers(4, 10, 7), 1, true},
		{"a sequence number below 0", rewrite(7, func(s *slot) { s.seq = -1 }), numbers(4, 10, 7), 1, true},
		nothing("description that is no JSON", describeAs("{")),
		nothing("description that is another JSON", describeAs("[1]")),
		nothing("description without a plan", describe(func(d *described) { d.Plan = nil })),
		nothing("description with a plan that has faults", describe(func(d *described) { d.Plan.Identity = "ip" })),
		nothing("description without an id", describe(func(d *described) { d.ID = "" })),
		nothing("description with another form of id", describe(func(d *described) { d.ID = strings.ToUpper(d.ID[:31]) + "F" })),
		nothing("description with an id that breaks out", describe(func(d *described) { d.ID = `","x":"` })),
		nothing("description with a time before all plans", describe(func(d *described) { d.Started = plan.MinTime - 1 })),
		nothing("description with a time after all plans", describe(func(d *described) { d.Started = plan.MaxTime + 1 })),
		nothing("description with a head missing", describe(func(d *described) { d.Heads = d.Heads[1:] })),
		nothing("description with a head that is no JSON", describe(func(d *described) { d.Heads[0] = `{"time":"` })),
		nothing("description with a head that closes the event", describe(func(d *described) { d.Heads[0] = `{"x":1},{"time":` })),
		nothing("description with an event of five fields", describe(func(d *described) {
			for i := range maxOwn {
				d.Plan.Events[0].Fields = append(d.Plan.Events[0].Fields, plan.Field{Name: fmt.Sprint("f", i), In: plan.EventProperties, Kind: plan.Count})
			}
		})),
	}
	for i := range slotSize {
		first = append(first, row{fmt.Sprintf("byte %d of a slot", i), flip(at(6) + i), numbers(4, 10, 6), 1, true})
	}
	round := []row{
		{"intact", intact, numbers(12, 24), 0, false},
		{"head", flip(headOffset + 1), numbers(8, 24), 0, false},
		{"oldest slot", flip(at(12)), numbers(13, 24), 1, true},
		{"newest slot", flip(at(7)), numbers(12, 23), 1, true},
		{"newest slot written by half", func(b []byte) []byte { clear(slotAt(b, 7)[:8]); return b }, numbers(12, 23), 0, false},
		{"acknowledged slot behind the newest", flip(at(8)), numbers(12, 24), 1, true}, // it could have been a newer one
		{"other acknowledged slot", flip(at(10)), numbers(12, 24), 0, false},
		{"cut", cut(at(14)), numbers(12, 24, 14, 15), 2, true},
		{"slot of the lap before", rewrite(3, func(s *slot) { s.where -= 16 }), numbers(12, 24, 19), 1, true},
		{"slot of the lap after", rewrite(3, func(s *slot) { s.where += 16 }), numbers(12, 24, 19), 1, true},
	}
	for _, part := range []struct {
		name string
		play func(c coffee, q *queue)
		rows []row
	}{
		{"first lap", func(c coffee, q *queue) { recordAndAcknowledge(c, q, 10, 4) }, first},
		{"second lap", func(c coffee, q *queue) {
			recordAndAcknowledge(c, q, 16, 12)
			recordAndAcknowledge(c, q, 8, 0)
		}, round},
	} {
		t.Run(part.name, func(t *testing.T) {
			file, id := leftBySIGKILL(t, part.play)
			for _, r := range part.rows {
				t.Run(r.name, func(t *testing.T) {
					state := t.TempDir()
					damaged := r.damage(slices.Clone(file))
					putSpool(t, state, id, damaged)
					var book logBook
					sent, s, files := nextStart(t, state, func(cfg *Config) { cfg.Logger = book.logger() })
					// What is lost is said in one line, with how much it is.
					said := fmt.Sprintf("a spool file is damaged; it is kept for a week\" events=%d ", r.lost)
					if n := strings.Count(book.text(), "\n"); n != int(min(r.lost, 1)) || n > 0 && !strings.Contains(book.text(), said) {
						t.Errorf("the log says\n%s", book.text())
					}
					if !slices.Equal(sent[id], r.sent) {
						t.Errorf("events %v are sent, want %v", sent[id], r.sent)
					}
					if s.Dropped != r.lost || s.Recovered != int64(len(r.sent))+r.lost {
						t.Errorf("%d events are counted as lost and %d as recovered, want %d and %d", s.Dropped, s.Recovered, r.lost, int64(len(r.sent))+r.lost)
					}
					var want []string
					if r.aside {
						want = []string{id + asideEnding}
					}
					if !slices.Equal(files, want) {
						t.Fatalf("the spool holds %v, want %v", files, want)
					}
					if r.aside {
						if b, err := os.ReadFile(filepath.Join(spoolDir(state), id+asideEnding)); err != nil || !slices.Equal(b, damaged) {
							t.Errorf("what is set aside is not what was there: %v", err)
						}
					}
				})
			}
		})
	}
}

// rewrite changes a slot and makes its checksum right again.
func rewrite(i int, change func(s *slot)) func([]byte) []byte {
	return func(b []byte) []byte {
		s := getSlot(slotAt(b, i))
		change(&s)
		s.mark = s.sum()
		putSlot(slotAt(b, i), &s)
		return b
	}
}

// TestHugeSpoolFile: a file of a tebibyte, most of it a hole, is not read into
// memory.
func TestHugeSpoolFile(t *testing.T) {
	good, id := leftBySIGKILL(t, func(c coffee, q *queue) { recordAndAcknowledge(c, q, 10, 4) })
	f := func(name string, file []byte, wantSent int) {
		t.Helper()
		state := t.TempDir()
		if err := os.Truncate(putSpool(t, state, id, file), 1<<40); err != nil {
			t.Fatal(err)
		}
		sent, s, files := nextStart(t, state, nil)
		if len(sent[id]) != wantSent || s.Dropped != 1 || !slices.Equal(files, []string{id + asideEnding}) {
			t.Errorf("%s: %d events are sent, %d counted as lost, and %v stays; want %d, 1, and the file aside", name, len(sent[id]), s.Dropped, files, wantSent)
		}
	}
	f("nothing in it", nil, 0)
	f("a good one at its beginning", good, 6)
}

// TestSpoolLeavesAloneWhatIsNotItsOwn: another app's events, a live session's,
// folders, and files of other names.
func TestSpoolLeavesAloneWhatIsNotItsOwn(t *testing.T) {
	state := t.TempDir()
	var down endpoint
	down.answer = func(*http.Request, []string) (int, string, error) { return 503, "", nil }
	cfg := down.config()
	cfg.StateDir, cfg.Interval = state, time.Hour

	tea := New("tea", 1)
	drunk := NewEvent(tea, "drunk", "A cup was drunk.")
	mustOpen(t, tea, cfg)
	drunk.Record()
	closeNow(t, tea)
	live := newCoffee()
	mustOpen(t, live.Client, cfg)
	live.spilled.Record()
	for _, name := range []string{"notes.txt", "spool", ".spool.swp"} {
		if err := os.WriteFile(filepath.Join(spoolDir(state), name), []byte("not ours"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(spoolDir(state), "folder.spool"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(spoolDir(state), "pipe.spool"), 0o600); err != nil {
		t.Fatal(err)
	}

	before := spoolFiles(t, state)
	sent, s, after := nextStart(t, state, nil)
	if len(sent) != 0 || s != (Stats{}) {
		t.Errorf("%v is sent, and the counts are %+v; want nothing", sent, s)
	}
	if !slices.Equal(before, after) {
		t.Errorf("the spool holds %v, and held %v before", after, before)
	}
	// What was left alone is as good as before.
	down.answer = nil
	if err := live.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	tea = New("tea", 1)
	NewEvent(tea, "drunk", "A cup was drunk.")
	mustOpen(t, tea, cfg)
	if err := tea.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	down.check(t, 2)
}

// TestBoundOfLeftovers: the events of all ended sessions together have the bound
// of one queue, and the oldest go.
func TestBoundOfLeftovers(t *testing.T) {
	state := t.TempDir()
	var down endpoint
	down.answer = func(*http.Request, []string) (int, string, error) { return 503, "", nil }
	var ids []string
	for i := range 3 {
		cfg := down.config()
		cfg.StateDir, cfg.Interval = state, time.Hour
		cfg.now = func() time.Time { return wallShifted(t, time.Now(), -time.Duration(3-i)*time.Hour) }
		c := newCoffee()
		mustOpen(t, c.Client, cfg)
		for range 100 {
			c.spilled.Record()
		}
		ids = append(ids, c.live.Load().ID)
		closeNow(t, c.Client)
	}
	sent, s, files := nextStart(t, state, func(cfg *Config) { cfg.QueueSize = 128 })
	if len(files) != 0 {
		t.Errorf("%v stays in the spool", files)
	}
	want := map[string]int{ids[1]: 28, ids[2]: 100}
	got := map[string]int{}
	for id, numbers := range sent {
		got[id] = len(numbers)
	}
	if !maps.Equal(got, want) {
		t.Errorf("of each session are sent %v, want %v", got, want)
	}
	if n := sent[ids[1]]; len(n) > 0 && n[0] != 72 {
		t.Errorf("the oldest event that is kept has number %d, want 72", n[0])
	}
	if s.Recovered != 300 || s.Dropped != 172 || s.Sent != 128 {
		t.Errorf("got %+v, want 300 recovered, 172 dropped, 128 sent", s)
	}
}

// TestAgeOfLeftovers: after a week events are dropped and counted.
func TestAgeOfLeftovers(t *testing.T) {
	const week = 7 * 24 * time.Hour
	for age, wantSent := range map[time.Duration]int{-24 * time.Hour: 5, 0: 5, week - time.Hour: 5, week + time.Hour: 0, 1000 * week: 0} {
		state := t.TempDir()
		var down endpoint
		down.answer = func(*http.Request, []string) (int, string, error) { return 503, "", nil }
		cfg := down.config()
		cfg.StateDir, cfg.Interval = state, time.Hour
		c := newCoffee()
		if age > 100*week {
			age = 100 * week // back to before the plans' first year would be another matter
		}
		cfg.now = func() time.Time { return wallShifted(t, time.Now(), -age) }
		mustOpen(t, c.Client, cfg)
		for range 5 {
			c.spilled.Record()
		}
		id := c.live.Load().ID
		closeNow(t, c.Client)
		sent, s, files := nextStart(t, state, nil)
		if len(sent[id]) != wantSent || s.Dropped != int64(5-wantSent) || len(files) != 0 {
			t.Errorf("after %v: %d events are sent and %d dropped, and %v stays; want %d and %d", age, len(sent[id]), s.Dropped, files, wantSent, 5-wantSent)
		}
	}
}

// TestOldFilesGo: what was set aside is kept for a week, and the beginning of a
// file, of a process that was killed while it made it, for an hour.
func TestOldFilesGo(t *testing.T) {
	state := t.TempDir()
	ages := map[string]time.Duration{
		"a" + asideEnding:               8 * 24 * time.Hour,
		"b" + asideEnding:               6 * 24 * time.Hour,
		"c" + spoolEnding + newEnding:   2 * time.Hour,
		"d" + spoolEnding + newEnding:   time.Minute,
		"other" + newEnding + ".backup": 1000 * time.Hour,
	}
	for name, age := range ages {
		path := filepath.Join(spoolDir(state), name)
		os.Rename(putSpool(t, state, "x", []byte("x")), path)
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	_, _, files := nextStart(t, state, nil)
	want := []string{"b" + asideEnding, "d" + spoolEnding + newEnding, "other" + newEnding + ".backup"}
	if !slices.Equal(files, want) {
		t.Errorf("the spool holds %v, want %v", files, want)
	}
}

// TestSpoolIsPrivate: whatever the umask, only the owner can read.
func TestSpoolIsPrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	state := filepath.Join(t.TempDir(), "state")
	var down endpoint
	down.answer = func(*http.Request, []string) (int, string, error) { return 503, "", nil }
	cfg := down.config()
	cfg.StateDir, cfg.Interval = state, time.Hour
	c := newCoffee()
	mustOpen(t, c.Client, cfg)
	c.spilled.Record()
	check := func(when string) {
		t.Helper()
		files := 0
		err := filepath.WalkDir(state, func(path string, e os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			want := os.FileMode(0o600)
			if e.IsDir() {
				want = 0o700
			} else {
				files++
			}
			if info.Mode().Perm() != want {
				t.Errorf("%s: %s has mode %v, want %v", when, path, info.Mode().Perm(), want)
			}
			return nil
		})
		if err != nil || files != 3 {
			t.Errorf("%s: %d files (%v), want the secret, the accepted plan and the spool", when, files, err)
		}
	}
	check("while it runs")
	closeNow(t, c.Client)
	check("after Close")
}

// TestOneSessionInARequest: events of ended sessions are sent before the new
// ones, the oldest session first, and no request mixes two of them.
func TestOneSessionInARequest(t *testing.T) {
	state := t.TempDir()
	y := newTally()
	url := y.serve(t)
	var want []string
	cfg := Config{URL: url, APIKey: "key", StateDir: state, Interval: time.Hour, Getenv: noEnv}
	var requests [][]sentEvent
	y.set(func(w http.ResponseWriter, _ *http.Request, events []sentEvent) {
		y.take(w, events)
		requests = append(requests, events)
	})
	for i := range 3 {
		cfg.now = func() time.Time { return wallShifted(t, time.Now(), time.Duration(i-3)*time.Hour) }
		c := newCoffee()
		mustOpen(t, c.Client, cfg)
		want = append(want, c.live.Load().ID)
		for range 10 {
			c.spilled.Record()
		}
		if i < 2 {
			closeNow(t, c.Client)
			continue
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, events := range requests {
		if len(events) != 10 {
			t.Errorf("a request has %d events, want 10", len(events))
		}
		for _, e := range events {
			if e.UserID != events[0].UserID || !strings.HasPrefix(e.InsertID, e.UserID) {
				t.Fatalf("a request mixes sessions: %s and %s", events[0].UserID, e.InsertID)
			}
		}
		got = append(got, events[0].UserID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("sessions arrive in the order %v, want %v", got, want)
	}
}

// everyKind is a plan with a field of every kind that an event can have.
func everyKind() *Client {
	c := New("coffee", 1)
	NewSession(c, EnumField[size]("roast", "How dark the beans are.", "light", "dark")).Set(large)
	NewSession(c, CountField("cups", "Cups on the shelf.")).Set(1 << 53) // does not fit: missing
	NewEvent4(c, "brewed", "A cup was brewed.",
		EnumField[size]("size", "Size of the cup.", "small", "large"), CountField("sugar", "Lumps of sugar."),
		BucketField("heat", "Degrees.", 10, 100), FlagField("spoon", "Whether a spoon came with it."))
	NewEvent3(c, "weighed", "Beans were weighed.",
		BytesField("bytes", "Size."), SecondsField("seconds", "Time."), MillisecondsField("milliseconds", "Time."))
	NewEvent(c, "spilled", "A cup was spilled.")
	return c
}

// describedKinds returns the description of a session with that plan.
func describedKinds(t testing.TB) described {
	t.Helper()
	c := everyKind()
	p, err := c.Plan()
	if err != nil {
		t.Fatal(err)
	}
	s := session{cfg: Config{Version: "1.2.3"}, secret: plan.Secret{1}}
	s.described = described{App: p.App, ID: s.secret.ID().String(), Started: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC).UnixMilli(), Plan: p}
	s.Heads = s.makeHeads(c.session)
	return s.described
}

// FuzzSpool: no bytes make the reader fail in another way than by an error, and
// what it takes can be sent, and kept and read again.
func FuzzSpool(f *testing.F) {
	d := describedKinds(f)
	desc, err := json.Marshal(d)
	if err != nil {
		f.Fatal(err)
	}
	file, _ := leftBySIGKILL(f, func(c coffee, q *queue) { recordAndAcknowledge(c, q, 10, 4) })
	n := binary.NativeEndian.Uint32(file[12:])
	head := binary.NativeEndian.Uint64(file[headOffset:])
	f.Add(file[:descOffset], file[descOffset:descOffset+n], file[spoolHeader:], uint64(16), head, false)
	f.Add(file[:descOffset], desc, file[spoolHeader:], uint64(16), seal(0), true)
	f.Add(file[:descOffset], desc, file[spoolHeader:spoolHeader+300], uint64(8), uint64(1<<60), true)
	f.Add(file[:20], []byte("{"), []byte{}, uint64(0), uint64(0), true)
	f.Fuzz(func(t *testing.T, header, desc, slots []byte, count, head uint64, repair bool) {
		b := make([]byte, spoolHeader, spoolHeader+len(slots))
		copy(b[copy(b, header):], desc)
		b = append(b, slots...)
		if repair {
			// With checksums that are right the reader looks further.
			clear(b[:spoolHeader])
			desc = desc[:min(len(desc), spoolHeader-descOffset)]
			writeHeader(b, desc, int(count), head)
			binary.NativeEndian.PutUint64(b[headOffset:], head)
			for at := spoolHeader; at+slotSize <= len(b); at += slotSize {
				s := getSlot(b[at:])
				s.mark = s.sum()
				putSlot(b[at:], &s)
			}
		}
		d, kept, left, unreadable, err := parseSpool(b)
		if err != nil {
			return
		}
		if unreadable < 0 {
			t.Fatalf("%d slots are unreadable", unreadable)
		}
		for i := range left {
			event, _ := d.encodeEvent(nil, &left[i])
			if !json.Valid(event) {
				t.Fatalf("an event becomes %s", event)
			}
		}
		if len(left) == 0 {
			return
		}
		d2, _, left2, unreadable, err := parseSpool(makeSpool(kept, left))
		if err != nil || unreadable != 0 || len(left2) != len(left) || d2.ID != d.ID {
			t.Fatalf("%d events are written; read again are %d, and %d are unreadable: %v", len(left), len(left2), unreadable, err)
		}
		for i := range left {
			a, b := left[i], left2[i]
			if a.seq != b.seq || a.elapsed != b.elapsed || a.own != b.own || a.event() != b.event() {
				t.Fatalf("%+v becomes %+v", a, b)
			}
		}
	})
}

// FuzzEncode: whatever a session can have put into a slot becomes a request that
// encoding/json reads, and of which the plan takes every field.
func FuzzEncode(f *testing.F) {
	for event := range uint8(4) {
		f.Add(event, int64(0), int64(1e9), int64(0), int64(1), int64(2), int64(3))
		f.Add(event, int64(1<<62), int64(1<<60), int64(-1), int64(1<<53), int64(-1<<63), int64(1<<63-1))
		f.Add(event, int64(1), int64(-1), int64(1), int64(1<<53-1), int64(10), int64(0))
	}
	d := describedKinds(f)
	s := session{cfg: Config{URL: "http://collector.test", APIKey: "k\"\\\x00ey"}}
	f.Fuzz(func(t *testing.T, event uint8, seq, elapsed, v0, v1, v2, v3 int64) {
		e := slot{where: uint64(event) << 56, seq: seq, elapsed: elapsed, own: [maxOwn]int64{v0, v1, v2, v3}}
		if !d.holds(&e) {
			return // the spool reader refuses it, and Record cannot make it
		}
		body, missing := s.encode(nil, &d, []slot{e})
		var request struct {
			Key    string `json:"api_key"`
			Events []map[string]json.RawMessage
		}
		if err := json.Unmarshal(body, &request); err != nil || len(request.Events) != 1 || request.Key != s.cfg.APIKey {
			t.Fatalf("%s: %v", body, err)
		}
		got := request.Events[0]
		take := func(in map[string]json.RawMessage, fields []plan.Field, place plan.Place) {
			for _, f := range fields {
				raw, has := in[f.Name]
				if f.In != place || !has {
					continue
				}
				delete(in, f.Name)
				if !accepts(&f, raw) {
					t.Fatalf("the plan does not take %s as %s", raw, f.Name)
				}
			}
		}
		properties := func(name string) map[string]json.RawMessage {
			var m map[string]json.RawMessage
			if err := json.Unmarshal(got[name], &m); err != nil {
				t.Fatalf("%s: %v", got[name], err)
			}
			delete(got, name)
			return m
		}
		user, own := properties("user_properties"), properties("event_properties")
		take(got, d.Plan.Fields, plan.Top)
		take(user, d.Plan.Fields, plan.UserProperties)
		take(own, d.Plan.Fields, plan.EventProperties)
		fields := d.Plan.Events[event].Fields
		before := len(own)
		take(own, fields, plan.EventProperties)
		if before+missing != len(fields) {
			t.Fatalf("%d fields of %d are sent, and %d counted as missing", before, len(fields), missing)
		}
		if want := fmt.Sprintf("%q", d.Plan.Events[event].Name); string(got["event_type"]) != want {
			t.Fatalf("event_type is %s, want %s", got["event_type"], want)
		}
		if want := fmt.Sprintf(`"%s-%d"`, d.ID, seq); string(got["insert_id"]) != want {
			t.Fatalf("insert_id is %s, want %s", got["insert_id"], want)
		}
		delete(got, "event_type")
		delete(got, "insert_id")
		if len(got)+len(user)+len(own) != 0 {
			t.Fatalf("the plan does not have %v %v %v", got, user, own)
		}
	})
}

// accepts holds a JSON value against a field of the plan, as a collector does.
func accepts(f *plan.Field, raw json.RawMessage) (ok bool) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return false
	}
	switch v := v.(type) {
	case string:
		_, ok = f.FromString([]byte(v))
	case float64:
		_, ok = f.FromNumber(raw)
	case bool:
		_, ok = f.FromBool(v)
	}
	return ok
}

// TestLeftoverShrinks: a session that was killed leaves a file of full size. The
// next start makes it as small as what is left, so that a program that crashes
// again and again does not fill the disk, and loses nothing by that.
func TestLeftoverShrinks(t *testing.T) {
	for name, test := range map[string]struct {
		play func(c coffee, q *queue)
		left int
		size int64
	}{
		"first lap":                          {func(c coffee, q *queue) { recordAndAcknowledge(c, q, 10, 4) }, 6, spoolHeader + 11*slotSize},
		"one free":                           {func(c coffee, q *queue) { recordAndAcknowledge(c, q, 15, 4) }, 11, spoolHeader + 16*slotSize},
		"full":                               {func(c coffee, q *queue) { recordAndAcknowledge(c, q, 16, 0) }, 16, spoolHeader + 16*slotSize},
		"all acknowledged":                   {func(c coffee, q *queue) { recordAndAcknowledge(c, q, 10, 10) }, 0, spoolHeader + 16*slotSize},
		"second lap":                         {func(c coffee, q *queue) { recordAndAcknowledge(c, q, 16, 12); recordAndAcknowledge(c, q, 3, 0) }, 7, spoolHeader + 16*slotSize},
		"second lap, the first acknowledged": {func(c coffee, q *queue) { recordAndAcknowledge(c, q, 16, 16); recordAndAcknowledge(c, q, 3, 1) }, 2, spoolHeader + 4*slotSize},
	} {
		file, id := leftBySIGKILL(t, test.play)
		state := t.TempDir()
		path := putSpool(t, state, id, file)
		for range 3 { // each start finds what the one before, which was killed too, has made of it
			l, lost, err := openLeftover(path, "coffee", time.Now())
			if err != nil || lost != 0 || len(l.left) != test.left || l.damaged {
				t.Fatalf("%s: %d events are found and %d lost (%v), want %d and 0", name, len(l.left), lost, err, test.left)
			}
			l.lock.Close()
			if info, err := os.Stat(path); err != nil || info.Size() != test.size {
				t.Errorf("%s: the file has %d bytes (%v), want %d", name, info.Size(), err, test.size)
			}
		}
		sent, s, files := nextStart(t, state, nil)
		if len(sent[id]) != test.left || s.Dropped != 0 || len(files) != 0 {
			t.Errorf("%s: %d events are sent, %d dropped, and %v stays; want %d", name, len(sent[id]), s.Dropped, files, test.left)
		}
	}
}

// TestSpoolFollowsNoLink: in a folder that others can write to, a link under the
// name of the file that Close writes must not lead it to another file.
func TestSpoolFollowsNoLink(t *testing.T) {
	var e endpoint
	cfg := e.config()
	cfg.StateDir, cfg.Interval = t.TempDir(), time.Hour
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	if err := os.Symlink(precious, filepath.Join(spoolDir(cfg.StateDir), id(p)+spoolEnding+newEnding)); err != nil {
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Close(done); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(precious); err != nil || string(b) != "precious" {
		t.Errorf("another file holds %d bytes, %v", len(b), err)
	}
	next := newCoffee()
	mustOpen(t, next.Client, cfg)
	next.Close(t.Context())
	e.check(t, 1)
}
