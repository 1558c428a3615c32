package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// kills is how often TestKill kills the collector. `make soak` sets KILLS.
func kills(t *testing.T) int {
	if s := os.Getenv("KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatal("KILLS must be a number from 1")
		}
		return n
	}
	return 40
}

// A crowd sends batches to a collector that keeps going away, and knows what was
// acknowledged.
type crowd struct {
	url string

	mu    sync.Mutex
	acked map[string]bool // insert ids of acknowledged batches
	sent  map[string]bool // all that were ever sent
	again int             // requests that were sent again
}

// member sends one session's events in order, 50 in a request, each request
// until it is acknowledged, as our client does.
func (c *crowd) member(stop <-chan struct{}) {
	var secret [16]byte
	rand.Read(secret[:])
	id := hex.EncodeToString(secret[:])
	client := &http.Client{Timeout: 5 * time.Second}
	for seq := 0; ; seq += 50 {
		var body bytes.Buffer
		fmt.Fprintf(&body, `{"api_key":%q,"events":[`, apiKey)
		var ids []string
		for i := range 50 {
			if i > 0 {
				body.WriteByte(',')
			}
			insert := fmt.Sprintf("%s-%d", id, seq+i)
			ids = append(ids, insert)
			fmt.Fprintf(&body, `{"user_id":%q,"device_id":"linux/amd64","app_version":"0.7.0","event_type":"run_model","time":%d,"insert_id":%q,"user_properties":{"sgx_mode":"SW"},"event_properties":{"uptime":%d}}`,
				id, time.Now().UnixMilli(), insert, seq+i)
		}
		body.WriteString("]}")
		c.mu.Lock()
		for _, insert := range ids {
			c.sent[insert] = true
		}
		c.mu.Unlock()
		for {
			resp, err := client.Post(c.url+"/2/httpapi", "application/json", bytes.NewReader(body.Bytes()))
			if err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					break
				}
			}
			c.mu.Lock()
			c.again++
			c.mu.Unlock()
			select {
			case <-stop:
				return // the last request may or may not have been stored
			case <-time.After(20 * time.Millisecond):
			}
		}
		c.mu.Lock()
		for _, insert := range ids {
			c.acked[insert] = true
		}
		c.mu.Unlock()
		select {
		case <-stop:
			return
		default:
		}
	}
}

// A mortal is a collector that is killed and started again on the same folder and
// address.
type mortal struct {
	*collector
	t          *testing.T
	addr, data string
}

func newMortal(t *testing.T) *mortal {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{t: t, addr: l.Addr().String(), data: filepath.Join(t.TempDir(), "data")}
	l.Close()
	m.start()
	t.Cleanup(func() { m.stop() })
	return m
}

func (m *mortal) start() {
	m.t.Helper()
	var err error
	if m.collector, err = startCollector(m.t.Context(), programs(m.t), m.data, m.addr); err != nil {
		m.t.Fatal(err)
	}
}

// kill kills it without warning, and starts it again.
func (m *mortal) kill() {
	m.t.Helper()
	if err := m.cmd.Process.Kill(); err != nil {
		m.t.Fatal(err)
	}
	<-m.ended
	m.start()
}

// TestKill kills the collector at random points under load, without warning,
// and starts it again on the same folder: all that was acknowledged is stored,
// and nothing is stored twice.
func TestKill(t *testing.T) {
	c := newMortal(t)
	people := &crowd{url: "http://" + c.addr, acked: map[string]bool{}, sent: map[string]bool{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { people.member(stop) })
	}

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	n := kills(t)
	for range n {
		// At any point: while it opens the folder, at rest, in a commit.
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		c.kill()
	}
	close(stop)
	wg.Wait()

	events, err := c.export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	for _, e := range events {
		stored[fmt.Sprint(e["insert_id"])]++
	}
	lost, doubled, foreign := 0, 0, 0
	for insert := range people.acked {
		if stored[insert] == 0 {
			lost++
		}
	}
	for insert, count := range stored {
		if count > 1 {
			doubled++
		}
		if !people.sent[insert] {
			foreign++
		}
	}
	t.Logf("%d kills, %d requests sent again: %d events acknowledged, %d stored, %d lost, %d doubled",
		n, people.again, len(people.acked), len(stored), lost, doubled)
	if lost != 0 || doubled != 0 || foreign != 0 {
		t.Errorf("%d acknowledged events are lost, %d are stored twice, %d were never sent", lost, doubled, foreign)
	}
	if len(people.acked) == 0 || people.again == 0 {
		t.Error("nothing was acknowledged, or nothing had to be sent again: the test has not tested anything")
	}
}
