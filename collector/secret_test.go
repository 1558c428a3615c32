package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A clock is set by hand.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

// TestForgetFlood: secrets that fit nothing are taken up to a limit and leave
// nothing beyond it, and who has a session here is erased all the same.
func TestForgetFlood(t *testing.T) {
	at := &clock{time.Now()}
	r := &rig{t: t, dir: t.TempDir(), now: at.now}
	r.open()
	t.Cleanup(r.close)
	rightful, late, erased := plan.NewSecret(), plan.NewSecret(), plan.NewSecret()
	r.mustUpload(event(rightful.ID().String(), 0), event(erased.ID().String(), 0))
	r.mustForget(erased)

	taken, last := 0, ""
	for range 3 * secretBurst {
		status, body := r.forget(plan.NewSecret())
		switch {
		case status == 200:
			taken++
		case status != 503 || !strings.Contains(body, `"code":503`) || !strings.Contains(body, "ask again later"):
			t.Fatalf("got %d %s", status, body)
		}
		last = body
	}
	if taken != secretBurst || r.tombstoned() != secretBurst+1 || r.folder.tombstones.len() != secretBurst+1 {
		t.Errorf("%d are taken, with %d tombstones, want %d and one more: %s", taken, r.tombstoned(), secretBurst, last)
	}

	// In the middle of it.
	if e, body := r.mustForget(rightful); len(e.Erased) != 1 {
		t.Errorf("the session that is here is not erased: %s", body)
	}
	for range 2 * secretBurst { // who has lost the answer asks again
		if e, body := r.mustForget(erased); len(e.Erased) != 0 {
			t.Fatalf("what was erased is erased again: %s", body)
		}
	}
	if r.tombstoned() != secretBurst+2 {
		t.Errorf("there are %d tombstones, want %d", r.tombstoned(), secretBurst+2)
	}
	r.wantCount(0)

	// One whose events have not come yet waits as long as it is told, and is let in.
	w := httptest.NewRecorder()
	body := fmt.Sprintf(`{"secret":%q}`, late.Reveal())
	r.c.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/v1/forget", strings.NewReader(body)))
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("got %d, Retry-After %q, want 503 and a second", w.Code, w.Header().Get("Retry-After"))
	}
	r.mustUpload(event(late.ID().String(), 0)) // what was sent away has left nothing
	r.wantCount(1)
	at.t = at.t.Add(time.Second)
	if status, _ := r.forget(plan.NewSecret()); status != 200 {
		t.Errorf("a second later: got %d", status)
	}
	if status, _ := r.forget(plan.NewSecret()); status != 503 {
		t.Errorf("a second later, the second one: got %d", status)
	}
	at.t = at.t.Add(-time.Hour) // a clock that is set back locks nobody out
	if status, _ := r.forget(plan.NewSecret()); status != 200 {
		t.Errorf("an hour earlier: got %d", status)
	}

	shown := r.scrape()
	if !strings.Contains(shown, fmt.Sprintf("blindai_collector_secrets_limited_total %d\n", 2*secretBurst+2)) {
		t.Error("the secrets that were sent away are not counted")
	}
}

// TestMostTombstones: a flood of years fills no disk, and keeps nobody out either.
func TestMostTombstones(t *testing.T) {
	r := newRig(t)
	r.c.mostTombstones = 3
	rightful := plan.NewSecret()
	r.mustUpload(event(rightful.ID().String(), 0))
	for n := range 5 {
		want := 200
		if n >= 3 {
			want = 503
		}
		if status, body := r.forget(plan.NewSecret()); status != want {
			t.Errorf("secret %d that fits nothing: got %d %s, want %d", n, status, body, want)
		}
	}
	if e, body := r.mustForget(rightful); len(e.Erased) != 1 || r.tombstoned() != 4 {
		t.Errorf("the session that is here: got %s, with %d tombstones", body, r.tombstoned())
	}
}

// TestForgetAtTheSameTime: who asks twice at once gets one receipt for what was
// erased and others for nothing, while events of the session go on coming.
func TestForgetAtTheSameTime(t *testing.T) {
	r := newRig(t)
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(event(id, 0), event(idA, 0))
	var wg sync.WaitGroup
	erased := make(chan ErasedApp, 100)
	for n := range 8 {
		wg.Go(func() {
			for seq := range 5 {
				if status, body := r.upload(event(id, 1+n*5+seq)); status != 200 {
					t.Errorf("got %d %s", status, body)
				}
				if status, _ := r.show(secret); status != 200 {
					t.Errorf("show: got %d", status)
				}
			}
		})
		wg.Go(func() {
			var receipt Receipt
			var e Erasure
			status, body := r.forget(secret)
			if json.Unmarshal([]byte(body), &receipt) != nil || json.Unmarshal([]byte(receipt.Payload), &e) != nil || status != 200 {
				t.Errorf("got %d %s", status, body)
			}
			for _, app := range e.Erased {
				erased <- app
			}
		})
	}
	wg.Wait()
	if len(erased) != 1 || (<-erased).Sessions != 1 {
		t.Error("not one receipt is for the session")
	}
	r.wantCount(1)
}

// TestShowFlood: to show costs no tombstone and has a limit of its own.
func TestShowFlood(t *testing.T) {
	at := &clock{time.Now()}
	r := &rig{t: t, dir: t.TempDir(), now: at.now}
	r.open()
	t.Cleanup(r.close)
	rightful := plan.NewSecret()
	r.mustUpload(event(rightful.ID().String(), 0))
	taken := 0
	for range 2 * secretBurst {
		if status, _ := r.show(plan.NewSecret()); status == 200 {
			taken++
		}
	}
	if taken != secretBurst || r.tombstoned() != 0 {
		t.Errorf("%d are taken, with %d tombstones, want %d and none", taken, r.tombstoned(), secretBurst)
	}
	if status, body := r.show(rightful); status != 200 || !strings.Contains(body, rightful.ID().String()) {
		t.Errorf("the session that is here is answered %d %s", status, body)
	}
	if status, _ := r.forget(plan.NewSecret()); status != 200 {
		t.Errorf("who asks to be erased is answered %d", status)
	}
}

// A stuckStore fails to erase, to list or look for senders, and to answer while it
// is told to. It is a fake.
type stuckStore struct {
	store.Store
	erase     string // from this app, or from "all"
	list, ask bool
	asked     int
}

// A countingStore counts how often it is asked to erase. It is a fake.
type countingStore struct {
	store.Store
	erases int
}

func (s *countingStore) Erase(ctx context.Context, app string, ids []plan.ID) ([]store.Erased, error) {
	s.erases++
	return s.Store.Erase(ctx, app, ids)
}

var errStuck = errors.New("stuck")

func (s *stuckStore) Erase(ctx context.Context, app string, ids []plan.ID) ([]store.Erased, error) {
	if s.erase == app || s.erase == "all" {
		return nil, errStuck
	}
	return s.Store.Erase(ctx, app, ids)
}

func (s *stuckStore) Holds(ctx context.Context, app string, id plan.ID) (bool, error) {
	if s.list {
		return false, errStuck
	}
	return s.Store.Holds(ctx, app, id)
}

func (s *stuckStore) List(ctx context.Context, l store.Listing, yield func(*store.Record) error) error {
	if s.list {
		return errStuck
	}
	return s.Store.List(ctx, l, yield)
}

func (s *stuckStore) Ask(ctx context.Context, q store.Question) (*store.Answer, error) {
	s.asked++
	if s.ask {
		return nil, errStuck
	}
	return s.Store.Ask(ctx, q)
}

// TestErasureThatFails: no receipt is given, and the same request ends it.
func TestErasureThatFails(t *testing.T) {
	stuck := &stuckStore{}
	r := newRigOver(t, func(s store.Store) store.Store { stuck.Store = s; return stuck })
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(event(id, 0), event(idA, 0))
	ask := func(path string) {
		t.Helper()
		w := httptest.NewRecorder()
		r.c.Handler().ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(fmt.Sprintf(`{"secret":%q}`, secret.Reveal()))))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "signature") || strings.Contains(w.Body.String(), "stuck") {
			t.Errorf("%s: got %d %s, want a 503 that says when to come again", path, w.Code, w.Body)
		}
	}
	stuck.list = true
	ask("/v1/forget")
	ask("/v1/show")
	stuck.list, stuck.erase = false, "all"
	ask("/v1/forget")
	r.mustUpload(event(id, 1)) // it is kept out already
	stuck.erase = ""
	if e, body := r.mustForget(secret); len(e.Erased) != 1 || e.Erased[0].Events != 1 {
		t.Errorf("the second request erased %s, want the event", body)
	}
	r.wantCount(1)
	if strings.Contains(r.log.String(), id) || strings.Contains(r.log.String(), secret.Reveal()) {
		t.Error("the log holds the id or the secret")
	}
}

// A halfStore breaks off the first erasure, as the store does when its disk fills
// up: nothing of the sender is listed any more, the next write ends the erasure,
// and who asks again is told what it has removed. It is a fake.
type halfStore struct {
	store.Store
	broken *sender
	ended  []store.Erased
}

func (s *halfStore) Erase(ctx context.Context, app string, ids []plan.ID) (counts []store.Erased, err error) {
	who := sender{app, ids[0]}
	switch {
	case s.broken == nil:
		s.broken = &who
		return nil, errStuck
	case *s.broken == who && s.ended != nil:
		counts, s.ended = s.ended, nil
		return counts, nil
	}
	return s.Store.Erase(ctx, app, ids)
}

func (s *halfStore) Holds(ctx context.Context, app string, id plan.ID) (bool, error) {
	has, err := s.Store.Holds(ctx, app, id)
	return has && (s.broken == nil || id != s.broken.id), err
}

func (s *halfStore) Append(ctx context.Context, app string, records []store.Record) (err error) {
	if s.broken != nil && s.ended == nil {
		if s.ended, err = s.Store.Erase(ctx, s.broken.app, []plan.ID{s.broken.id}); err != nil {
			return err
		}
	}
	return s.Store.Append(ctx, app, records)
}

func (s *halfStore) List(ctx context.Context, l store.Listing, yield func(*store.Record) error) error {
	return s.Store.List(ctx, l, func(r *store.Record) error {
		if s.broken != nil && r.ID == s.broken.id {
			return nil
		}
		return yield(r)
	})
}

// TestErasureEndedByAnotherWrite: the receipt has what was erased and who else has
// had it, though nothing was stored any more when the asker came again.
func TestErasureEndedByAnotherWrite(t *testing.T) {
	r := newRigOver(t, func(s store.Store) store.Store { return &halfStore{Store: s} })
	r.publish(&privacy.Facts{Recipients: []privacy.Recipient{{Name: "Hosting Ltd", Why: "runs the machine"}}})
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(event(id, 0), event(id, 1))
	if status, body := r.forget(secret); status != 503 {
		t.Fatalf("got %d %s, want 503", status, body)
	}
	r.mustUpload(event(idA, 0))
	e, body := r.mustForget(secret)
	if !slices.Equal(e.Erased, []ErasedApp{{App: "blindai", Events: 2, Sessions: 1}}) || !slices.Equal(e.Recipients, []string{"Hosting Ltd"}) {
		t.Errorf("the receipt is %s, want two events of a session, and the recipient", body)
	}
	if e, body := r.mustForget(secret); len(e.Erased) != 0 || !e.Before || !slices.Equal(e.Recipients, []string{"Hosting Ltd"}) {
		t.Errorf("the next receipt is %s, want nothing, that it was erased before, and the recipient", body)
	}
	r.wantCount(1)
}

// TestSlowSecretComesBack: whoever shows a secret too slowly is told so, and not that
// it is too long, which our client would take as final.
func TestSlowSecretComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := servePipe(t, new(recorder))
		s := p.dial()
		io.WriteString(s, "POST /v1/forget HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{")
		if res := <-s.answer; res == nil || res.StatusCode != 408 {
			t.Errorf("got %v, want 408", res)
		}
	})
}
