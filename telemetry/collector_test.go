package telemetry

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A collector keeps, shows and erases events as the contract says, and is strict
// about what it is asked. Its answers are written by hand, not by the code that
// reads them.
type collector struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	key     ed25519.PrivateKey
	stored  map[string]map[string]bool // by user_id, insert_ids
	erased  map[string]bool            // ids that are kept out
	asked   []string                   // secrets of all requests to erase
	down    bool                       // answers 503 to everything
	stalls  chan struct{}              // uploads wait for it, if it is there
	arrived chan struct{}              // an upload has come
	edit    func(receipt []byte) []byte
	after   string // Retry-After of a 503
}

func newCollector(t *testing.T) *collector {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{t: t, key: key, stored: map[string]map[string]bool{}, erased: map[string]bool{}, arrived: make(chan struct{}, 1000)}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

func (c *collector) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *collector) publicKey() string {
	return base64.RawURLEncoding.EncodeToString(c.key.Public().(ed25519.PublicKey))
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == "/2/httpapi" {
		c.arrived <- struct{}{}
		c.mu.Lock()
		stalls := c.stalls
		c.mu.Unlock()
		if stalls != nil {
			select {
			case <-stalls:
			case <-r.Context().Done():
				return
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		if c.after != "" {
			w.Header().Set("Retry-After", c.after)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"code":503,"error":"not now"}`)
		return
	}
	w.Header().Set("Collector-Key", c.publicKey())
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("User-Agent") != "" {
		c.t.Errorf("a request that is not in the contract: %s %s %v", r.Method, r.URL, r.Header)
	}
	switch r.URL.Path {
	case "/2/httpapi":
		c.upload(w, body)
	case "/v1/forget":
		c.forget(w, c.secret(body))
	case "/v1/show":
		c.show(w, c.secret(body))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// secret reads the one form that the contract has.
func (c *collector) secret(body []byte) plan.Secret {
	var b struct {
		Secret string `json:"secret"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(&b)
	s, bad := plan.ParseSecret(b.Secret)
	if err != nil || bad != nil || string(body) != `{"secret":"`+b.Secret+`"}` {
		c.t.Errorf("a request to erase or show has another form than the contract's")
	}
	return s
}

func (c *collector) upload(w http.ResponseWriter, body []byte) {
	var r struct {
		Events []struct {
			User   string `json:"user_id"`
			Insert string `json:"insert_id"`
		}
	}
	if err := json.Unmarshal(body, &r); err != nil {
		c.t.Error(err)
	}
	for _, e := range r.Events {
		if c.erased[e.User] {
			continue
		}
		if c.stored[e.User] == nil {
			c.stored[e.User] = map[string]bool{}
		}
		c.stored[e.User][e.Insert] = true
	}
	w.Write(amplitude.AppendOK(nil, len(r.Events), len(body), 0))
}

func (c *collector) forget(w http.ResponseWriter, s plan.Secret) {
	c.asked = append(c.asked, s.Reveal())
	id := s.ID().String()
	erased := ""
	if n := len(c.stored[id]); n > 0 {
		erased = fmt.Sprintf(`{"app":"coffee","events":%d,"sessions":1}`, n)
	}
	delete(c.stored, id)
	more := ""
	if c.erased[id] {
		more = `,"erased_before":true`
	}
	c.erased[id] = true
	receipt := c.receipt(s, erased, more)
	if c.edit != nil {
		receipt = c.edit(receipt)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(receipt)
}

// receipt signs what was erased.
func (c *collector) receipt(s plan.Secret, erased, more string) []byte {
	mac := hmac.New(sha256.New, s[:])
	io.WriteString(mac, "blindai-collector receipt 1")
	payload := `{"kind":"erasure","time":"` + time.Now().UTC().Format(time.RFC3339) + `","session":"` + hex.EncodeToString(mac.Sum(nil)) +
		`","erased":[` + erased + `],"recipients":[]` + more + `}`
	return c.sign(payload)
}

func (c *collector) sign(payload string) []byte {
	b, err := json.Marshal(map[string]string{
		"payload": payload, "key": c.publicKey(),
		"signature": base64.RawURLEncoding.EncodeToString(ed25519.Sign(c.key, []byte("blindai-collector receipt 1\n"+payload))),
	})
	if err != nil {
		c.t.Error(err)
	}
	return append(b, '\n')
}

func (c *collector) show(w http.ResponseWriter, s plan.Secret) {
	id := s.ID().String()
	apps := ""
	if n := len(c.stored[id]); n > 0 {
		apps = fmt.Sprintf(`{"app":"coffee","session":{"user_id":"%s"},"events":[{"n":%d}]}`, id, n)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"time":"2026-11-24T02:36:02Z","recipients":[],"apps":[%s]}`, apps)
}

// counts returns how many events of each session are stored.
func (c *collector) counts() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[string]int{}
	for id, inserts := range c.stored {
		n[id] = len(inserts)
	}
	return n
}

// has asserts how many events of each session are stored.
func (c *collector) has(t *testing.T, want map[string]int) {
	t.Helper()
	if got := c.counts(); !maps.Equal(got, want) {
		t.Errorf("the collector has %v, want %v", got, want)
	}
}

// requests returns the secrets that were shown to erase.
func (c *collector) requests() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.asked...)
}

// config is that of a program that sends to the collector and keeps a folder.
func (c *collector) config(stateDir string) Config {
	return Config{Version: "1.2.3", URL: c.url, APIKey: "key", StateDir: stateDir, Interval: 5 * time.Millisecond, Getenv: noEnv, jitter: noJitter}
}

// id returns the id of the session that runs now.
func id(c coffee) string {
	secret, _, _ := c.Secret()
	return secret.ID().String()
}

// until waits for what another goroutine or process does.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("after 30 s it is still not so that ", what)
		}
	}
}
