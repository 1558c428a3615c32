package collector

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// show asks for all that is stored of the session of a secret.
func (r *rig) show(secret plan.Secret) (int, string) {
	r.t.Helper()
	return r.do("POST", "/v1/show", fmt.Sprintf(`{"secret":%q}`, secret.Reveal()))
}

// TestShow: all of the session and nothing of another, in every app.
func TestShow(t *testing.T) {
	at := &clock{time.Date(2026, 11, 24, 2, 36, 2, 0, time.UTC)}
	r := &rig{t: t, dir: t.TempDir(), now: at.now}
	r.open()
	t.Cleanup(r.close)
	keys, err := r.c.Apps().Add(t.Context(), "coffee", otherPlan(t, "x"))
	if err != nil {
		t.Fatal(err)
	}
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(event(id, 0), event(idA, 0), event(id, 1))
	r.mustUploadTo(keys.API, bought(id, 7), bought(idA, 8))

	want := func(want string) {
		t.Helper()
		status, body := r.show(secret)
		if got := strings.ReplaceAll(body, id, "ID"); status != 200 || got != want {
			t.Errorf("got %d\n%swant\n%s", status, got, want)
		}
	}
	line := func(n int) string {
		return fmt.Sprintf(`{"event_type":"run_model","$insert_id":"ID-%[1]d","insert_id":"ID-%[1]d","user_id":"ID","event_time":"2026-11-23 13:54:53.123000",`+
			`"client_event_time":"2026-11-23 13:54:53.123000","server_received_time":"2026-11-24 02:36:02.000000","server_upload_time":"2026-11-24 02:36:02.000000",`+
			`"time":1795442093123,"app_version":"0.7.0","device_id":"linux/amd64","version_name":"0.7.0","user_properties":{"sgx_mode":"SW"},"event_properties":{"uptime":%[1]d}}`, n)
	}
	blindai := `{"app":"blindai","session":{"user_id":"ID","app_version":"0.7.0","device_id":"linux/amd64","sgx_mode":"SW"},"events":[` + line(0) + `,` + line(1) + `]}`
	coffee := `{"app":"coffee","session":{"user_id":"ID","tier":"paid"},"events":[{"event_type":"bought","$insert_id":"ID-7","insert_id":"ID-7","user_id":"ID",` +
		`"event_time":"2026-11-23 13:54:53.123000","client_event_time":"2026-11-23 13:54:53.123000","server_received_time":"2026-11-24 02:36:02.000000",` +
		`"server_upload_time":"2026-11-24 02:36:02.000000","time":1795442093123,"user_properties":{"tier":"paid"},"event_properties":{"items":7}}]}`
	const head = `{"time":"2026-11-24T02:36:02Z","recipients":[],"recipients_stated":false,"apps":[`
	want(head + blindai + `,` + coffee + "]}\n")

	// What a removed app has left is shown too, and erased.
	if err := r.c.Apps().Remove(t.Context(), "coffee"); err != nil {
		t.Fatal(err)
	}
	want(head + blindai + `,` + coffee + "]}\n")
	r.close()
	r.open()
	want(head + blindai + `,` + coffee + "]}\n")
	if e, body := r.mustForget(secret); len(e.Erased) != 2 {
		t.Errorf("the receipt is %s, want two apps", body)
	}
	want(strings.Replace(head, "false", "true", 1) + "]}\n")

	for _, body := range []string{"", "canary", `{}`, `{"secret":"canary"}`, `{"secret":"` + idA + `"}`} {
		if status, answer := r.do("POST", "/v1/show", body); status != 400 || strings.Contains(answer, "canary") || strings.Contains(answer, idA) {
			t.Errorf("a body of %d bytes is answered %d %s", len(body), status, answer)
		}
	}
}

// TestShowMuch: a session of more than a page of the store is shown whole, in
// order, in pieces.
func TestShowMuch(t *testing.T) {
	r := newRig(t)
	secret := plan.NewSecret()
	const n = 12_000
	for from := 0; from < n; from += 2000 {
		var es []string
		for i := range 2000 {
			es = append(es, event(secret.ID().String(), from+i))
		}
		r.mustUpload(es...)
	}
	w := &pieces{ResponseRecorder: httptest.NewRecorder()}
	r.c.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/v1/show", strings.NewReader(fmt.Sprintf(`{"secret":%q}`, secret.Reveal()))))
	var answer struct {
		Apps []struct {
			Events []struct {
				EventProperties struct{ Uptime int } `json:"event_properties"`
			}
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.Apps) != 1 || len(answer.Apps[0].Events) != n {
		t.Fatalf("got %d bytes, %v, want %d events of one app", w.Body.Len(), err, n)
	}
	for i, e := range answer.Apps[0].Events {
		if e.EventProperties.Uptime != i {
			t.Fatalf("event %d is at place %d", e.EventProperties.Uptime, i)
		}
	}
	if w.largest > 2*showChunk {
		t.Errorf("%d bytes were gathered before they were sent", w.largest)
	}
}

// pieces notes how much is written at once.
type pieces struct {
	*httptest.ResponseRecorder
	largest int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.largest = max(p.largest, len(b))
	return p.ResponseRecorder.Write(b)
}

// TestShowIdentified: what a sender has said of itself once is stored too, so it is
// shown, and erased, whether an event of it has come or not.
func TestShowIdentified(t *testing.T) {
	r := newRig(t)
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(identify(id, `{"$set":{"sgx_mode":"HW"}}`), identify(idA, `{"$set":{"sgx_mode":"SW"}}`))
	shown := func(want string) {
		t.Helper()
		if status, body := r.show(secret); status != 200 || !strings.Contains(strings.ReplaceAll(body, id, "ID"), want) {
			t.Errorf("got %d %s, want %s", status, body, want)
		}
	}
	shown(`"apps":[{"app":"blindai","session":{"user_id":"ID"},"events":[],"identified":{"sgx_mode":"HW"}}]}`)
	r.mustUpload(bare(id, 0))
	shown(`"event_properties":{"uptime":0}}],"identified":{"sgx_mode":"HW"}}]}`)

	e, body := r.mustForget(secret)
	if want := (ErasedApp{App: "blindai", Events: 1, Sessions: 1, Properties: 1}); len(e.Erased) != 1 || e.Erased[0] != want || e.Before {
		t.Errorf("the receipt is %s, want %+v", body, want)
	}
	shown(`"apps":[]}`)
	if e, body := r.mustForget(secret); len(e.Erased) != 0 || !e.Before {
		t.Errorf("the second receipt is %s, want nothing, and that it was erased before", body)
	}

	// One that has sent nothing else is erased all the same.
	other := plan.NewSecret()
	r.mustUpload(identify(other.ID().String(), `{"$set":{"sgx_mode":"HW"}}`))
	if e, body := r.mustForget(other); len(e.Erased) != 1 || e.Erased[0] != (ErasedApp{App: "blindai", Properties: 1}) {
		t.Errorf("the receipt is %s, want a property", body)
	}
}

// An endlessStore has one event of every sender, and of one sender no end of them.
// It is a fake.
type endlessStore struct {
	recorder
	of plan.ID
}

func (s *endlessStore) Holds(context.Context, string, plan.ID) (bool, error) { return true, nil }

func (s *endlessStore) List(ctx context.Context, l store.Listing, yield func(*store.Record) error) error {
	session, event := len(events.Plan().SessionColumns()), len(events.Plan().EventColumns())
	for n := 0; n == 0 || l.ID == s.of; n++ {
		r := store.Record{ID: l.ID, Insert: store.InsertID{Own: true, Seq: int64(n)}, Session: make([]plan.Value, session), Own: make([]plan.Value, event)}
		if err := cmp.Or(ctx.Err(), yield(&r)); err != nil {
			return err
		}
	}
	return nil
}

// TestSlowReadersDoNotKeepOthersOut: those that take nothing in hold all the places
// there are; who comes next is told to come back, and after a while gets the place of
// the first.
func TestSlowReadersDoNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endless, small := plan.NewSecret(), plan.NewSecret()
		c, p := servePipe(t, &endlessStore{of: endless.ID()})
		ask := func(secret plan.Secret) net.Conn {
			mine, theirs := net.Pipe()
			p <- theirs
			body := fmt.Sprintf(`{"secret":%q}`, secret.Reveal())
			fmt.Fprintf(mine, "POST /v1/show HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
			return mine
		}
		answer := func(conn net.Conn) (status int, err error) {
			defer conn.Close()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				return 0, err
			}
			b, err := io.ReadAll(res.Body)
			if res.StatusCode == 200 && !strings.HasSuffix(string(b), "]}\n") {
				err = errors.Join(err, errors.New("the answer has no end"))
			}
			return res.StatusCode, err
		}
		var slow []net.Conn
		for range maxShows {
			slow = append(slow, ask(endless))
			synctest.Wait()
		}
		if status, err := answer(ask(small)); status != 503 || err != nil {
			t.Errorf("while others have just begun to read: got %d, %v, want 503", status, err)
		}
		time.Sleep(slowShow)
		for range 3 {
			if status, err := answer(ask(small)); status != 200 || err != nil {
				t.Errorf("beside slow readers: got %d, %v, want all of it", status, err)
			}
		}
		if _, err := answer(slow[0]); err == nil {
			t.Error("who was first to be slow is answered whole")
		}
		// Nobody else wanted a place, so the second has what it has waited for, and
		// loses it where it takes no more of it in.
		if _, err := http.ReadResponse(bufio.NewReader(slow[1]), nil); err != nil {
			t.Errorf("who is slow and was not in the way: %v", err)
		}
		time.Sleep(showPatience + time.Second)
		synctest.Wait()
		c.showing.mu.Lock()
		held := c.showing.held
		c.showing.mu.Unlock()
		if held != 0 {
			t.Errorf("%d places are held when the patience is over", held)
		}
		for _, conn := range slow {
			conn.Close()
		}
	})
}
