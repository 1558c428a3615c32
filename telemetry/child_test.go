//go:build linux

package telemetry

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// Some tests need a process of their own: to kill it, to take its disk away, to
// trace its system calls. They start the test binary again with a job in the
// environment, and init does that job before any test runs.

const jobVar = "TELEMETRY_TEST_JOB"

// A job is a small program that records events.
type job struct {
	URL      string // of the destination
	BuiltIn  string // of the built-in destination
	State    string
	Interval time.Duration
	Queue    int
	From     int64 // number of its first event
	Count    int64
	Says     Word // of the one setting
	Consent  Consent
	Zero     bool // Close without a budget

	// FileSize limits every file that the process writes, from the start or
	// once the client is open: what a full disk looks like without being root.
	FileSize uint64
	Later    bool
}

// A report is what it says at its end.
type report struct {
	Stats Stats
	Log   string
	Err   string
}

func init() {
	text, is := os.LookupEnv(jobVar)
	if !is {
		return
	}
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	j.run()
	os.Exit(0)
}

func (j job) run() {
	var log bytes.Buffer
	if j.FileSize > 0 && !j.Later {
		limitFiles(j.FileSize)
	}
	c := newCoffee()
	cfg := j.config()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if err := c.Open(cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if j.Later {
		limitFiles(j.FileSize)
	}
	var number [8]byte
	for i := range j.Count {
		c.brewed.Record(small, Count(j.From+i))
		binary.BigEndian.PutUint64(number[:], uint64(j.From+i))
		os.Stdout.Write(number[:])
	}
	io.Copy(io.Discard, os.Stdin) // until the test says so
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	if j.Zero {
		cancel()
	}
	closed := c.Close(ctx)
	cancel()
	r := report{Stats: c.Stats(), Log: log.String()}
	if closed != nil {
		r.Err = closed.Error()
	}
	json.NewEncoder(os.Stderr).Encode(r)
}

func (j job) config() Config {
	return Config{
		Version: "1.2.3", URL: j.URL, BuiltInURL: j.BuiltIn, APIKey: key(j.URL), BuiltInAPIKey: key(j.BuiltIn),
		EnvVar: "COFFEE_OFF", Settings: []Setting{{"flag", j.Says}}, Consent: j.Consent,
		StateDir: j.State, Interval: j.Interval, QueueSize: j.Queue,
	}
}

func key(url string) string {
	if url == "" {
		return ""
	}
	return "key"
}

func limitFiles(size uint64) {
	signal.Ignore(syscall.SIGXFSZ) // a write beyond the limit is an error, then
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: size}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// command returns the command that does the job, in an environment that holds
// nothing else.
func (j job) command(t testing.TB, env ...string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append([]string{jobVar + "=" + string(text), "GORACE=atexit_sleep_ms=0"}, env...)
	return cmd
}

// A child is a job under way.
type child struct {
	cmd      *exec.Cmd
	stdin    io.WriteCloser
	errs     bytes.Buffer
	recorded chan int64 // numbers whose Record has returned; closed at its end
}

func start(t testing.TB, j job) *child {
	t.Helper()
	c := &child{cmd: j.command(t), recorded: make(chan int64, j.Count)}
	c.cmd.Stderr = &c.errs
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.recorded)
		var number [8]byte
		for {
			if _, err := io.ReadFull(stdout, number[:]); err != nil {
				return
			}
			c.recorded <- int64(binary.BigEndian.Uint64(number[:]))
		}
	}()
	return c
}

// kill ends the child by SIGKILL and returns the numbers whose Record had
// returned, beside those that were received already.
func (c *child) kill() (numbers []int64) {
	c.cmd.Process.Kill()
	for n := range c.recorded {
		numbers = append(numbers, n)
	}
	c.cmd.Wait()
	return numbers
}

// end tells the child to close its client, and returns what it reports.
func (c *child) end(t testing.TB) (numbers []int64, r report) {
	t.Helper()
	c.stdin.Close()
	for n := range c.recorded {
		numbers = append(numbers, n)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("the process that records: %v\n%s", err, &c.errs)
	}
	if err := json.Unmarshal(c.errs.Bytes(), &r); err != nil {
		t.Fatalf("the process that records says %s", &c.errs)
	}
	return numbers, r
}
