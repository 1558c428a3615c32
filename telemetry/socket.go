package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A session with a state folder answers the commands over a socket of its own:
//
//	StateDir/live/ID.sock
//
// The folder has mode 0700 and the socket 0600, so whoever can ask could read the
// secrets as well. It speaks HTTP:
//
//	GET /status      a Running, as JSON
//	GET /next        the request that the next look would send; 204 where nothing waits
//	GET /sent        the last requests
//	POST /renew      ends this session and begins another, because this one is to be forgotten
//	POST /look       the state folder has changed: a choice was made, or an erasure waits
//
// A session without a socket (a file system that has none; outside Linux a path that
// is too long for one) runs as well. The commands see by the lock on its spool that
// a program runs, say that it cannot be asked, and what they can see in the folder.

const socketEnding = ".sock"

func liveDir(stateDir string) string { return filepath.Join(stateDir, "live") }

// A socket is the listening end.
type socket struct {
	server *http.Server
}

// listenAt opens the socket of a path, however long that is.
func listenAt(path string) (net.Listener, error) {
	short, release, err := socketPath(path)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", short)
	if err != nil {
		release()
		return nil, err
	}
	return &releasing{Listener: l, release: release}, nil
}

// A releasing listener removes its socket at its end, for which the path must hold
// until then.
type releasing struct {
	net.Listener
	release func()
	once    sync.Once
}

func (l *releasing) Close() error {
	err := l.Listener.Close()
	l.once.Do(l.release)
	return err
}

// dialAt connects to the socket of a path, however long that is.
func dialAt(ctx context.Context, path string) (net.Conn, error) {
	short, release, err := socketPath(path)
	if err != nil {
		return nil, err
	}
	defer release()
	return new(net.Dialer).DialContext(ctx, "unix", short)
}

// openSocket lets the commands in. Telemetry works without it, so what goes wrong is
// no more than a line in the log. Of a folder that takes no file at all enough was
// said.
func (s *session) openSocket(renew func(id string) error) {
	if s.cfg.StateDir == "" {
		return
	}
	dir := liveDir(s.cfg.StateDir)
	path := filepath.Join(dir, s.ID+socketEnding)
	l, err := func() (net.Listener, error) {
		if err := makeDir(dir); err != nil {
			return nil, err
		}
		removeStale(dir)
		l, err := s.cfg.listen(path)
		if l == nil || err != nil {
			return nil, err
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		return l, nil
	}()
	if err != nil && (s.kept || s.spool != nil) {
		s.cfg.Logger.Warn("telemetry: commands cannot ask this program what it sends, because no socket can be had in the state folder; `off` reaches it within seconds all the same", "err", err)
	}
	if l == nil {
		return
	}
	s.socket = &socket{server: &http.Server{
		Handler:           s.handler(renew),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // whoever talks nonsense to it is on this machine, and owns the folder
	}}
	go s.socket.server.Serve(l)
}

// close takes the socket away. An answer under way is finished: it may be the one
// that says that the session has ended.
func (k *socket) close() {
	if k == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	stopped := make(chan struct{})
	go func() {
		defer cancel()
		if k.server.Shutdown(ctx) != nil {
			k.server.Close()
		}
		close(stopped)
	}()
	// Shutdown closes the listener before it waits.
	select {
	case <-stopped:
	case <-time.After(10 * time.Millisecond):
	}
}

// removeStale removes the sockets of processes that were killed. One that is a
// minute old and does not let anybody in is nobody's.
func removeStale(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), socketEnding) || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		soon, cancel := context.WithTimeout(context.Background(), time.Second)
		c, err := dialAt(soon, path)
		cancel()
		if err == nil {
			c.Close()
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			os.Remove(path)
		}
	}
}

// Running is what a session that runs says of itself.
type Running struct {
	App     string `json:"app"`
	ID      string `json:"user_id"`
	Process int    `json:"process"`
	Started string `json:"started"` // RFC 3339, UTC
	Source  string `json:"source"`  // what decided that telemetry is on
	Reason  string `json:"reason"`
	URL     string `json:"url"`

	Queued   int64 `json:"queued"` // wait, or are under way
	Sent     int64 `json:"sent"`
	Refused  int64 `json:"refused"`
	Dropped  int64 `json:"dropped"`
	Requests int64 `json:"requests"`
	Failures int64 `json:"failures"` // requests that did not deliver

	LastStatus int    `json:"last_status"`           // of the last answer; 0 where none came
	LastTime   string `json:"last_time,omitempty"`   // of the last answer, or of the failure to get one
	LastFault  string `json:"last_fault,omitempty"`  // why no answer came
	LastReason string `json:"last_reason,omitempty"` // what a bad answer says, in our words
	UnderWay   bool   `json:"under_way,omitempty"`   // a request is

	Key  string   `json:"collector_key,omitempty"` // as last seen
	Held []string `json:"held_back,omitempty"`     // of the plan, because nobody has accepted it here
}

func (s *session) running() Running {
	st := s.stats()
	r := Running{
		App: s.App, ID: s.ID, Process: os.Getpid(), Started: s.start.UTC().Format(time.RFC3339),
		Source: s.why.Source, Reason: s.why.Reason, URL: s.url,
		Queued: st.Waiting, Sent: st.Sent, Refused: st.Refused, Dropped: st.Dropped,
		Requests: st.Requests, Failures: st.Failures, Held: s.hold.names,
	}
	a := &s.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	r.LastStatus, r.LastFault, r.LastReason, r.UnderWay, r.Key = a.status, a.fault, a.reason, a.away, a.key
	if !a.when.IsZero() {
		r.LastTime = a.when.UTC().Format(time.RFC3339)
	}
	return r
}

// handler answers the commands.
func (s *session) handler(renew func(id string) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.running())
	})
	say := func(w http.ResponseWriter, b []byte, err error) {
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case len(b) == 0:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Write(b)
		}
	}
	mux.HandleFunc("GET /next", func(w http.ResponseWriter, r *http.Request) {
		var b []byte
		var err error
		if gone := s.do(r.Context(), func() { b, err = s.nextRequest() }); gone != nil {
			err = gone
		}
		say(w, b, err)
	})
	mux.HandleFunc("GET /sent", func(w http.ResponseWriter, _ *http.Request) {
		b, err := s.wire()
		say(w, b, err)
	})
	mux.HandleFunc("POST /renew", func(w http.ResponseWriter, _ *http.Request) {
		say(w, nil, renew(s.ID))
	})
	mux.HandleFunc("POST /look", func(w http.ResponseWriter, r *http.Request) {
		if s.saysOff() {
			s.cut.Store(true)
			s.cancel()
			// The goroutine ends the session whatever it was asked.
			s.do(r.Context(), func() {})
			<-s.done
			say(w, nil, nil)
			return
		}
		say(w, nil, s.do(r.Context(), func() { s.erasing.pending = true }))
	})
	return mux
}

// A line is the commands' end of a session's socket.
type line struct {
	Running
	client *http.Client
}

// findRunning asks the sessions of an app that run on a state folder, the oldest
// first. Sockets at which nobody answers are left alone. An empty app means all.
func findRunning(ctx context.Context, stateDir, app string) []line {
	if stateDir == "" {
		return nil
	}
	entries, err := os.ReadDir(liveDir(stateDir))
	if err != nil {
		return nil
	}
	var found []line
	for _, e := range entries {
		path := filepath.Join(liveDir(stateDir), e.Name())
		if !strings.HasSuffix(e.Name(), socketEnding) {
			continue
		}
		l := line{client: &http.Client{
			Timeout: 20 * time.Second, // a request to the collector may be under way, which takes 10 s at most
			Transport: &http.Transport{
				DisableKeepAlives: true,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return dialAt(ctx, path)
				},
			},
		}}
		soon, cancel := context.WithTimeout(ctx, 2*time.Second) // one that is stopped must not stop us
		b, err := l.ask(soon, http.MethodGet, "status")
		cancel()
		if err != nil || json.Unmarshal(b, &l.Running) != nil || app != "" && l.App != app {
			continue
		}
		found = append(found, l)
	}
	slices.SortStableFunc(found, func(a, b line) int { return strings.Compare(a.Started, b.Started) })
	return found
}

// findUnasked returns the sessions of an app, or of all with an empty one, that run
// on a state folder and cannot be asked: their spools are locked, and no socket of
// theirs answers. A program locks also what ended sessions of its app have left,
// until that is sent; so where one of an app answers, locked spools say nothing
// about another one.
func findUnasked(stateDir, app string, answering []line) (found []described) {
	if stateDir == "" {
		return nil
	}
	entries, err := os.ReadDir(spoolDir(stateDir))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		path := filepath.Join(spoolDir(stateDir), e.Name())
		if !e.Type().IsRegular() || !strings.HasSuffix(path, spoolEnding) || !isLocked(path) {
			continue
		}
		b, err := readRegular(path, spoolHeader)
		if err != nil {
			continue
		}
		d, _, _, err := parseHeader(b)
		if err != nil || app != "" && d.App != app ||
			slices.ContainsFunc(answering, func(l line) bool { return l.App == d.App }) {
			continue
		}
		found = append(found, d)
	}
	return found
}

// isLocked reports whether a process has a spool.
func isLocked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	if lockFile(f) != nil {
		f.Close()
		return true
	}
	unlockFile(f)
	return false
}

// errSilent says of a program that it cannot be asked now, and errEnded of a session
// that it is not live any more.
var (
	errSilent = errors.New("the program that runs does not answer on its socket")
	errEnded  = errors.New("the session has ended")
)

// ask sends one request over the socket.
func (l line) ask(ctx context.Context, method, what string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://session/"+what, nil)
	if err != nil {
		return nil, err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, errSilent
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, errSilent
	}
	if resp.StatusCode >= 300 {
		said := errors.New(string(bytes.TrimSpace(b)))
		if said.Error() == errEnded.Error() {
			said = errEnded
		}
		return nil, fmt.Errorf("the program that runs says: %w", said)
	}
	return b, nil
}
