package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A leaver sends sessions to a collector that keeps going away, and has most of
// them erased.
type leaver struct {
	url string

	mu           sync.Mutex
	erased, kept []plan.ID // with a receipt; acknowledged
	faults       []string
	again        int // requests that were sent again
}

func (l *leaver) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// ask sends a request until it is answered 200. It returns false at the end.
func (l *leaver) ask(stop <-chan struct{}, path, body string) (answer []byte, ok bool) {
	client := &http.Client{Timeout: 5 * time.Second}
	for {
		resp, err := client.Post(l.url+path, "application/json", strings.NewReader(body))
		if err == nil {
			answer, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return answer, true
			}
			if err == nil && resp.StatusCode != http.StatusServiceUnavailable {
				l.fault("%s is answered %d %s", path, resp.StatusCode, answer)
				return nil, false
			}
		}
		l.mu.Lock()
		l.again++
		l.mu.Unlock()
		select {
		case <-stop:
			return nil, false
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// leave sends sessions, of our client and of other libraries, until stop. Two of
// three are erased, and then send their events again.
func (l *leaver) leave(stop <-chan struct{}, random *mathrand.Rand) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		secret := plan.NewSecret()
		id := string(plan.AppendID(nil, secret.ID(), n%2 == 0))
		events := []string{fmt.Sprintf(`{"user_id":%q,"event_type":"$identify","user_properties":{"$set":{"sgx_mode":"HW"}}}`, id)}
		for seq := range 1 + random.IntN(40) {
			insert := fmt.Sprintf("%s-%d", id, seq)
			if random.IntN(4) == 0 {
				insert = string(plan.AppendID(nil, plan.NewSecret().ID(), true))
			}
			events = append(events, fmt.Sprintf(`{"user_id":%q,"device_id":"linux/amd64","app_version":"0.7.0","event_type":"run_model","time":%d,"insert_id":%q,"event_properties":{"uptime":%d}}`,
				id, time.Now().UnixMilli(), insert, seq))
		}
		upload := fmt.Sprintf(`{"api_key":%q,"events":[%s]}`, apiKey, strings.Join(events, ","))
		if _, ok := l.ask(stop, "/2/httpapi", upload); !ok {
			continue
		}
		if n%3 == 0 {
			l.mu.Lock()
			l.kept = append(l.kept, secret.ID())
			l.mu.Unlock()
			continue
		}
		shown := fmt.Sprintf(`{"secret":%q}`, secret.Reveal())
		receipt, ok := l.ask(stop, "/v1/forget", shown)
		if !ok {
			continue
		}
		var r struct{ Payload, Signature string }
		if json.Unmarshal(receipt, &r) != nil || r.Payload == "" || r.Signature == "" {
			l.fault("no receipt: %s", receipt)
		}
		l.mu.Lock()
		l.erased = append(l.erased, secret.ID())
		l.mu.Unlock()
		if _, ok := l.ask(stop, "/2/httpapi", upload); !ok { // late arrivals
			continue
		}
		if answer, ok := l.ask(stop, "/v1/show", shown); ok && !bytes.Contains(answer, []byte(`"apps":[]`)) {
			l.fault("an erased session is shown: %s", answer)
		}
	}
}

// TestKillWhileErasing kills the collector at random points while sessions come and
// are erased: whoever has a receipt is never shown again, and after a graceful stop
// no byte of any file has the id, while those that were kept are all there.
func TestKillWhileErasing(t *testing.T) {
	c := newMortal(t)
	people := &leaver{url: "http://" + c.addr}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { people.leave(stop, mathrand.New(mathrand.NewPCG(seed, uint64(i+1)))) })
	}
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	for range max(kills(t)/4, 1) {
		time.Sleep(time.Duration(50+random.IntN(400)) * time.Millisecond)
		c.kill()
	}
	close(stop)
	wg.Wait()
	for _, fault := range people.faults {
		t.Error(fault)
	}
	if len(people.erased) < 10 || len(people.kept) < 5 || people.again == 0 {
		t.Fatalf("%d sessions were erased, %d kept, %d requests sent again: the test has not tested anything", len(people.erased), len(people.kept), people.again)
	}

	events, err := c.export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exported := map[plan.ID]bool{}
	for _, e := range events {
		id, _, _ := plan.ParseID([]byte(fmt.Sprint(e["user_id"])))
		exported[id] = true
	}
	ends(t, c.process)
	var files bytes.Buffer
	err = filepath.WalkDir(c.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if strings.HasPrefix(d.Name(), ".new-") {
			t.Errorf("a killed process has left %s", d.Name())
		}
		b, err := os.ReadFile(path)
		files.Write(b)
		files.WriteByte(0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range people.erased {
		if exported[id] || storetest.Holds(files.Bytes(), id) {
			t.Errorf("a session with a receipt is still there: exported %v", exported[id])
		}
	}
	for _, id := range people.kept {
		if !exported[id] || !storetest.Holds(files.Bytes(), id) {
			t.Errorf("a session that was kept is gone: exported %v", exported[id])
		}
	}
	t.Logf("%d sessions erased, %d kept, %d requests sent again; %d bytes of files searched", len(people.erased), len(people.kept), people.again, files.Len())
}
