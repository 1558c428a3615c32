package conformance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// nodeDir holds the script, and the lock file that pins this SDK and the one for
// browsers.
const nodeDir = "node"

// installNode gets the SDKs, unless they are there as the lock file has it. This
// is the only step that needs more of the network than loopback.
func installNode(t *testing.T) {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing; install Node with npm, then try again", program)
		}
	}
	lock, err := os.Stat(filepath.Join(nodeDir, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	// npm writes this file last.
	installed, err := os.Stat(filepath.Join(nodeDir, "node_modules", ".package-lock.json"))
	if err == nil && !installed.ModTime().Before(lock.ModTime()) {
		return
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = nodeDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in %s: %v\n%s", nodeDir, err, out)
	}
}

// A nodeClient is the script, which sends with Amplitude's Node SDK.
type nodeClient struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.Writer
	out   *bufio.Reader
	codes map[int64]int // what the SDK told of each event; 0: it gave up without an answer
}

func newNodeClient(t *testing.T, url, key, scenario string, count int) *nodeClient {
	t.Helper()
	// The context of the test ends the script, whatever it does.
	cmd := exec.CommandContext(t.Context(), "node", "send.js", url, key, scenario, strconv.Itoa(count))
	cmd.Dir, cmd.Stderr = nodeDir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &nodeClient{t, cmd, in, bufio.NewReader(out), map[int64]int{}}
}

// settled waits until the SDK has said of a batch what became of its events.
func (c *nodeClient) settled() {
	c.t.Helper()
	late := time.AfterFunc(20*time.Second, func() { c.cmd.Process.Kill() })
	defer late.Stop()
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		c.t.Fatalf("the script ended, or was late and was stopped: %v", err)
	}
	var told []struct {
		Number int64
		Code   int
	}
	if err := json.Unmarshal(line, &told); err != nil {
		c.t.Fatal(err)
	}
	for _, e := range told {
		c.codes[e.Number] = e.Code
	}
}

// next lets the script send one more batch.
func (c *nodeClient) next() {
	c.t.Helper()
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		c.t.Fatal(err)
	}
	c.settled()
}

// ended waits for the script's end, which follows its last batch in seconds.
func (c *nodeClient) ended() {
	c.t.Helper()
	late := time.AfterFunc(5*time.Second, func() {
		c.t.Error("the script does not end")
		c.cmd.Process.Kill()
	})
	defer late.Stop()
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the script: %v", err)
	}
}

// TestNode is TestGo for the Node SDK, whose flush differs from its interval.
func TestNode(t *testing.T) {
	installNode(t)
	one := func(scenario string, count int) func(*testing.T, *server) *nodeClient {
		return func(t *testing.T, s *server) *nodeClient {
			c := newNodeClient(t, s.url(), apiKey, scenario, count)
			c.settled()
			return c
		}
	}
	cases := []struct {
		name    string
		events  int
		refused int // of them, by the plan or for the key
		stored  int
		lost    int // given up by the SDK, though the collector would take them

		requests int // exactly: a storm would show
		run      func(*testing.T, *server) *nodeClient
	}{
		{"the collector is well; by the interval", 30, 0, 30, 0, 1, one("", 30)},
		{"the collector is well; by flush", 1000, 0, 1000, 0, 5, one("flush", 1000)},
		{
			"two of ten events are refused: one undeclared, one with a text for a number; by the interval", 10, 2, 8, 0, 2,
			one("refused", 10),
		},
		{"the same; by flush", 10, 2, 0, 8, 1, one("refused flush", 10)},
		{
			"the API key is wrong", 30, 30, 0, 0, 1,
			func(t *testing.T, s *server) *nodeClient {
				c := newNodeClient(t, s.url(), "of-another-app", "", 30)
				c.settled()
				return c
			},
		},
		{
			"the path is wrong", 30, 30, 0, 0, 1,
			func(t *testing.T, s *server) *nodeClient {
				c := newNodeClient(t, s.url()+"/v3", apiKey, "", 30)
				c.settled()
				return c
			},
		},
		{"a batch of 1.3 MB, more than a request may hold; by the interval", 30, 0, 30, 0, 3, one("padded", 30)},
		{"a batch of 1.3 MB; by flush", 30, 0, 0, 30, 1, one("padded flush", 30)},
		{
			"the store fails three times (503); by the interval", 30, 0, 30, 0, 4,
			func(t *testing.T, s *server) *nodeClient {
				s.failures.Store(3)
				return one("", 30)(t, s)
			},
		},
		{
			"the store fails (503); by flush", 30, 0, 0, 30, 1,
			func(t *testing.T, s *server) *nodeClient {
				s.failures.Store(3)
				return one("flush", 30)(t, s)
			},
		},
		{
			"the connection is cut after the events were stored", 90, 0, 90, 0, 3,
			func(t *testing.T, s *server) *nodeClient {
				return nodeBatches(t, s, func() { s.cut.Store(&cut{stored: true}) }, nil)
			},
		},
		{
			"the connection is cut before the events were seen", 90, 0, 60, 30, 3,
			func(t *testing.T, s *server) *nodeClient {
				return nodeBatches(t, s, func() { s.cut.Store(&cut{}) }, nil)
			},
		},
		{
			"the collector is restarted; nothing is sent meanwhile", 90, 0, 90, 0, 3,
			func(t *testing.T, s *server) *nodeClient {
				return nodeBatches(t, s, func() { s.stop(); s.start() }, nil)
			},
		},
		{
			"the collector is restarted; the SDK sends meanwhile and is refused", 90, 0, 60, 30, 2,
			func(t *testing.T, s *server) *nodeClient { return nodeBatches(t, s, s.stop, s.start) },
		},
	}
	rows := make([]string, len(cases))
	// The group ends when all its parallel cases have.
	t.Run("case", func(t *testing.T) {
		for i, test := range cases {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				c := test.run(t, s)
				c.ended()

				if len(c.codes) != test.events {
					t.Errorf("the SDK has settled %d of %d events", len(c.codes), test.events)
				}
				stored := s.stored()
				for number, times := range stored {
					if times != 1 {
						t.Errorf("event %d is stored %d times", number, times)
					}
				}
				for number, code := range c.codes {
					if code == 200 && stored[number] == 0 {
						t.Errorf("event %d was acknowledged and is not stored", number)
					}
				}
				if len(stored) != test.stored {
					t.Errorf("%d events are stored, want %d", len(stored), test.stored)
				}
				lost := test.events - test.refused - len(stored)
				if lost != test.lost {
					t.Errorf("the SDK has lost %d events, want %d", lost, test.lost)
				}
				if n := s.requested(); n != test.requests {
					t.Errorf("%d requests, want %d", n, test.requests)
				}
				rows[i] = fmt.Sprintf("| %s | %d | %d | %d | %d | %d |\n",
					test.name, test.events, test.refused, len(stored), lost, s.requested())
			})
		}
	})
	if t.Failed() || slices.Contains(rows, "") {
		return // a case has failed, or only some were asked for with -run
	}
	checkTable(t, "analytics-node", "| what happens | events | refused | stored, each once | lost by the SDK | requests |\n"+
		"|---|---|---|---|---|---|\n"+strings.Join(rows, ""))
}

// nodeBatches sends three batches and calls before ahead of the second one, and
// after, if there is one, behind it.
func nodeBatches(t *testing.T, s *server, before, after func()) *nodeClient {
	c := newNodeClient(t, s.url(), apiKey, "batches", 30)
	c.settled()
	before()
	c.next()
	if after != nil {
		after()
	}
	c.next()
	return c
}
