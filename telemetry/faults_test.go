//go:build linux

package telemetry

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "write the golden files from what is measured")

// A fault is one row of docs/faults.md.
type fault struct {
	name   string
	does   string // the destination, or the world
	client string // in words
	play   func(t *testing.T) result
}

// A result is what was measured. Counts that are not the same in every run are
// texts that say what was asserted.
type result struct {
	requests, failed, recorded, delivered, refused, lost, again, doubled any
}

// TestFaults plays each fault and writes the table. Of every row it asserts that
// nothing is lost, nothing is counted twice, and no more than 30 requests fail
// in any minute.
func TestFaults(t *testing.T) {
	var table bytes.Buffer
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			r := f.play(t)
			fmt.Fprintf(&table, "| %s | %s | %s | %v | %v | %v | %v | %v | %v | %v | %v |\n", f.name, f.does, f.client,
				r.requests, r.failed, r.recorded, r.delivered, r.refused, r.lost, r.again, r.doubled)
		})
	}
	if t.Failed() || strings.Count(table.String(), "\n") != len(faults) {
		return // a part of the table is not the table
	}
	golden(t, filepath.Join("..", "docs", "faults.md"), faultsIntro+table.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wants, gots := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(wants), len(gots)) {
		w, g := "(the end)", "(the end)"
		if i < len(wants) {
			w = wants[i]
		}
		if i < len(gots) {
			g = gots[i]
		}
		if w != g {
			t.Fatalf("%s, line %d, is no longer what is measured; look at it, and then run this test with -update\nmeasured %s\nstands   %s", path, i+1, g, w)
		}
	}
}

const faultsIntro = `# Faults

What becomes of events when something goes wrong. Every row is a test, and every number in it is measured by that
test, or is the bound that it asserts; nothing here is written by hand.

    cd telemetry && go test -run TestFaults            # fails if a row no longer holds
    cd telemetry && go test -run TestFaults -update    # writes this page

Where a row has time in it, a program records one event a second for ten minutes (or as the row says), the fault lasts
for the first five, and the clock is a fake one under the real client and server of ` + "`net/http`" + `. Rows about sockets, TLS,
disks and processes use the real ones.

- **Requests**: attempts, those that did not come through included; **failed**: those without a 2xx. Whatever the
  answer, never more than 30 fail within one minute; every row asserts it.
- **Refused**: events that the destination itself said it will never take.
- **Lost**: recorded, and neither delivered nor refused. Always 0, within the bounds of the spool: 131,072 events
  (8 MiB) and 7 days. Beyond them events are dropped and counted, the newest when it is full, the oldest by age.
- **Sent again**: came to the destination once more after it had kept them. The ` + "`insert_id`" + ` shows it; they are not counted again.
- **Counted twice**: is 0 in every row.

One thing no client can see: something in the way (a captive portal, say) that answers 200 over plain HTTP and keeps
nothing. Use https.

| Fault | What happens | What the client does | Requests | Failed | Recorded | Delivered | Refused | Lost | Sent again | Counted twice |
|---|---|---|---|---|---|---|---|---|---|---|
`

// A scene is a program, started once or several times, with its state folder and
// its destination.
type scene struct {
	t *testing.T
	*tally
	meter    meter
	cfg      Config
	recorded int64 // also the number of the next event
	started  []*Client
	begin    time.Time
}

// withFakeTime plays a scene in a bubble, over a network in memory.
func withFakeTime(play func(s *scene)) func(t *testing.T) result {
	return func(t *testing.T) (r result) {
		state := filepath.Join(t.TempDir(), "state")
		bubble(t, func(t *testing.T) {
			s := &scene{t: t, tally: newTally(), begin: time.Now()}
			network := newWire()
			srv := &http.Server{Handler: s.tally, ErrorLog: log.New(io.Discard, "", 0)}
			go srv.Serve(network)
			transport := &http.Transport{DialContext: network.dial}
			s.meter.next = transport
			s.cfg = s.config(state, "http://collector.test")
			s.cfg.Transport = &s.meter
			defer srv.Close()
			defer transport.CloseIdleConnections()
			play(s)
			r = s.result()
		})
		return r
	}
}

// onLoopback plays a scene over real sockets. The scene's cfg.URL is good.
func onLoopback(play func(s *scene)) func(t *testing.T) result {
	return func(t *testing.T) result {
		s := &scene{t: t, tally: newTally(), begin: time.Now()}
		transport := &http.Transport{}
		s.meter.next = transport
		s.cfg = s.config(filepath.Join(t.TempDir(), "state"), s.serve(t))
		s.cfg.Transport = &s.meter
		s.cfg.Interval = time.Hour // only Close looks, so that requests can be counted
		play(s)
		transport.CloseIdleConnections()
		return s.result()
	}
}

func (s *scene) config(state, url string) Config {
	return Config{Version: "1.2.3", URL: url, APIKey: "key", StateDir: state, Getenv: noEnv, jitter: noJitter, listen: noSocket}
}

// open starts the program.
func (s *scene) open() coffee {
	s.t.Helper()
	c := newCoffee()
	mustOpen(s.t, c.Client, s.cfg)
	s.started = append(s.started, c.Client)
	return c
}

func (s *scene) record(c coffee, n int) {
	for range n {
		c.brewed.Record(small, Count(s.recorded))
		s.recorded++
	}
}

// steadily records an event a second for d.
func (s *scene) steadily(c coffee, d time.Duration) {
	s.t.Helper()
	time.Sleep(500 * time.Millisecond) // not at the same time as the looks
	for range d / time.Second {
		s.record(c, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		consistent(s.t, c.Client)
	}
}

// close ends the program with all the time it needs.
func (s *scene) close(c coffee) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.Close(ctx)
}

// nextStart starts the program once more, and ends it.
func (s *scene) nextStart() { s.close(s.open()) }

// during answers with bad until the fault has lasted for d, and well then.
func (s *scene) during(d time.Duration, bad answer) {
	s.set(func(w http.ResponseWriter, r *http.Request, events []sentEvent) {
		if time.Since(s.begin) < d {
			bad(s.tally, w, r, events)
			return
		}
		s.take(w, events)
	})
}

// always answers with bad for ever.
func (s *scene) always(bad answer) { s.during(1<<62, bad) }

// result ends a scene: it asserts what holds in every row, and counts.
func (s *scene) result() result {
	s.t.Helper()
	var all Stats
	for _, c := range s.started {
		consistent(s.t, c)
		st := c.Stats()
		all.Requests += st.Requests
		all.Failures += st.Failures
		all.Refused += st.Refused
		all.Dropped += st.Dropped
	}
	last := s.started[len(s.started)-1].Stats()
	delivered, refused, lost, doubled, again := s.sum(numbersTo(s.recorded))
	if lost != 0 || all.Dropped != 0 || last.Waiting != 0 {
		s.t.Errorf("%d events are lost, the client counts %d as dropped, and %d still wait", lost, all.Dropped, last.Waiting)
	}
	if doubled != 0 {
		s.t.Errorf("%d events are counted twice", doubled)
	}
	if int(all.Refused) != refused {
		s.t.Errorf("the client counts %d events as refused, and the destination has refused %d", all.Refused, refused)
	}
	if n := s.meter.worstMinute(); n > maxFailures {
		s.t.Errorf("%d requests fail within a minute", n)
	}
	if s.cfg.Transport != nil && int(all.Failures) != len(s.meter.failed) {
		s.t.Errorf("the client counts %d failures, and %d requests have failed", all.Failures, len(s.meter.failed))
	}
	if spools, _ := os.ReadDir(spoolDir(s.cfg.StateDir)); len(spools) != 0 {
		s.t.Errorf("%d files stay in the spool", len(spools))
	}
	return result{all.Requests, all.Failures, s.recorded, delivered, refused, lost, again, doubled}
}

// An answer is what a faulty destination does with a request.
type answer func(y *tally, w http.ResponseWriter, r *http.Request, events []sentEvent)

// says answers with a status and keeps nothing.
func says(status int, body string) answer {
	return func(_ *tally, w http.ResponseWriter, _ *http.Request, _ []sentEvent) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// keepsAnd keeps the events and then does something else than say so.
func keepsAnd(then answer) answer {
	return func(y *tally, w http.ResponseWriter, r *http.Request, events []sentEvent) {
		y.count(events)
		then(y, w, r, events)
	}
}

func stalls(_ *tally, _ http.ResponseWriter, r *http.Request, _ []sentEvent) {
	<-r.Context().Done()
}

func stallsAfterHeaders(_ *tally, w http.ResponseWriter, r *http.Request, _ []sentEvent) {
	w.Header().Set("Content-Length", "100")
	io.WriteString(w, `{"code":`)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// cutsShort announces more than it sends.
func cutsShort(_ *tally, w http.ResponseWriter, _ *http.Request, _ []sentEvent) {
	w.Header().Set("Content-Length", "100")
	io.WriteString(w, `{"code":`)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// refuses names, in the form of a 400, the events that bad says, as long as there
// are any; format has a verb for the list of indexes.
func refuses(format string, bad func(i int, e sentEvent) bool) answer {
	return func(y *tally, w http.ResponseWriter, _ *http.Request, events []sentEvent) {
		var named []string
		for i, e := range events {
			if bad(i, e) {
				y.refuse(e)
				named = append(named, fmt.Sprint(i))
			}
		}
		if named == nil {
			y.take(w, events)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, format, strings.Join(named, ","))
	}
}

// refusesAll answers a 400 that names no event.
func refusesAll(body string) answer {
	return func(y *tally, w http.ResponseWriter, _ *http.Request, events []sentEvent) {
		for _, e := range events {
			y.refuse(e)
		}
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, body)
	}
}

func everyTenth(_ int, e sentEvent) bool { return e.Properties.Sugar%10 == 3 }

// throttles answers 429, with the indexes of all events if list is set.
func throttles(list bool) answer {
	return func(_ *tally, w http.ResponseWriter, _ *http.Request, events []sentEvent) {
		w.WriteHeader(http.StatusTooManyRequests)
		if !list {
			io.WriteString(w, `{"code":429,"error":"Too many requests for some devices and users"}`)
			return
		}
		var all []string
		for i := range events {
			all = append(all, fmt.Sprint(i))
		}
		fmt.Fprintf(w, `{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_events":[%s]}`, strings.Join(all, ","))
	}
}

// tooLarge answers 413 where bad says so.
func tooLarge(bad func(events []sentEvent) bool) answer {
	return func(y *tally, w http.ResponseWriter, _ *http.Request, events []sentEvent) {
		switch {
		case !bad(events):
			y.take(w, events)
			return
		case len(events) == 1:
			y.refuse(events[0])
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, `{"code":413,"error":"Payload too large"}`)
	}
}

func redirects(_ *tally, w http.ResponseWriter, r *http.Request, _ []sentEvent) {
	http.Redirect(w, r, "http://collector.test/again", http.StatusTemporaryRedirect)
}

// fiveMinutes is the scene of most rows.
func fiveMinutes(bad answer) func(t *testing.T) result { return lasting(5*time.Minute, bad) }

func lasting(d time.Duration, bad answer) func(t *testing.T) result {
	return withFakeTime(func(s *scene) {
		s.during(d, bad)
		c := s.open()
		s.steadily(c, d+5*time.Minute)
		time.Sleep(lastWait + s.cfg.withDefaults().Interval)
		synctest.Wait()
		if n := c.Stats().Waiting; n != 0 {
			s.t.Errorf("%d events wait though the destination is well again", n)
		}
		s.close(c)
	})
}

// fromThenOn is the scene for what a destination does for ever.
func fromThenOn(bad answer) func(t *testing.T) result {
	return withFakeTime(func(s *scene) {
		s.always(bad)
		c := s.open()
		s.steadily(c, 10*time.Minute)
		s.close(c)
	})
}

// atOnce is a burst of n events and an hour in which to deal with them.
func atOnce(n int, bad answer) func(t *testing.T) result {
	return withFakeTime(func(s *scene) {
		s.always(bad)
		c := s.open()
		s.record(c, n)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := c.Stats().Waiting; n != 0 {
			s.t.Errorf("%d events still wait after an hour", n)
		}
		s.close(c)
	})
}

// brokenThenWell is a run with a broken destination and a start after it.
func brokenThenWell(breaks func(s *scene)) func(t *testing.T) result {
	return onLoopback(func(s *scene) {
		well := s.cfg
		breaks(s)
		c := s.open()
		s.record(c, 100)
		s.close(c)
		s.cfg.URL, s.cfg.Transport, s.cfg.CAFile = well.URL, well.Transport, well.CAFile
		s.nextStart()
	})
}

// secure makes the destination of a run one with TLS, and the client's transport
// its own.
func secure(s *scene, conf *tls.Config) *httptest.Server {
	srv := httptest.NewUnstartedServer(s.tally)
	srv.TLS = conf
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	s.t.Cleanup(srv.Close)
	s.cfg.URL, s.cfg.Transport = srv.URL, nil
	return srv
}

func trusted(t *testing.T, srv *httptest.Server) (caFile string) {
	t.Helper()
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(caFile, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return caFile
}

// reset is a destination that resets connections: after n bytes of a request,
// or in the middle of the answer if n is 0.
func reset(s *scene, n int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	s.meter.answered = make(chan bool, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if n > 0 {
				io.CopyN(io.Discard, conn, n)
			} else {
				serveOne(s.tally, conn)
				<-s.meter.answered // a reset overtakes what was not read yet
			}
			conn.(*net.TCPConn).SetLinger(0) // Close then resets
			conn.Close()
		}
	}()
	s.cfg.URL = "http://" + l.Addr().String()
}

// serveOne reads one request from conn, counts it, and answers by half.
func serveOne(y *tally, conn net.Conn) {
	rec := httptest.NewRecorder()
	served := make(chan bool)
	once := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		y.ServeHTTP(rec, r)
		hijacked, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(hijacked, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"code\":")
		}
		close(served)
	})}
	go once.Serve(&single{conn: conn})
	<-served
}

// A single is a listener for one connection.
type single struct{ conn net.Conn }

func (l *single) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return &net.TCPAddr{} }

// clockJumps is a run during which the wall clock jumps by d, and the start after
// it, which finds the clock as it is then. It runs in real time: in a bubble time
// has no monotonic reading.
func clockJumps(d time.Duration) func(t *testing.T) result {
	return onLoopback(func(s *scene) {
		s.cfg.now = func() time.Time { return wallShifted(s.t, time.Now(), -d) }
		for _, budget := range []time.Duration{time.Minute, 0} {
			c := s.open()
			s.record(c, 100)
			ctx, cancel := context.WithTimeout(context.Background(), budget)
			c.Close(ctx)
			cancel()
		}
		s.cfg.now = nil
		s.nextStart()
		last := map[string]int64{}
		for _, e := range s.arrived {
			if e.Properties.Uptime != 0 || e.Time < last[e.UserID] {
				s.t.Errorf("an event comes with uptime %d and time %d after one with %d", e.Properties.Uptime, e.Time, last[e.UserID])
			}
			last[e.UserID] = e.Time
		}
	})
}

// inProcess plays a job in a process of its own, over loopback, and then a start
// in this one.
func inProcess(j job, check func(t *testing.T, r report)) func(t *testing.T) result {
	return onLoopback(func(s *scene) {
		j.State, j.URL, j.Interval = s.cfg.StateDir, s.cfg.URL, s.cfg.Interval
		if j.Zero {
			j.URL = "http://127.0.0.1:1" // not reached
		}
		numbers, r := start(s.t, j).end(s.t)
		if len(numbers) != int(j.Count) {
			s.t.Fatalf("the process has recorded %d events, want %d", len(numbers), j.Count)
		}
		check(s.t, r)
		s.recorded = j.Count
		s.meter.failed = append(s.meter.failed, make([]time.Time, r.Stats.Failures)...)
		s.started = append(s.started, pastClient(r.Stats))
		s.nextStart()
	})
}

// pastClient stands for the client of another process, of which only the counts
// are known.
func pastClient(st Stats) *Client {
	c := New("coffee", 1)
	s := &session{queue: newQueue(1)}
	s.queue.seq, s.queue.tail, s.queue.dropped = st.Recorded, uint64(st.Waiting), st.Dropped
	s.sent.Store(st.Sent)
	s.refused.Store(st.Refused)
	s.requests.Store(st.Requests)
	s.failures.Store(st.Failures)
	c.live.Store(s)
	return c
}

var faults = []fault{
	{
		name: "Connection refused", does: "Nothing listens at the destination during the run; the next start finds it.",
		client: "Close gives up at the first failure and leaves the events in the spool; the next start sends them.",
		play: brokenThenWell(func(s *scene) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				s.t.Fatal(err)
			}
			s.cfg.URL = "http://" + l.Addr().String()
			l.Close()
		}),
	}, {
		name: "Name cannot be resolved", does: "The destination's name is not known during the run.",
		client: "As above.",
		play:   brokenThenWell(func(s *scene) { s.cfg.URL = "http://collector.invalid" }),
	}, {
		name: "Certificate not trusted", does: "The destination shows a certificate that no authority signed; the next start has it in CAFile.",
		client: "Does not send. The next start sends.",
		play: onLoopback(func(s *scene) {
			srv := secure(s, nil)
			c := s.open()
			s.record(c, 100)
			s.close(c)
			if s.received() != 0 {
				s.t.Error("events were sent to a destination that is not trusted")
			}
			s.cfg.CAFile = trusted(s.t, srv)
			s.nextStart()
		}),
	}, {
		name: "TLS 1.1", does: "The destination is trusted but speaks TLS 1.1 at most; at the next start it speaks a newer one.",
		client: "Does not send. The next start sends.",
		play: onLoopback(func(s *scene) {
			srv := secure(s, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
			s.cfg.CAFile = trusted(s.t, srv)
			c := s.open()
			s.record(c, 100)
			s.close(c)
			if s.received() != 0 {
				s.t.Error("events were sent over TLS 1.1")
			}
			srv = secure(s, nil)
			s.cfg.CAFile = trusted(s.t, srv)
			s.nextStart()
		}),
	}, {
		name: "Stalled before the headers", does: "The destination keeps the events and never answers.",
		client: "Gives up after 10 s, waits from 4 s up to 5 minutes, and sends the same events again.",
		play:   fiveMinutes(keepsAnd(stalls)),
	}, {
		name: "Stalled after the headers", does: "The destination keeps the events, says 200, and never ends its answer.",
		client: "Waits 10 s for the rest. The status has said it all: delivered.",
		play:   fiveMinutes(keepsAnd(stallsAfterHeaders)),
	}, {
		name: "Reset in the middle of the request", does: "The connection is reset after 1,000 bytes of the request, during the run.",
		client: "Leaves the events in the spool; the next start sends them.",
		play:   brokenThenWell(func(s *scene) { reset(s, 1000) }),
	}, {
		name: "Reset in the middle of the answer", does: "The destination keeps the events, says 200, and resets the connection.",
		client: "The status has said it all: delivered.",
		play:   brokenThenWell(func(s *scene) { reset(s, 0) }),
	}, {
		name: "Truncated answer", does: "200, and fewer bytes than Content-Length says.",
		client: "Delivered.",
		play:   fiveMinutes(keepsAnd(cutsShort)),
	}, {
		name: "200 without `code`", does: "200, and JSON that does not repeat the status.",
		client: "Decides on the status: delivered.",
		play:   fiveMinutes(keepsAnd(says(200, `{"ok":true}`))),
	}, {
		name: "200 with garbage", does: "200, and a body that is not JSON.",
		client: "Decides on the status: delivered.",
		play:   fiveMinutes(keepsAnd(says(200, "<html>\x00\xff"))),
	}, {
		name: "400, invalid fields", does: "Every tenth event is named in `events_with_invalid_fields`, for ever.",
		client: "Gives up the events that are named and sends the others at once.",
		play:   fromThenOn(refuses(`{"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"time":[%s]}}`, everyTenth)),
	}, {
		name: "400, missing fields", does: "The same in `events_with_missing_fields`.",
		client: "As above.",
		play:   fromThenOn(refuses(`{"code":400,"error":"Request missing required field","events_with_missing_fields":{"event_type":[%s]}}`, everyTenth)),
	}, {
		name: "400, length of ids", does: "The same in `events_with_invalid_id_lengths`.",
		client: "As above.",
		play:   fromThenOn(refuses(`{"code":400,"error":"Invalid id length for user_id or device_id","events_with_invalid_id_lengths":{"user_id":[%s]}}`, everyTenth)),
	}, {
		name: "400, silenced", does: "The same in `silenced_events`.",
		client: "As above.",
		play:   fromThenOn(refuses(`{"code":400,"error":"Events silenced for device_id","silenced_events":[%s],"silenced_devices":["linux/amd64"]}`, everyTenth)),
	}, {
		name: "400, one event at a time", does: "Whatever comes, the first event is named as invalid, for ever. 100 events at once.",
		client: "Gives up one event with each request; after 30 that failed it waits until the minute is over.",
		play: atOnce(100, refuses(`{"code":400,"events_with_invalid_fields":{"time":[%s]}}`, func(i int, _ sentEvent) bool {
			return i == 0
		})),
	}, {
		name: "400, wrong API key", does: "`Invalid API key: ...`, until the key is put right at the other end.",
		client: "Waits from 4 s up to 5 minutes and sends again.",
		play:   fiveMinutes(says(400, `{"code":400,"error":"Invalid API key: key"}`)),
	}, {
		name: "400, malformed request", does: "A 400 with `code` that names no event, for 10 s.",
		client: "Gives up the events of that request: they would be refused for ever.",
		play:   lasting(10*time.Second, refusesAll(`{"code":400,"error":"Invalid JSON request body"}`)),
	}, {
		name: "400, missing field of the request", does: "A 400 with `missing_field`, for 10 s.",
		client: "As above.",
		play:   lasting(10*time.Second, refusesAll(`{"code":400,"error":"Request missing required field","missing_field":"events"}`)),
	}, {
		name: "400 of a proxy", does: "A 400 with HTML.",
		client: "That is not the destination's word: waits from 4 s up to 5 minutes and sends again.",
		play:   fiveMinutes(says(400, "<html>Bad Request</html>")),
	}, {
		name: "401", does: "401.", client: "As above.",
		play: fiveMinutes(says(401, `{"code":401}`)),
	}, {
		name: "403", does: "403.", client: "As above.",
		play: fiveMinutes(says(403, `{"code":403,"error":"Forbidden"}`)),
	}, {
		name: "404", does: "404.", client: "As above.",
		play: fiveMinutes(says(404, "not found")),
	}, {
		name: "413, many events", does: "More than 100 events in a request are too large. 2,000 at once.",
		client: "Halves until a request is taken, then tries a little more with each request.",
		play:   atOnce(2000, tooLarge(func(events []sentEvent) bool { return len(events) > 100 })),
	}, {
		name: "413, one event", does: "One event is too large in any company. 1,000 at once.",
		client: "Halves down to that event and gives it up; the others arrive.",
		play: atOnce(1000, tooLarge(func(events []sentEvent) bool {
			for _, e := range events {
				if e.Properties.Sugar == 300 {
					return true
				}
			}
			return false
		})),
	}, {
		name: "429 with a list", does: "429, and all events are listed in `throttled_events`.",
		client: "Waits 30 s at least, up to 5 minutes, and sends again.",
		play:   fiveMinutes(throttles(true)),
	}, {
		name: "429 without a list", does: "429, and nothing is listed.",
		client: "As above.",
		play:   fiveMinutes(throttles(false)),
	}, {
		name: "500", does: "The destination keeps the events and then says 500.",
		client: "Waits from 4 s up to 5 minutes and sends again.",
		play:   fiveMinutes(keepsAnd(says(500, ""))),
	}, {
		name: "503 for an hour", does: "503 for an hour, while an event a second is recorded.",
		client: "As above.",
		play:   lasting(time.Hour, says(503, `{"code":503}`)),
	}, {
		name: "Endless redirect", does: "307 to itself.",
		client: "Follows no redirect: waits from 4 s up to 5 minutes and sends again.",
		play:   fiveMinutes(redirects),
	}, {
		name: "Clock back by a day", does: "The wall clock is set back during two runs, of which the second ends without a budget; the next start finds it so.",
		client: "Takes the time of a session from the monotonic clock; the order stays, nothing expires early.",
		play:   clockJumps(-24 * time.Hour),
	}, {
		name: "Clock forward by a day", does: "The same forward.",
		client: "As above.",
		play:   clockJumps(24 * time.Hour),
	}, {
		name: "Disk full at the start", does: "The spool cannot be allocated (a limit on the size of files stands for the full disk).",
		client: "Keeps events in memory, and says so in one line of the log.",
		play: inProcess(job{Count: 100, FileSize: 32 << 10}, func(t *testing.T, r report) {
			if strings.Count(r.Log, "\n") != 1 || !strings.Contains(r.Log, "wait in memory only") {
				t.Errorf("the log says\n%swant one line, that events wait in memory only", r.Log)
			}
		}),
	}, {
		name: "Disk full at the end", does: "The disk fills up during the run, and Close has no budget.",
		client: "Leaves the spool as it is: it needs no more room. The next start sends.",
		play: inProcess(job{Count: 100, FileSize: 32 << 10, Later: true, Zero: true}, func(t *testing.T, r report) {
			if r.Stats.Waiting != 100 {
				t.Errorf("%d events wait for the next start, want 100", r.Stats.Waiting)
			}
		}),
	}, {
		name: "State folder cannot be written", does: "The path of the state folder leads through a regular file.",
		client: "Keeps the secret and the events in memory.",
		play: onLoopback(func(s *scene) {
			file := filepath.Join(s.t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				s.t.Fatal(err)
			}
			s.cfg.StateDir = filepath.Join(file, "state")
			c := s.open()
			s.record(c, 100)
			s.close(c)
		}),
	}, {
		name: "Destination down for the whole run", does: "503 for ten minutes, until the program ends; the next start finds it well.",
		client: "Close tries once more and leaves all in the spool; the next start sends it.",
		play: withFakeTime(func(s *scene) {
			s.always(says(503, ""))
			c := s.open()
			s.steadily(c, 10*time.Minute)
			s.close(c)
			s.set(nil)
			s.nextStart()
		}),
	}, {
		name: "Close on a stalled destination", does: "The destination never answers; Close has its default budget.",
		client: "Close returns after 2 s and leaves all in the spool; the next start sends it.",
		play: withFakeTime(func(s *scene) {
			s.always(stalls)
			c := s.open()
			s.record(c, 100)
			time.Sleep(3 * time.Second) // a request is under way
			before := time.Now()
			if err := c.Close(context.Background()); err != nil {
				s.t.Errorf("Close says %v though nothing is lost", err)
			}
			if took := time.Since(before); took != 2*time.Second {
				s.t.Errorf("Close takes %v, want its budget of 2s", took)
			}
			s.set(nil)
			s.nextStart()
		}),
	}, {
		name: "Close without a budget", does: "The program ends at once, as short commands do.",
		client: "Close sends nothing and leaves all in the spool; the next start sends it.",
		play: withFakeTime(func(s *scene) {
			c := s.open()
			s.record(c, 100)
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			before := time.Now()
			if err := c.Close(ctx); err != nil {
				s.t.Errorf("Close says %v though nothing is lost", err)
			}
			if took := time.Since(before); took != 0 {
				s.t.Errorf("Close waits for %v", took)
			}
			if s.received() != 0 {
				s.t.Errorf("Close sends %d requests", s.received())
			}
			s.nextStart()
		}),
	},
	{
		name: "SIGKILL at 100 random points", does: "Processes that record and send are killed, also while a request is under way; each next one starts on the same folder.",
		client: "The next start sends every event whose Record had returned.",
		play:   killAtRandom,
	}, {
		name: "Two processes on one folder", does: "Two processes record and send at the same time; one ends, one is killed.",
		client: "Neither touches what is the other's; the next start sends what is left.",
		play:   twoProcesses,
	},
}

// TestCloseKeepsTheBoundOnFailures: the last look does not wait out a back-off,
// but 30 requests that failed in a minute are enough for it too.
func TestCloseKeepsTheBoundOnFailures(t *testing.T) {
	withFakeTime(func(s *scene) {
		s.always(refuses(`{"code":400,"events_with_invalid_fields":{"time":[%s]}}`, func(i int, _ sentEvent) bool { return i == 0 }))
		c := s.open()
		s.record(c, 100)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := len(s.meter.failed); n != maxFailures {
			t.Fatalf("%d requests have failed before Close, want %d", n, maxFailures)
		}
		s.close(c) // result asserts the bound
		time.Sleep(time.Minute)
		s.set(nil)
		s.nextStart()
	})(t)
}
