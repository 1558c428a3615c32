package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amplitude/analytics-go/amplitude"
	"github.com/google/uuid"

	"github.com/blindai-go/blindai/collector"
)

// TestMain fences the network: no name can be looked up, and what these tests
// dial by number is loopback.
func TestMain(m *testing.M) {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("a test looked up a name")
	}}
	os.Exit(m.Run())
}

// A goClient is Amplitude's Go SDK, pointed at a server.
type goClient struct {
	amplitude.Client
	device string

	mu       sync.Mutex // guards outcomes
	outcomes []outcome
}

// An outcome is what the SDK says of one event in the end.
type outcome struct {
	number any
	status int // 0: there was no answer, and the SDK gave up
}

// newGoClient configures what a user would, and a short interval so that the
// tests are short too. change may do more.
func newGoClient(s *server, change ...func(*amplitude.Config)) *goClient {
	c := &goClient{device: uuid.NewString()}
	config := amplitude.NewConfig(apiKey)
	config.ServerURL = s.url()
	config.FlushInterval = 50 * time.Millisecond
	config.Logger = silent{}
	config.ExecuteCallback = func(r amplitude.ExecuteResult) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.outcomes = append(c.outcomes, outcome{r.Event.EventProperties["number"], r.Code})
	}
	for _, f := range change {
		f(&config)
	}
	c.Client = amplitude.NewClient(config)
	return c
}

// manual leaves it to the test when something is sent.
func manual(c *amplitude.Config) { c.FlushInterval = time.Hour }

// count tracks events with the numbers from first to before end.
func (c *goClient) count(first, end int) {
	for n := first; n < end; n++ {
		c.Track(c.event(n))
	}
}

func (c *goClient) event(number int) amplitude.Event {
	return amplitude.Event{
		EventType:       "counted",
		EventOptions:    amplitude.EventOptions{DeviceID: c.device, AppVersion: "1.2.3"},
		EventProperties: map[string]any{"number": number},
	}
}

// settled waits until the SDK has said of n events what became of them.
func (c *goClient) settled(t *testing.T, n int) []outcome {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		c.mu.Lock()
		outcomes := slices.Clone(c.outcomes)
		c.mu.Unlock()
		if len(outcomes) >= n {
			return outcomes
		}
		if time.Now().After(deadline) {
			t.Fatalf("the SDK has settled %d of %d events", len(outcomes), n)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// shutdown ends the SDK, which has to be quick where the server answers.
func (c *goClient) shutdown(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Flush()
		c.Shutdown()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("Flush and Shutdown do not return")
	}
}

// TestGo sends events through one kind of trouble each. A row of the table in
// docs/conformance.md comes from each case.
func TestGo(t *testing.T) {
	cases := []struct {
		name   string
		events int // that are sent, those that the plan refuses included
		stored int // of them
		lost   int // given up by the SDK itself, without an answer

		requests int // exactly: a storm would show
		run      func(*testing.T, *server) *goClient
	}{
		{
			"the collector is well", 1000, 1000, 0, 5,
			func(t *testing.T, s *server) *goClient {
				c := newGoClient(s, manual)
				c.count(0, 1000)
				return c
			},
		},
		{
			"with groups, user properties and a price, which the plan does not declare", 10, 10, 0, 1,
			func(t *testing.T, s *server) *goClient {
				c := newGoClient(s, manual)
				for n := range 10 {
					e := c.event(n)
					e.UserProperties = map[amplitude.IdentityOp]map[string]any{"$set": {"name": "someone"}, "$clearAll": {"-": nil}}
					e.Groups = map[string][]string{"company": {"one", "two"}}
					e.Price, e.Currency, e.IP = 1.5, "EUR", "$remote"
					e.Language, e.Library = "en-US", "mine/1"
					c.Track(e)
				}
				return c
			},
		},
		{
			"the same insert_id twice", 2, 1, 0, 1,
			func(t *testing.T, s *server) *goClient {
				c := newGoClient(s, manual)
				e := c.event(0)
				e.InsertID = uuid.NewString()
				c.Track(e)
				c.Track(e)
				return c
			},
		},
		{
			"two of ten events are refused: one undeclared, one with a text for a number", 10, 8, 0, 2,
			func(t *testing.T, s *server) *goClient {
				c := newGoClient(s, manual)
				c.count(0, 4)
				undeclared := c.event(4)
				undeclared.EventType = "undeclared"
				c.Track(undeclared)
				text := c.event(5)
				text.EventProperties["number"] = "many"
				c.Track(text)
				c.count(6, 10)
				return c
			},
		},
		{
			"the API key is wrong", 100, 0, 0, 1,
			func(t *testing.T, s *server) *goClient {
				c := newGoClient(s, manual, func(c *amplitude.Config) { c.APIKey = "of-another-app" })
				c.count(0, 100)
				return c
			},
		},
		{
			"the path is wrong", 100, 0, 0, 1,
			func(t *testing.T, s *server) *goClient {
				c := newGoClient(s, manual, func(c *amplitude.Config) { c.ServerURL += "/v3" })
				c.count(0, 100)
				return c
			},
		},
		{
			"batches of 2,500, more than a request may hold", 2500, 2500, 0, 3,
			func(t *testing.T, s *server) *goClient {
				c := newGoClient(s, manual, func(c *amplitude.Config) { c.FlushQueueSize = 2500 })
				c.count(0, 2500)
				return c
			},
		},
		{
			"the store fails three times (503)", 100, 100, 0, 4,
			func(t *testing.T, s *server) *goClient {
				s.failures.Store(3)
				c := newGoClient(s, manual)
				c.count(0, 100)
				for range 500 { // the SDK waits between its tries, and then for the next flush
					c.Flush()
					if s.answered(http.StatusOK) > 0 {
						break
					}
					time.Sleep(20 * time.Millisecond)
				}
				return c
			},
		},
		{
			"the connection is cut after the events were stored", 300, 300, 0, 3,
			func(t *testing.T, s *server) *goClient { return cutOff(t, s, cut{stored: true}) },
		},
		{
			"the connection is cut before the events were seen", 300, 200, 100, 3,
			func(t *testing.T, s *server) *goClient { return cutOff(t, s, cut{}) },
		},
		{
			"the collector is restarted; nothing is sent meanwhile", 200, 200, 0, 2,
			func(t *testing.T, s *server) *goClient {
				c := newGoClient(s, manual)
				c.count(0, 100)
				c.Flush()
				s.stop()
				s.start()
				c.count(100, 200)
				return c
			},
		},
		{
			"the collector is restarted; the SDK sends meanwhile and is refused", 300, 200, 100, 2,
			func(t *testing.T, s *server) *goClient {
				c := newGoClient(s, manual)
				c.count(0, 100)
				c.Flush()
				s.stop()
				c.count(100, 200)
				c.Flush()
				s.start()
				c.count(200, 300)
				return c
			},
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
				c.shutdown(t)
				outcomes := c.settled(t, test.events)

				stored := s.stored()
				for number, times := range stored {
					if times != 1 {
						t.Errorf("event %d is stored %d times", number, times)
					}
				}
				if len(stored) != test.stored {
					t.Errorf("%d events are stored, want %d", len(stored), test.stored)
				}
				lost := 0
				for _, o := range outcomes {
					number, _ := o.number.(int)
					there := stored[int64(number)] > 0
					switch {
					case o.status == 200 && !there:
						t.Errorf("event %d was acknowledged and is not stored", number)
					case o.status == 0 && !there:
						lost++
					}
				}
				if lost != test.lost {
					t.Errorf("the SDK has lost %d events, want %d", lost, test.lost)
				}
				if n := s.requested(); n != test.requests {
					t.Errorf("%d requests, want %d", n, test.requests)
				}
				rows[i] = fmt.Sprintf("| %s | %d | %d | %d | %d |\n", test.name, test.events, len(stored), lost, s.requested())
			})
		}
	})
	if t.Failed() || slices.Contains(rows, "") {
		return // a case has failed, or only some were asked for with -run
	}
	checkTable(t, "analytics-go", "| what happens | events | stored, each once | lost by the SDK | requests |\n|---|---|---|---|---|\n"+strings.Join(rows, ""))
}

// cutOff sends three batches, of which the second one's connection is cut.
func cutOff(t *testing.T, s *server, how cut) *goClient {
	c := newGoClient(s, manual)
	c.count(0, 100)
	c.Flush()
	s.cut.Store(&how)
	c.count(100, 200)
	c.Flush()
	c.count(200, 300)
	return c
}

// TestGoIsTold: the SDK's callback hears of each event what the table says.
func TestGoIsTold(t *testing.T) {
	s := newServer(t)
	c := newGoClient(s, manual)
	c.count(0, 3)
	undeclared := c.event(3)
	undeclared.EventType = "undeclared"
	c.Track(undeclared)
	c.shutdown(t)
	byStatus := map[int]int{}
	for _, o := range c.settled(t, 4) {
		byStatus[o.status]++
	}
	if want := map[int]int{200: 3, 400: 1}; !maps.Equal(byStatus, want) {
		t.Errorf("events by status: %v, want %v", byStatus, want)
	}
	if got := slices.Sorted(maps.Keys(s.stored())); !slices.Equal(got, []int64{0, 1, 2}) {
		t.Errorf("stored: %v", got)
	}
	counts := httptest.NewRecorder()
	s.collector.MetricsHandler().ServeHTTP(counts, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(counts.Body.String(), `rule="undeclared event"} 1`) {
		t.Error("the refusal is not counted")
	}
}

// TestGoUserProperties: the SDK can write them as operations only.
func TestGoUserProperties(t *testing.T) {
	s := newServer(t)
	c := newGoClient(s, manual)
	e := c.event(0)
	e.UserProperties = map[amplitude.IdentityOp]map[string]any{"$set": {"tier": "gold", "name": "someone"}}
	c.Track(e)
	c.shutdown(t)
	tier := column(t, "tier", testPlan().SessionColumns())
	records := s.records()
	if len(records) != 1 || !records[0].Session[tier].Set || tiers[records[0].Session[tier].Int] != "gold" {
		t.Errorf("stored: %v", records)
	}
	counted := s.collector.Refused(testPlan().App)
	if len(counted) != 1 || counted[0].Rule != collector.RuleUndeclaredField {
		t.Errorf("counted as turned away: %v, want undeclared fields", counted)
	}
}

// TestGoNeverStorms: whatever is wrong with a request, the SDK gets an answer
// after which it stops. It sends again at once and for ever at a bare 400.
func TestGoNeverStorms(t *testing.T) {
	for name, change := range map[string]func(*amplitude.Config){
		"key":    func(c *amplitude.Config) { c.APIKey = "of-another-app" },
		"no key": func(c *amplitude.Config) { c.APIKey = "" },
		"path":   func(c *amplitude.Config) { c.ServerURL += "/" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			c := newGoClient(s, change) // with its interval of 50 ms
			c.count(0, 10)
			time.Sleep(time.Second)
			c.shutdown(t)
			all, refused := s.requested(), s.answered(400)
			if all > 10 || refused != all { // more than one, where the interval has split the ten events
				t.Errorf("%d requests, of which %d were answered 400; want ten at most, and all of them", all, refused)
			}
		})
	}
}

// silent is the SDK's log; its own writes a line for each event.
type silent struct{}

func (silent) Debugf(string, ...any) {}
func (silent) Infof(string, ...any)  {}
func (silent) Warnf(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
