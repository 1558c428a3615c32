package collector

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// busy keeps the writer busy until free is called.
func (r *rig) busy() (free func()) {
	begun, end := make(chan struct{}), make(chan struct{})
	go r.c.writer.do(func() { close(begun); <-end })
	<-begun
	return sync.OnceFunc(func() { close(end) })
}

// waitFor waits for what another goroutine does.
func (r *rig) waitFor(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("after 30 s it is still not so that ", what)
		}
	}
}

// waiting returns how many erasures wait for the writer.
func (r *rig) waiting() int {
	r.c.erasures.mu.Lock()
	defer r.c.erasures.mu.Unlock()
	return len(r.c.erasures.waiting)
}

// TestWhoLeavesIsErased: an erasure that has begun does not depend on whether
// anybody waits for the answer. One that has not begun leaves nothing.
func TestWhoLeavesIsErased(t *testing.T) {
	r := newRig(t)
	secret := plan.NewSecret()
	r.mustUpload(event(secret.ID().String(), 0), event(idA, 0))
	ask := func(ctx context.Context) {
		w := httptest.NewRecorder()
		r.c.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", "/v1/forget", strings.NewReader(fmt.Sprintf(`{"secret":%q}`, secret.Reveal()))))
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	ask(gone)
	if n := r.tombstoned(); n != 0 {
		t.Fatalf("who had left before left %d tombstones", n)
	}
	r.wantCount(2)

	free := r.busy()
	defer free()
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan struct{})
	go func() { defer close(answered); ask(ctx) }()
	r.waitFor("the erasure waits", func() bool { return r.waiting() == 1 })
	leave()
	free()
	<-answered
	r.wantCount(1)
	if e, body := r.mustForget(secret); len(e.Erased) != 0 || !e.Before {
		t.Errorf("the next receipt is %s, want nothing, because it was erased before", body)
	}
}

// TestAnswersAboutSendersAreNotKept by any cache, out of which they would come back.
func TestAnswersAboutSendersAreNotKept(t *testing.T) {
	r := newRig(t)
	r.mustUpload(event(idA, 0))
	now := time.Now().UTC().Format(hourForm)
	secret := fmt.Sprintf(`{"secret":%q}`, plan.NewSecret().Reveal())
	for _, a := range []struct{ method, path, body string }{
		{"POST", "/v1/show", secret}, {"POST", "/v1/forget", secret}, {"GET", "/api/2/export?start=" + now + "&end=" + now, ""},
		{"GET", "/api/2/deletions/users?start_day=2026-11-01&end_day=2026-11-30", ""}, {"POST", "/api/2/deletions/users", `{"user_ids":["` + idB + `"]}`},
	} {
		req := httptest.NewRequest(a.method, a.path, strings.NewReader(a.body))
		auth(req)
		w := httptest.NewRecorder()
		r.c.Handler().ServeHTTP(w, req)
		if w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s is answered %d, Cache-Control %q", a.method, a.path, w.Code, w.Header().Get("Cache-Control"))
		}
	}
}

// TestErasuresTogether: those that wait at the same moment are one step, and each
// has a receipt of its own.
func TestErasuresTogether(t *testing.T) {
	counted := &countingStore{}
	r := newRigOver(t, func(s store.Store) store.Store { counted.Store = s; return counted })
	const n = 50
	secrets := make([]plan.Secret, n)
	for i := range secrets {
		secrets[i] = plan.NewSecret()
		for seq := range i%3 + 1 {
			r.mustUpload(event(secrets[i].ID().String(), seq))
		}
	}
	r.mustUpload(event(idA, 0))
	free := r.busy()
	defer free()
	var wg sync.WaitGroup
	for i, secret := range secrets {
		wg.Go(func() {
			e, body := r.mustForget(secret)
			if want := []ErasedApp{{App: "blindai", Events: int64(i%3 + 1), Sessions: 1}}; !slices.Equal(e.Erased, want) || e.Before {
				t.Errorf("the receipt is %s, want %v", body, want)
			}
		})
	}
	r.waitFor("all erasures wait", func() bool { return r.waiting() == n })
	free()
	wg.Wait()
	r.wantCount(1)
	if counted.erases != 1 {
		t.Errorf("the store was asked to erase %d times, want once", counted.erases)
	}
	if got := r.tombstoned(); got != n {
		t.Errorf("there are %d tombstones, want %d", got, n)
	}
}

// TestReceiptTellsWhatWasErasedBefore: of two apps one cannot be erased from at the
// first try. The receipt of the second one has both, and who else has had the events.
func TestReceiptTellsWhatWasErasedBefore(t *testing.T) {
	stuck := &stuckStore{}
	r := newRigOver(t, func(s store.Store) store.Store { stuck.Store = s; return stuck })
	keys, err := r.c.Apps().Add(t.Context(), "coffee", otherPlan(t, "x"))
	if err != nil {
		t.Fatal(err)
	}
	r.publish(&privacy.Facts{Recipients: []privacy.Recipient{{Name: "Hosting Ltd", Why: "runs the machine"}}})
	secret := plan.NewSecret()
	r.mustUpload(event(secret.ID().String(), 0), event(secret.ID().String(), 1))
	r.mustUploadTo(keys.API, bought(secret.ID().String(), 1))
	stuck.erase = "coffee"
	if status, body := r.forget(secret); status != 503 {
		t.Fatalf("got %d %s, want 503", status, body)
	}
	stuck.erase = ""
	e, body := r.mustForget(secret)
	slices.SortFunc(e.Erased, func(a, b ErasedApp) int { return strings.Compare(a.App, b.App) })
	want := []ErasedApp{{App: "blindai", Events: 2, Sessions: 1}, {App: "coffee", Events: 1, Sessions: 1}}
	if !slices.Equal(e.Erased, want) || !slices.Equal(e.Recipients, []string{"Hosting Ltd"}) || e.RecipientsStated || e.Before {
		t.Errorf("the receipt is %s, want both apps, the recipient, and that those of coffee are not stated", body)
	}
	if e, body := r.mustForget(secret); len(e.Erased) != 0 || !e.Before || !slices.Equal(e.Recipients, []string{"Hosting Ltd"}) {
		t.Errorf("the next receipt is %s, want nothing, that it was erased before, and the recipient", body)
	}
}

// TestRequestsThatOutliveTheCollector are refused, and leave nothing half done.
func TestRequestsThatOutliveTheCollector(t *testing.T) {
	r := newRig(t)
	secret := plan.NewSecret()
	r.mustUpload(event(secret.ID().String(), 0))
	r.c.Close()
	if status, body := r.forget(secret); status != 503 {
		t.Errorf("forget: got %d %s, want 503", status, body)
	}
	if status, body := r.upload(event(idA, 0)); status != 503 {
		t.Errorf("upload: got %d %s, want 503", status, body)
	}
	if status, body := r.do("POST", "/api/2/deletions/users", `{"user_ids":["`+idA+`"]}`, auth); status != 503 {
		t.Errorf("deletion: got %d %s, want 503", status, body)
	}
	if _, err := r.c.Apps().Add(t.Context(), "coffee", otherPlan(t, "x")); err == nil {
		t.Error("an app was added to a collector that has ended")
	}
	if n := r.tombstoned(); n != 0 || strings.Contains(r.log.String(), "ERROR") {
		t.Errorf("%d tombstones are left, and the log says %s", n, &r.log)
	}
	r.store.Close()
	r.folder.Close()
	r.open() // for the cleanup
	r.wantCount(1)
}
