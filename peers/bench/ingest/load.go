package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	connections = 64
	sessions    = 20 // in a batch
	perSession  = 50
	batch       = sessions * perSession
	apiKey      = "bench-api-key"
)

// A producer makes the batches of one connection: 20 sessions of its own, each
// with its events in order.
type producer struct {
	ids     [sessions]string
	first   int
	foreign bool
	body    []byte
}

func newProducer(foreign bool) *producer {
	p := &producer{foreign: foreign}
	for i := range p.ids {
		p.ids[i] = randomID()
	}
	return p
}

func randomID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func uuid() string {
	s := randomID()
	return s[:8] + "-" + s[8:12] + "-4" + s[13:16] + "-a" + s[17:20] + "-" + s[20:]
}

// next returns the next batch; it is valid until the next call. After 2,000
// events of a session another one begins, as servers are started anew.
func (p *producer) next() []byte {
	if p.first >= 2000 {
		*p = producer{foreign: p.foreign, body: p.body, ids: newProducer(false).ids}
	}
	b := append(p.body[:0], `{"api_key":"`+apiKey+`","events":[`...)
	for i, id := range p.ids {
		for n := p.first; n < p.first+perSession; n++ {
			if i > 0 || n > p.first {
				b = append(b, ',')
			}
			b = appendEvent(b, id, n, p.foreign)
		}
	}
	p.first += perSession
	p.body = append(b, "]}"...)
	return p.body
}

// appendEvent appends event n of a session as our client writes it.
func appendEvent(b []byte, id string, n int, foreign bool) []byte {
	name := "run_model"
	switch {
	case n == 0:
		name = "started"
	case n%10 == 1:
		name = "send_model"
	}
	b = append(b, `{"user_id":"`...)
	b = append(b, id...)
	b = append(b, `","app_version":"0.7.1","device_id":"linux/amd64","event_type":"`...)
	b = append(b, name...)
	b = append(b, `","user_properties":{"sgx_mode":"SW"},"time":`...)
	b = strconv.AppendInt(b, time.Now().UnixMilli(), 10)
	b = append(b, `,"insert_id":"`...)
	if foreign {
		b = append(b, uuid()...)
	} else {
		b = append(append(b, id...), '-')
		b = strconv.AppendInt(b, int64(n), 10)
	}
	b = append(b, `","event_properties":{"uptime":`...)
	b = strconv.AppendInt(b, int64(n*3), 10)
	if name == "send_model" {
		b = append(b, `,"model_size":`...)
		b = strconv.AppendInt(b, int64(20_000_000+n*977), 10)
	}
	return append(b, "}}"...)
}

// measure starts a collector, sends it events, at most rate a second if rate is
// not 0, and stops it. CPU time and memory are the process's own, from its start
// to its graceful end, with the checkpoint that it ends with.
func measure(bin string, events int, foreign bool, rate float64) (result, error) {
	if _, err := os.Stat(bin); err != nil {
		return result{}, errors.New("the collector is not built; run make build first")
	}
	dir, err := os.MkdirTemp("", "ingest-")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "data")
	cmd := exec.Command(bin, "serve", "--listen", "127.0.0.1:0", "--data", data)
	cmd.Env = append(os.Environ(), "COLLECTOR_API_KEY="+apiKey, "COLLECTOR_SECRET_KEY=secret")
	out := &output{seen: make(chan string, 1)}
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	var url string
	select {
	case url = <-out.seen:
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		return result{}, errors.New("the collector is not ready")
	}
	start := time.Now()
	times, err := send(url, events, foreign, rate)
	wall := time.Since(start)
	cmd.Process.Signal(syscall.SIGTERM)
	if werr := cmd.Wait(); err == nil && werr != nil {
		err = fmt.Errorf("end the collector: %w", werr)
	}
	if err != nil {
		return result{}, err
	}
	size := int64(0)
	err = filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, ierr := d.Info()
			if ierr != nil {
				return ierr
			}
			size += info.Size()
		}
		return err
	})
	n := float64(len(times) * batch)
	slices.Sort(times)
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return result{
		perCPU: n / cpu.Seconds(), wall: n / wall.Seconds(),
		p50: times[len(times)/2], p99: times[len(times)*99/100],
		memory: usage.Maxrss << 10, perEvent: float64(size) / n,
	}, err
}

// output finds the address in what the collector prints.
type output struct {
	text strings.Builder
	seen chan string
	done bool
}

var consoleLine = regexp.MustCompile(`(?m)^  console +(http\S+)/$`)

func (o *output) Write(b []byte) (int, error) {
	o.text.Write(b)
	if m := consoleLine.FindStringSubmatch(o.text.String()); m != nil && !o.done {
		o.done = true
		o.seen <- m[1]
	}
	return len(b), nil
}

// send sends events over all connections and returns how long each batch took to
// be acknowledged.
func send(url string, events int, foreign bool, rate float64) ([]time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}}
	var (
		left  atomic.Int64
		wg    sync.WaitGroup
		mu    sync.Mutex
		times []time.Duration
		fault error
	)
	left.Store(int64((events + batch - 1) / batch))
	// With a rate each connection sends in its own turn: independent senders do
	// not all send at one moment.
	var period time.Duration
	if rate > 0 {
		period = time.Duration(float64(batch*connections) / rate * float64(time.Second))
	}
	for i := range connections {
		wg.Go(func() {
			p := newProducer(foreign)
			var own []time.Duration
			next := time.Now().Add(period * time.Duration(i) / connections)
			for left.Add(-1) >= 0 {
				body := p.next()
				if rate > 0 {
					time.Sleep(time.Until(next))
					next = next.Add(period)
				}
				start := time.Now()
				err := post(client, url, body)
				if err != nil {
					mu.Lock()
					fault = err
					mu.Unlock()
					return
				}
				own = append(own, time.Since(start))
			}
			mu.Lock()
			times = append(times, own...)
			mu.Unlock()
		})
	}
	wg.Wait()
	return times, fault
}

func post(client *http.Client, url string, body []byte) error {
	resp, err := client.Post(url+"/2/httpapi", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a batch is answered %d", resp.StatusCode)
	}
	return nil
}
