package conformance

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blindai-go/blindai/collector"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/duckdb"
	"github.com/blindai-go/blindai/telemetry/plan"
)

const apiKey = "0123456789abcdef0123456789abcdef"

var tiers = []string{"silver", "gold"}

// pageViewed is an event that the browser SDK sends by itself.
const pageViewed = "[Amplitude] Page Viewed"

// testPlan declares what the clients of these tests send: an event with a
// number, by which the tests tell them apart, and a property of the user; and
// two events that the browser SDK sends by itself, with what of them is no text.
// Official clients identify by a device_id that is a UUID.
func testPlan() *plan.Plan {
	return &plan.Plan{
		App: "conformance", Version: 1, Identity: "device_id",
		Fields: []plan.Field{
			{Name: "device_id", In: plan.Top, Kind: plan.RandomID, Session: true},
			{Name: "app_version", In: plan.Top, Kind: plan.Version, Session: true},
			{Name: "tier", In: plan.UserProperties, Kind: plan.Enum, Values: tiers, Session: true},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp},
		},
		Events: []plan.Event{
			{
				Name:   "counted",
				Fields: []plan.Field{{Name: "number", In: plan.EventProperties, Kind: plan.Count}},
			},
			{
				Name:   "session_start",
				Fields: []plan.Field{{Name: "session_id", In: plan.Top, Kind: plan.Timestamp}},
			},
			{
				Name:   pageViewed,
				Fields: []plan.Field{{Name: "[Amplitude] Page Counter", In: plan.EventProperties, Kind: plan.Count}},
			},
		},
	}
}

// A server is a collector that can be stopped, started again on the same
// address and folder, and made to fail.
type server struct {
	t    *testing.T
	dir  string
	addr string

	folder    *collector.Folder
	store     store.Store
	collector *collector.Collector
	http      *http.Server
	served    sync.WaitGroup

	// cut, if set, sees the next upload and ends its connection without an
	// answer: before the collector saw it, or after.
	cut atomic.Pointer[cut]

	failures atomic.Int32 // commits that are to fail

	mu         sync.Mutex  // guards what follows
	answers    map[int]int // by status; 0 where the connection was cut
	requests   int         // without preflights
	preflights int
	compressed int // requests whose body was
}

type cut struct {
	stored bool
	wait   <-chan struct{} // if not nil, the connection stays until this is closed
	next   *cut            // if not nil, sees the upload after this one
}

func newServer(t *testing.T) *server {
	s := &server{t: t, dir: t.TempDir(), addr: "127.0.0.1:0", answers: map[int]int{}}
	s.start()
	t.Cleanup(s.stop)
	return s
}

// url is what the clients are given: the full endpoint.
func (s *server) url() string { return "http://" + s.addr + "/2/httpapi" }

func (s *server) start() {
	s.t.Helper()
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	var err error
	s.folder, err = collector.OpenFolder(s.dir)
	must(err)
	p := testPlan()
	if s.folder.App(p.App) == nil {
		_, err := s.folder.AddApp(p.App, p, collector.Keys{API: apiKey})
		must(err)
	}
	ctx := context.Background()
	s.store, err = duckdb.Open(ctx, s.dir)
	must(err)
	s.collector, err = collector.New(ctx, collector.Config{Folder: s.folder, Store: flaky{s.store, &s.failures}})
	must(err)
	l, err := net.Listen("tcp", s.addr)
	must(err)
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	s.served.Go(func() { s.http.Serve(l) })
}

// stop ends the server as its program does at a signal. A second stop does
// nothing.
func (s *server) stop() {
	s.t.Helper()
	if s.collector == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	s.served.Wait()
	s.collector.Close()
	s.collector = nil
	if err := errors.Join(err, s.store.Close(), s.folder.Close()); err != nil {
		s.t.Error(err)
	}
}

// ServeHTTP counts what the collector answers.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		s.mu.Lock()
		s.preflights++
		s.mu.Unlock()
		s.collector.Handler().ServeHTTP(w, r)
		return
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		s.mu.Lock()
		s.compressed++
		s.mu.Unlock()
	}
	c := s.cut.Swap(nil)
	if c != nil && c.next != nil {
		s.cut.Store(c.next)
	}
	if c != nil && !c.stored {
		s.count(0)
		panic(http.ErrAbortHandler)
	}
	answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	if c != nil {
		answer.ResponseWriter = discard{http.Header{}}
	}
	s.collector.Handler().ServeHTTP(answer, r)
	if c != nil {
		s.count(0)
		if c.wait != nil {
			<-c.wait
		}
		panic(http.ErrAbortHandler)
	}
	s.count(answer.status)
}

func (s *server) count(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[status]++
	s.requests++
}

func (s *server) requested() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// preflighted returns how many preflights have come.
func (s *server) preflighted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.preflights
}

// compressions returns how many bodies came compressed.
func (s *server) compressions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compressed
}

func (s *server) answered(status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers[status]
}

// stored returns how often each number is stored. The server must be up.
func (s *server) stored() map[int64]int {
	s.t.Helper()
	number, counted := column(s.t, "number", testPlan().EventColumns()), testPlan().EventIndex("counted")
	found := map[int64]int{}
	for _, r := range s.records() {
		if int(r.Event) == counted {
			found[r.Own[number].Int]++
		}
	}
	return found
}

// records returns all that is stored.
func (s *server) records() (records []store.Record) {
	s.t.Helper()
	err := s.store.List(s.t.Context(), store.Listing{App: testPlan().App}, func(r *store.Record) error {
		own := *r
		own.Session, own.Own = slices.Clone(r.Session), slices.Clone(r.Own)
		records = append(records, own)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return records
}

// column returns the index of the field called name.
func column(t *testing.T, name string, fields []plan.Field) int {
	t.Helper()
	i := slices.IndexFunc(fields, func(f plan.Field) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("the plan has no column %s", name)
	}
	return i
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// discard is an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// flaky is a store whose next commits fail, as on a full disk.
type flaky struct {
	store.Store
	failures *atomic.Int32
}

var errFull = errors.New("no space left on device")

func (f flaky) Append(ctx context.Context, app string, records []store.Record) error {
	if f.failures.Add(-1) >= 0 {
		return errFull
	}
	return f.Store.Append(ctx, app, records)
}
