package privacy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
)

func TestFold(t *testing.T) {
	f := func(name string, whole group, want string, groups ...group) {
		t.Helper()
		got := ""
		for _, g := range fold(tally{whole: whole, groups: groups}) {
			got += fmt.Sprintf("%s %d/%d, ", g.label, g.sessions, g.events)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	w := func(sessions, events int64) group { return group{sessions: sessions, events: events} }
	g := func(label string, sessions, events int64) group { return group{label, sessions, events} }
	f("nothing", w(0, 0), "")
	f("all are large enough", w(12, 30), "b 7/20, a 5/10, ", g("a", 5, 10), g("b", 7, 20))
	f("all together are too few", w(4, 90), "", g("a", 1, 30), g("b", 3, 60))
	f("small ones are folded", w(26, 70), "a 20/50, (other) 6/20, ", g("a", 20, 50), g("b", 3, 10), g("c", 3, 10))
	f("one small one would be the difference to the whole", w(29, 70), "a 20/50, (other) 9/20, ", g("a", 20, 50), g("b", 6, 10), g("c", 3, 10))
	f("so would the only other one", w(23, 60), "(other) 23/60, ", g("a", 20, 50), g("b", 3, 10))
	f("the same sessions in many small groups", w(14, 41), "(other) 14/41, ", g("a", 10, 30), g("b", 4, 5), g("c", 4, 6))
	f("sessions in several groups", w(100, 145), "started 100/100, (other) 40/45, ", g("started", 100, 100), g("run", 40, 42), g("send", 3, 3))
	f("groups that the store did not tell apart", w(30, 70), "a 20/40, (other) 10/30, ", g("a", 20, 40))
	f("too few that it did not tell apart", w(22, 50), "(other) 22/50, ", g("a", 20, 40))
	f("groups of nobody", w(5, 5), "a 5/5, ", g("a", 5, 5), g("b", 0, 0))
}

// TestFoldHidesEverybody makes up sessions that are in any number of groups, and
// looks whether what is shown is ever about fewer than minSessions of them.
func TestFoldHidesEverybody(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		names := []string{"a", "b", "c", "d", "e"}[:1+random.IntN(5)]
		members := map[string]map[int]bool{}
		for _, name := range names {
			members[name] = map[int]bool{}
		}
		n := random.IntN(30)
		for session := range n {
			members[names[random.IntN(len(names))]][session] = true
			for random.IntN(3) == 0 {
				members[names[random.IntN(len(names))]][session] = true
			}
		}
		known := names[:len(names)-random.IntN(2)] // the store may leave out the last
		in := tally{whole: group{sessions: int64(n)}}
		for i, name := range names {
			size := int64(len(members[name]))
			in.whole.events += 3 * size
			if i < len(known) {
				in.groups = append(in.groups, group{name, size, 3 * size})
			}
		}
		shown := fold(in)
		folded := map[int]bool{}
		for _, name := range names {
			for session := range members[name] {
				folded[session] = true
			}
		}
		events, open := int64(0), map[string]bool{}
		for _, g := range shown {
			events += g.events
			open[g.label] = true
			if g.label != others && len(members[g.label]) < minSessions {
				t.Fatalf("%v of %v shows a group of %d", shown, members, len(members[g.label]))
			}
		}
		clear(folded)
		for _, name := range names {
			if !open[name] {
				for session := range members[name] {
					folded[session] = true
				}
			}
		}
		switch {
		case len(shown) == 0 && n >= minSessions:
			t.Fatalf("%v shows nothing, and it is of %d sessions", members, n)
		case len(shown) == 0:
		case events != in.whole.events:
			t.Fatalf("%v of %v adds up to %d events of %d", shown, members, events, in.whole.events)
		case open[others] && len(folded) < minSessions, !open[others] && len(folded) > 0:
			t.Fatalf("%v of %v folds %d sessions", shown, members, len(folded))
		}
	}
}

// TestFigures: what is asked, and what is shown of the answers.
func TestFigures(t *testing.T) {
	now := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC) // a Tuesday
	first, end := time.Date(2026, 8, 31, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	asked := 0
	ask := func(_ context.Context, q store.Question) (*store.Answer, error) {
		asked++
		steps := int(q.To.Sub(q.From) / q.Every)
		if q.App != "coffee" || q.Every != 7*24*time.Hour || !q.To.Equal(end) || q.By == "event_type" && !q.From.Equal(first) {
			t.Errorf("asked %+v", q)
		}
		values := func(last int64) []int64 {
			v := make([]int64, steps)
			v[steps-1] = last
			return v
		}
		scale := int64(1)
		if q.Measure == store.Events {
			scale = 1000
		}
		switch q.By {
		case "":
			return &store.Answer{Series: []store.Series{{Values: values(40 * scale)}}}, nil
		case "roast":
			return &store.Answer{Series: []store.Series{{Label: "dark", Values: values(34 * scale)}, {Label: "light", Values: values(4 * scale)}, {Label: "burnt", Values: values(2 * scale)}}}, nil
		case "event_type":
			return &store.Answer{Series: []store.Series{{Label: "brewed", Values: values(40 * scale)}}}, nil
		}
		return nil, errors.New("asked by " + q.By)
	}
	b, err := Figures(t.Context(), coffee(t), now, ask)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, want := range []string{
		"<td>2026-11-16</td><td><code>brewed</code></td><td>40</td><td>40000</td>",
		"<h2>By roast, in the week of 2026-11-16</h2>",
		"<td><code>dark</code></td><td>30</td><td>34000</td>",
		"<td><code>(other)</code></td><td>5</td><td>6000</td>", `<rect width="100" height="1"/>`, `<rect width="16" height="1"/>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %s", want)
		}
	}
	for _, never := range []string{">light<", ">burnt<", "2026-11-23", "2026-11-09", "<script"} {
		if strings.Contains(page, never) {
			t.Errorf("the page holds %s", never)
		}
	}
	if asked != 8 {
		t.Errorf("%d questions are asked, want 8: an id groups nothing", asked)
	}
	if _, err := Figures(t.Context(), coffee(t), now, func(context.Context, store.Question) (*store.Answer, error) { return nil, errors.New("no") }); err == nil {
		t.Error("a store that does not answer makes a page")
	}
}

func TestRounding(t *testing.T) {
	for n, want := range map[int64]int64{0: 0, 9: 5, 99: 95, 100: 100, 109: 100, 119: 110, 98765: 98000, 1_234_567: 1_200_000} {
		if got := digits(n); got != want {
			t.Errorf("digits(%d) = %d, want %d", n, got, want)
		}
	}
	for n, want := range map[int64]int64{4: 0, 5: 5, 9: 5, 10: 10, 1234: 1230} {
		if got := rounded(n); got != want {
			t.Errorf("rounded(%d) = %d, want %d", n, got, want)
		}
	}
	for _, at := range []string{"2026-11-23T00:00:00Z", "2026-11-29T23:59:59Z", "2026-11-26T12:00:00Z", "2026-11-30T01:00:00+02:00"} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil || monday(when).Format(time.RFC3339) != "2026-11-23T00:00:00Z" {
			t.Errorf("the week of %s starts on %s", at, monday(when))
		}
	}
}
