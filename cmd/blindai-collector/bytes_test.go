package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/collector"
	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestErasedBytes runs the collector as serve does, erases one sender by its
// secret and another by the deletion API, and stops it with a signal's manners.
// Then no byte of any file, of the log or of what was printed is left of their
// ids and of the insert ids of their events, while those of a sender that stays
// are found by the same search.
func TestErasedBytes(t *testing.T) {
	t.Setenv(apiKeyVar, "key")
	t.Setenv(secretKeyVar, "secret")
	dir := t.TempDir()
	var printed, logged lockedBuffer
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, serveOptions{listen: "127.0.0.1:0", data: dir, out: &printed, log: slog.New(slog.NewTextHandler(&logged, nil)), limits: collector.Limits{}})
	}()
	url := ""
	for url == "" {
		if m := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(printed.String()); m != "" {
			url = m
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	do := func(path, body string) string {
		t.Helper()
		req, err := http.NewRequest("POST", url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.SetBasicAuth("key", "secret")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s is answered %d %s, %v", path, resp.StatusCode, b, err)
		}
		return string(b)
	}
	// One whose events are numbered, one with UUIDs all over, and one that stays
	// and has both.
	const events = 500
	inserts := map[plan.ID][]plan.ID{}
	upload := func(id plan.ID, own, foreign bool) {
		t.Helper()
		var all []string
		add := func(insert string) {
			all = append(all, fmt.Sprintf(`{"user_id":%q,"device_id":"linux/amd64","app_version":"1.2.3","event_type":"run_model",`+
				`"user_properties":{"sgx_mode":"SW"},"time":%d,"insert_id":%q,"event_properties":{"uptime":3}}`, id, time.Now().UnixMilli(), insert))
		}
		for n := range events {
			if own {
				add(fmt.Sprintf("%s-%d", id, n))
			}
			if foreign {
				insert := plan.NewSecret().ID() // 16 random bytes
				inserts[id] = append(inserts[id], insert)
				add(string(plan.AppendID(nil, insert, true)))
			}
		}
		do("/2/httpapi", `{"api_key":"key","events":[`+strings.Join(all, ",")+`]}`)
	}
	secret, other, stays := plan.NewSecret(), plan.NewSecret().ID(), plan.NewSecret().ID()
	upload(secret.ID(), true, false)
	upload(other, false, true)
	upload(stays, true, true)
	do("/v1/show", fmt.Sprintf(`{"secret":%q}`, secret.Reveal())) // has all rows loaded
	if got := do("/v1/forget", fmt.Sprintf(`{"secret":%q}`, secret.Reveal())); !strings.Contains(got, fmt.Sprintf(`\"events\":%d`, events)) {
		t.Errorf("the receipt of %d events is %s", events, got)
	}
	do("/api/2/deletions/users", fmt.Sprintf(`{"user_ids":[%q]}`, other))
	upload(secret.ID(), true, false) // late arrivals
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	output := printed.String() + logged.String()
	found := func(id plan.ID) []string {
		places := storetest.Traces(t, dir, id)
		if storetest.Holds([]byte(output), id) {
			places = append(places, "the output")
		}
		return places
	}
	for name, id := range map[string]plan.ID{"erased by its secret": secret.ID(), "erased by the API": other} {
		if places := found(id); len(places) > 0 {
			t.Errorf("the id of the sender %s is in %v", name, places)
		}
	}
	for _, insert := range inserts[other] {
		if places := found(insert); len(places) > 0 {
			t.Errorf("an insert id of the erased sender is in %v", places)
		}
	}
	if places := found(stays); !slices.Equal(places, []string{"ids"}) {
		t.Errorf("the id of the sender that stays is in %v, want it in ids alone", places)
	}
	if places := found(inserts[stays][7]); !slices.Equal(places, []string{"events.duckdb"}) {
		t.Errorf("an insert id of the sender that stays is in %v, want it in the database", places)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(output, secret.Reveal()) || len(files) < 6 {
		t.Errorf("the output has the secret, or too little was searched: %d files", len(files))
	}
}

// A lockedBuffer is written while it is read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
