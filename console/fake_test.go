package console

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// memory is a Store that keeps records in memory and computes its answers from
// them, without any cleverness that could hide a wrong question.
type memory struct {
	mu      sync.Mutex
	plans   map[string]*plan.Plan
	records map[string][]store.Record
	fail    error       // of every question, if set
	asked   int         // questions and listings so far
	erased  int64       // how often erase was called
	looks   []time.Time // of whoever asked how often
}

var _ store.Store = (*memory)(nil)

func newMemory(t testing.TB, plans ...*plan.Plan) *memory {
	t.Helper()
	m := &memory{plans: map[string]*plan.Plan{}, records: map[string][]store.Record{}}
	for _, p := range plans {
		if err := m.Define(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *memory) Define(_ context.Context, p *plan.Plan) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.plans[p.App] = p
	return plan.Check(p)
}

func (m *memory) Append(_ context.Context, app string, records []store.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plans[app] == nil {
		return store.ErrUnknownApp
	}
	m.records[app] = append(m.records[app], records...)
	return nil
}

func (m *memory) Seen(context.Context, string, time.Time) iter.Seq2[store.Seen, error] {
	return func(func(store.Seen, error) bool) {}
}

// erase takes a sender out, as a collector would.
func (m *memory) erase(app string, id plan.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records[app] = slices.DeleteFunc(m.records[app], func(r store.Record) bool { return r.ID == id })
	m.erased++
}

// erasures is a Config's Erased.
func (m *memory) erasures(string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks = append(m.looks, time.Now())
	return m.erased
}

// seen returns when somebody has asked how often something was erased.
func (m *memory) seen() []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.looks)
}

func (m *memory) Senders(context.Context, string) iter.Seq2[plan.ID, error] {
	return func(func(plan.ID, error) bool) {}
}

func (m *memory) Holds(context.Context, string, plan.ID) (bool, error) {
	return false, errors.New("the console must not look for senders")
}

func (m *memory) Erase(context.Context, string, []plan.ID) ([]store.Erased, error) {
	return nil, errors.New("the console must not erase")
}

func (m *memory) Close() error { return nil }

func (m *memory) Ask(ctx context.Context, q store.Question) (*store.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.fail != nil {
		return nil, m.fail
	}
	p := m.plans[q.App]
	if p == nil {
		return nil, store.ErrUnknownApp
	}
	label, ok := labeller(p, q.By)
	steps := 1
	if q.Every > 0 {
		steps = int((q.To.Sub(q.From) + q.Every - 1) / q.Every)
	}
	if !ok || !q.From.Before(q.To) || steps > store.MaxSteps {
		return nil, store.ErrQuestion
	}
	a := &store.Answer{}
	for i := range steps {
		a.Starts = append(a.Starts, q.From.Add(time.Duration(i)*q.Every).UTC())
	}
	type at struct {
		label string
		step  int // -1 is the whole range
		id    plan.ID
	}
	seen := map[at]bool{}
	series := map[string]*store.Series{}
	for _, r := range m.records[q.App] {
		t := time.UnixMilli(r.Time)
		if t.Before(q.From) || !t.Before(q.To) || q.Event != "" && p.Events[r.Event].Name != q.Event {
			continue
		}
		step := 0
		if q.Every > 0 {
			step = int(t.Sub(q.From) / q.Every)
		}
		s := series[label(&r)]
		if s == nil {
			s = &store.Series{Label: label(&r), Values: make([]int64, steps)}
			series[s.Label] = s
		}
		if q.Measure == store.Events || !seen[at{s.Label, step, r.ID}] {
			s.Values[step]++
		}
		if q.Measure == store.Events || !seen[at{s.Label, -1, r.ID}] {
			s.Total++
		}
		seen[at{s.Label, step, r.ID}], seen[at{s.Label, -1, r.ID}] = true, true
	}
	for _, s := range series {
		a.Series = append(a.Series, *s)
	}
	slices.SortFunc(a.Series, func(x, y store.Series) int {
		return cmp.Or(cmp.Compare(y.Total, x.Total), cmp.Compare(x.Label, y.Label))
	})
	a.Series = a.Series[:min(len(a.Series), cmp.Or(q.Limit, store.DefaultLimit))]
	return a, ctx.Err()
}

// labeller returns the label that a record has when grouped by a field.
func labeller(p *plan.Plan, by string) (func(*store.Record) string, bool) {
	switch by {
	case "":
		return func(*store.Record) string { return "" }, true
	case "event_type":
		return func(r *store.Record) string { return p.Events[r.Event].Name }, true
	}
	for i, f := range p.SessionColumns() {
		if f.Name == by {
			return func(r *store.Record) string { return f.Format(r.Session[i]) }, true
		}
	}
	return nil, false
}

func (m *memory) List(ctx context.Context, l store.Listing, yield func(*store.Record) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.fail != nil {
		return m.fail
	}
	if m.plans[l.App] == nil {
		return store.ErrUnknownApp
	}
	list := slices.Clone(m.records[l.App])
	slices.SortStableFunc(list, func(a, b store.Record) int { return cmp.Compare(a.Received, b.Received) })
	if l.Newest {
		slices.Reverse(list)
	}
	for i := range list {
		if l.Limit > 0 && i == l.Limit {
			break
		}
		if err := yield(&list[i]); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// blindai is the plan of BlindAI, as the pages are most often made from it.
func blindai(t testing.TB) *plan.Plan {
	t.Helper()
	return checked(t, &plan.Plan{
		App: "blindai", Version: 1, Identity: "user_id",
		Fields: []plan.Field{
			{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true, Doc: "a random id, made when the server starts."},
			{Name: "app_version", In: plan.Top, Kind: plan.Version, Session: true},
			{Name: "device_id", In: plan.Top, Kind: plan.System, Session: true},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp},
			{Name: "sgx_mode", In: plan.UserProperties, Kind: plan.Enum, Values: []string{"SW", "HW"}, Session: true},
			{Name: "uptime", In: plan.EventProperties, Kind: plan.Seconds},
		},
		Events: []plan.Event{
			{Name: "started", Doc: "The server has started."},
			{Name: "send_model", Fields: []plan.Field{{Name: "model_size", In: plan.EventProperties, Kind: plan.Bytes}}},
			{Name: "run_model"},
		},
	})
}

func checked(t testing.TB, p *plan.Plan) *plan.Plan {
	t.Helper()
	if err := plan.Check(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// A run is one session of BlindAI's plan, from which records are made.
type run struct {
	id      plan.ID
	session []plan.Value
	start   time.Time
	seq     int64
}

func newRun(t testing.TB, p *plan.Plan, n int, version, system, mode string, start time.Time) *run {
	t.Helper()
	sum := sha256.Sum256([]byte{'t', 'e', 's', 't', byte(n >> 8), byte(n)})
	r := &run{id: plan.ID(sum[:16]), start: start}
	for _, f := range p.SessionColumns() {
		word := map[string]string{"app_version": version, "device_id": system, "sgx_mode": mode}[f.Name]
		v, ok := f.FromString([]byte(word))
		if !ok && word != "" {
			t.Fatalf("%s is no value of %s", word, f.Name)
		}
		r.session = append(r.session, v)
	}
	return r
}

// event is the run's next one. A size of 0 means that the event has none.
func (r *run) event(kind int, at time.Time, size int64) store.Record {
	rec := store.Record{
		ID: r.id, Insert: store.InsertID{Own: true, Seq: r.seq}, Event: kind,
		Time: at.UnixMilli(), Received: at.UnixMilli() + 1500, Session: r.session,
		Own: []plan.Value{{Set: true, Int: int64(at.Sub(r.start) / time.Second)}, {Set: size > 0, Int: size}},
	}
	r.seq++
	return rec
}

// season fills a store with the made-up life of a small fleet: half a year in
// which it grows, moves to newer versions and into hardware. It is the same for
// the same end.
func season(t testing.TB, m *memory, p *plan.Plan, now time.Time) {
	t.Helper()
	random := rand.New(rand.NewPCG(20, 26))
	weighted := func(weights ...float64) int {
		x, sum := random.Float64(), 0.0
		for _, w := range weights {
			sum += w
		}
		for i, w := range weights {
			if x -= w / sum; x < 0 {
				return i
			}
		}
		return len(weights) - 1
	}
	releases := []struct {
		version string
		age     float64 // days before now
	}{{"0.5.2", 400}, {"0.6.0", 150}, {"0.6.1", 105}, {"0.7.0", 62}, {"0.7.1", 33}, {"0.8.0-rc.1", 16}, {"0.8.0", 9}}
	systems := []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"}

	const history = 190
	var records []store.Record
	n := 0
	for d := history; d >= 0; d-- {
		morning := now.Truncate(day).Add(-time.Duration(d) * day)
		starts := 5 + (history-d)/20 + random.IntN(5)
		if wd := morning.Weekday(); wd == time.Saturday || wd == time.Sunday {
			starts = starts/2 + 1
		}
		for range starts {
			// Most runs start in working hours.
			start := morning.Add(time.Duration((8 + 3*random.NormFloat64() + 5) * float64(time.Hour)))
			if start.After(now.Add(-time.Minute)) || start.Before(morning) {
				continue
			}
			weights := make([]float64, len(releases))
			for i, r := range releases {
				if since := r.age - float64(d); since > 0 {
					weights[i] = min(since, 24)
					if i < len(releases)-1 && releases[i+1].age > float64(d) {
						weights[i] /= 1 + (releases[i+1].age-float64(d))/5
					}
				}
				if r.version == "0.8.0-rc.1" {
					weights[i] /= 5
				}
			}
			mode := "SW"
			if random.Float64() < 0.22+0.28*float64(history-d)/history {
				mode = "HW"
			}
			system := systems[0]
			if mode == "SW" {
				system = systems[weighted(62, 17, 15, 6)]
			}
			n++
			r := newRun(t, p, n, releases[weighted(weights...)].version, system, mode, start)
			records = append(records, r.event(0, start, 0))
			at := start
			for range 1 + random.IntN(4) {
				at = at.Add(time.Duration(20+random.IntN(600)) * time.Second)
				if at.After(now) {
					break
				}
				records = append(records, r.event(1, at, int64(random.ExpFloat64()*48e6)+20_000))
				for range random.IntN(14) {
					if at = at.Add(time.Duration(3+random.IntN(700)) * time.Second); at.Before(now) {
						records = append(records, r.event(2, at, 0))
					}
				}
			}
		}
	}
	// A few runs are at work right now.
	for i, lively := range []struct{ version, system, mode string }{
		{"0.8.0", "linux/amd64", "HW"}, {"0.8.0", "linux/arm64", "SW"}, {"0.7.1", "linux/amd64", "HW"}, {"0.7.1", "darwin/arm64", "SW"},
	} {
		n++
		start := now.Add(-time.Duration(95+240*i) * time.Second)
		r := newRun(t, p, n, lively.version, lively.system, lively.mode, start)
		records = append(records, r.event(0, start, 0), r.event(1, start.Add(20*time.Second), int64(98-17*i)*1_234_567/3))
		for at := start.Add(time.Duration(41+i) * time.Second); at.Before(now.Add(-4 * time.Second)); at = at.Add(time.Duration(29+44*i) * time.Second) {
			records = append(records, r.event(2, at, 0))
		}
	}
	slices.SortFunc(records, func(a, b store.Record) int { return cmp.Compare(a.Time, b.Time) })
	if err := m.Append(t.Context(), p.App, records); err != nil {
		t.Fatal(err)
	}
}
