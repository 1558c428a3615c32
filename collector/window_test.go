package collector

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

const windowStart = 1_800_000_000_000

// smallWindow moves its table to a run every 300 ids.
func smallWindow(t *testing.T) *window {
	w := newWindow(t.TempDir())
	w.limit = 300
	t.Cleanup(w.close)
	return w
}

func wantHas(t *testing.T, w *window, h uint64, want bool) {
	t.Helper()
	if has, err := w.has(h); has != want || err != nil {
		t.Fatalf("has says %v, %v, want %v", has, err, want)
	}
}

// TestWindow compares with a map, over three weeks of random additions, commits
// that fail, and questions.
func TestWindow(t *testing.T) {
	w := smallWindow(t)
	r := rand.New(rand.NewPCG(1, 2))
	day := 24 * time.Hour.Milliseconds()
	kept := map[uint64]int64{} // when received
	var old []uint64
	now := int64(windowStart)
	for now < windowStart+21*day {
		now += r.Int64N(day / 8)
		var marks []uint64
		for range r.IntN(150) {
			h := w.hash(plan.ID{1}, plan.ID{2, byte(r.Uint64()), byte(r.Uint64()), byte(r.Uint64()), byte(r.Uint64())})
			if _, has := kept[h]; !has {
				wantHas(t, w, h, false)
				w.add(h, now)
				kept[h] = now
				marks = append(marks, h)
			}
		}
		if r.IntN(4) == 0 {
			r.Shuffle(len(marks), func(i, j int) { marks[i], marks[j] = marks[j], marks[i] })
			for _, h := range marks {
				w.remove(h)
				wantHas(t, w, h, false)
				delete(kept, h)
			}
		}
		if err := w.turn(now); err != nil {
			t.Fatal(err)
		}
		for h, received := range kept {
			switch age := now - received; {
			case age < 7*day:
				wantHas(t, w, h, true)
			case age > 8*day+day/8:
				delete(kept, h)
				old = append(old, h)
			}
		}
	}
	for _, h := range old {
		wantHas(t, w, h, false)
	}
	if len(old) < 5000 || len(w.runs) < 8 {
		t.Fatalf("only %d ids were forgotten, and %d runs kept: this tests too little", len(old), len(w.runs))
	}
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) != 0 {
		t.Errorf("there are %d files, %v; want none with a name", len(entries), err)
	}
}

// TestWindowWithoutDisk: while nothing can be written, nothing is forgotten.
func TestWindowWithoutDisk(t *testing.T) {
	w := smallWindow(t)
	dir := w.dir
	w.dir = filepath.Join(dir, "none")
	all := func() []uint64 {
		var all []uint64
		for i := range byte(200) {
			all = append(all, w.hash(plan.ID{}, plan.ID{1, i}), w.hash(plan.ID{}, plan.ID{2, i}), w.hash(plan.ID{}, plan.ID{3, i}))
		}
		return all
	}()
	for _, h := range all {
		w.add(h, windowStart)
	}
	if err := w.turn(windowStart); err == nil {
		t.Fatal("no error for a folder that is not there")
	}
	for _, h := range all {
		wantHas(t, w, h, true)
	}
	w.dir = dir
	if err := w.turn(windowStart); err != nil || len(w.runs) != 1 || w.young.used != 0 {
		t.Fatalf("%v, %d runs, %d ids in the table; want one run of all", err, len(w.runs), w.young.used)
	}
	for _, h := range all {
		wantHas(t, w, h, true)
	}
}

// TestUnreadableWindow: what cannot be looked up is neither new nor a repeat, so
// the sender is told to come back.
func TestUnreadableWindow(t *testing.T) {
	d := emptyDedup(t.TempDir())
	d.foreign.limit = 1
	r := &store.Record{ID: plan.ID{1}, Insert: store.InsertID{Foreign: plan.ID{2}}, Received: windowStart}
	if isNew, err := d.admit(r); !isNew || err != nil {
		t.Fatal(isNew, err)
	}
	for i := range byte(2) { // in the middle of a page
		d.foreign.add(d.foreign.hash(plan.ID{3}, plan.ID{i}), windowStart)
	}
	if err := d.commit(time.UnixMilli(windowStart)); err != nil {
		t.Fatal(err)
	}
	d.foreign.runs[0].firsts[0] = 1
	d.foreign.runs[0].close()
	if isNew, err := d.admit(r); isNew || err == nil {
		t.Errorf("got %v, %v, want an error", isNew, err)
	}
}

// TestOldRunsHaveNoFilter: beyond the bound, questions are still answered right.
func TestOldRunsHaveNoFilter(t *testing.T) {
	w := smallWindow(t)
	for i := range 3 * runPage {
		w.add(w.hash(plan.ID{}, plan.ID{byte(i), byte(i >> 8), 1}), windowStart)
	}
	if err := w.turn(windowStart); err != nil {
		t.Fatal(err)
	}
	w.runs[0].filter = nil
	for i := range 3 * runPage {
		wantHas(t, w, w.hash(plan.ID{}, plan.ID{byte(i), byte(i >> 8), 1}), true)
		wantHas(t, w, w.hash(plan.ID{}, plan.ID{byte(i), byte(i >> 8), 2}), false)
	}
}

// TestFilter: a filter knows all that is in it, and little else.
func TestFilter(t *testing.T) {
	const n = 100_000
	r := rand.New(rand.NewPCG(1, 2))
	f := newFilter(n)
	in := make([]uint64, n)
	for i := range in {
		in[i] = r.Uint64()
		f.add(in[i])
	}
	for _, h := range in {
		if !f.has(h) {
			t.Fatal("a number is missing")
		}
	}
	wrong := 0
	for range n {
		if f.has(r.Uint64()) {
			wrong++
		}
	}
	if wrong > n/80 {
		t.Errorf("%d of %d others are taken for members, want one in eighty or fewer", wrong, n)
	}
}

func TestForeignIDsAreForgottenAfterTheWindow(t *testing.T) {
	d := emptyDedup(t.TempDir())
	start := time.UnixMilli(windowStart)
	f := func(after time.Duration, want bool) {
		t.Helper()
		r := &store.Record{ID: plan.ID{1}, Insert: store.InsertID{Foreign: plan.ID{2}}, Received: start.Add(after).UnixMilli()}
		if got, err := d.admit(r); got != want || err != nil {
			t.Errorf("after %v: new is %v, %v, want %v", after, got, err, want)
		}
		if err := d.commit(start.Add(after)); err != nil {
			t.Error(err)
		}
	}
	f(0, true)
	f(time.Hour, false)
	f(foreignWindow-time.Second, false)
	if err := d.commit(start.Add(foreignWindow)); err != nil {
		t.Fatal(err)
	}
	f(foreignWindow, true)
	f(foreignWindow+time.Hour, false)
	if err := d.commit(start.Add(3 * foreignWindow)); err != nil {
		t.Fatal(err)
	}
	if d.foreign.young.used != 0 || len(d.foreign.runs) != 0 {
		t.Error("ids stay in memory beyond the window")
	}
}
