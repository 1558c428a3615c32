package inference

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	for flag, config := range map[string]Config{
		"--listen-unattested": {UnattestedAddr: addr, RunAddr: "127.0.0.1:0", ManageAddr: "127.0.0.1:0"},
		"--listen-run":        {UnattestedAddr: "127.0.0.1:0", RunAddr: addr, ManageAddr: "127.0.0.1:0"},
		"--listen-manage":     {UnattestedAddr: "127.0.0.1:0", RunAddr: "127.0.0.1:0", ManageAddr: addr},
	} {
		t.Run(flag, func(t *testing.T) {
			server, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			heard := new(ear)
			server.events = heard
			err = server.Serve()
			if err == nil {
				t.Fatal("it serves on a port that is taken")
			}
			for _, want := range []string{addr, "in use", flag} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Serve = %q, want it to say %q", err, want)
				}
			}
			if heard.starts.Load() != 0 {
				t.Error("a start was noted")
			}
			if server.Addrs().Run != nil {
				t.Error("the other ports are still held")
			}
		})
	}
	t.Run("an address that is none", func(t *testing.T) {
		server, err := New(Config{RunAddr: "127.0.0.1:many"})
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Listen(); err == nil || !strings.Contains(err.Error(), "--listen-") {
			t.Errorf("Listen = %v", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for field, limits := range map[string]Limits{
		"ModelBytes":   {ModelBytes: -1},
		"Inputs":       {Inputs: -1},
		"PendingBytes": {PendingBytes: 10, RunBytes: 20},
	} {
		if _, err := New(Config{Limits: limits}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("New = %v, want it to name %s", err, field)
		}
	}
}

// waitFor gives the server time to get somewhere that cannot be seen from outside.
func waitFor(t *testing.T, what string, there func() bool) {
	t.Helper()
	for range 1000 {
		if there() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("waited in vain for ", what)
}

func TestShutdownFinishesRuns(t *testing.T) {
	c := start(t, Config{})
	id, _ := c.upload("slow")
	answered := make(chan string, 1)
	go func() {
		_, refused := c.infer(id, scalar(nil, 2000))
		answered <- refused
	}()
	waitFor(t, "the run", func() bool { return len(c.server.turns) == 1 })
	if err := c.server.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if refused := <-answered; refused != "" {
		t.Errorf("the run under way: %q", refused)
	}
	if _, err := http.Get(c.unattested + "/"); err == nil {
		t.Error("the server still answers")
	}
	if err := c.server.Listen(); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Listen after Shutdown = %v", err)
	}
}

func TestShutdownInAHurry(t *testing.T) {
	c := start(t, Config{})
	id, _ := c.upload("slow")
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		response, err := c.http.Post(c.run+"/run", "", bytes.NewReader(encode(runOf(id, "", scalar(nil, 1<<40)))))
		if err == nil {
			response.Body.Close()
		}
	}()
	waitFor(t, "the run", func() bool { return len(c.server.turns) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown = %v, want %v", err, context.DeadlineExceeded)
	}
	<-cut
	waitFor(t, "the engine to stop", func() bool { return len(c.server.turns) == 0 })
}

// Whoever goes away does not leave a run behind that nobody will read.
func TestClientGoesAway(t *testing.T) {
	c := start(t, Config{})
	id, _ := c.upload("slow")
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.run+"/run",
		bytes.NewReader(encode(runOf(id, "", scalar(nil, 1<<40)))))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if response, err := c.http.Do(request); err == nil {
			response.Body.Close()
		}
	}()
	waitFor(t, "the run", func() bool { return len(c.server.turns) == 1 })
	cancel()
	waitFor(t, "the engine to stop", func() bool { return len(c.server.turns) == 0 })
	if used := c.server.runs.used.Load(); used != 0 {
		waitFor(t, "the memory", func() bool { return c.server.runs.used.Load() == 0 })
	}
}

func TestMemoryForBodiesIsBounded(t *testing.T) {
	c := start(t, Config{Limits: Limits{RunBytes: 1 << 20, PendingBytes: 1 << 20}})
	id, _ := c.upload("subtract")

	// Room for a body doubles as it comes in. This sender never finishes, and its room is all.
	slow, send := io.Pipe()
	request, err := http.NewRequest(http.MethodPost, c.run+"/run", slow)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 1 << 20
	go func() {
		if response, err := c.http.Do(request); err == nil {
			response.Body.Close()
		}
	}()
	go send.Write(make([]byte, 600<<10))
	waitFor(t, "the slow sender", func() bool { return c.server.runs.used.Load() == 1<<20 })
	_, refused := c.infer(id, scalar(nil, 2), scalar(nil, 1))
	says(t, refused, "try again")
	send.CloseWithError(errors.New("enough"))
	waitFor(t, "the memory", func() bool { return c.server.runs.used.Load() == 0 })
	if _, refused := c.infer(id, scalar(nil, 2), scalar(nil, 1)); refused != "" {
		t.Error(refused)
	}
}

// A body whose length is not known beforehand is read, too, up to the limit.
func TestChunkedBodies(t *testing.T) {
	c := start(t, Config{Limits: Limits{RunBytes: 2 << 20}})
	id, _ := c.upload("subtract")
	for _, tt := range []struct {
		name    string
		padding int
		want    int
	}{
		{"small", 0, 200},
		{"several buffers", 1_500_000, 200},
		{"above the limit", 2 << 20, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request := runOf(id, "", scalar(nil, 2), scalar(nil, 1))
			request["padding"] = make([]byte, tt.padding)
			response, err := c.http.Post(c.run+"/run", "", io.MultiReader(bytes.NewReader(encode(request))))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != tt.want {
				t.Errorf("status %d, want %d", response.StatusCode, tt.want)
			}
		})
	}
}

// Nothing of what a client brings may end up in the log.
func TestLogIsSilentAboutClients(t *testing.T) {
	var out syncBuffer
	c := start(t, Config{Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	id, sum := c.upload("subtract")
	c.infer(id, scalar("minuend", 1234567), scalar("subtrahend", 1))
	c.infer(id, scalar("nonsense", 1))
	c.ask(c.manage+"/upload", uploadOf("garbage", 7), new(uploadReply))
	c.delete(id)
	log := out.String()
	if !strings.Contains(log, "ready") || !strings.Contains(log, "uploaded") {
		t.Errorf("the log misses what it should have:\n%s", log)
	}
	peers := strings.Count(log, "127.0.0.1")
	if peers != 3 { // the three listeners
		t.Errorf("the log has %d addresses:\n%s", peers, log)
	}
	for _, word := range []string{"secret", id, string(encode(sum)), fmt.Sprintf("%x", sum), base64.StdEncoding.EncodeToString(sum)[:40], fmt.Sprintf("%x", sum[:8]), "minuend", "1234567", "nonsense", "garbage", "Plan 9", "5c0f"} {
		if strings.Contains(log, word) {
			t.Errorf("the log has %q", word)
		}
	}
}

func TestPanicStaysInItsRequest(t *testing.T) {
	var out syncBuffer
	server, err := New(Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	w := &answerRecorder{header: make(http.Header)}
	server.guard(func(http.ResponseWriter, *http.Request) { panic("a secret") }).ServeHTTP(w, nil)
	if w.status != 500 || !bytes.Equal(w.body, encode("Unknown error")) {
		t.Errorf("a panic is answered with %d and %q", w.status, w.body)
	}
	if log := out.String(); !strings.Contains(log, "panic") || strings.Contains(log, "a secret") {
		t.Errorf("the log of a panic: %s", log)
	}
}

type answerRecorder struct {
	header http.Header
	status int
	body   []byte
}

func (w *answerRecorder) Header() http.Header { return w.header }
func (w *answerRecorder) WriteHeader(n int)   { w.status = n }
func (w *answerRecorder) Write(b []byte) (int, error) {
	w.body = append(w.body, b...)
	return len(b), nil
}

// A syncBuffer is a buffer that several goroutines write to.
type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
