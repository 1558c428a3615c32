package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/duckdb"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// otherPlan is a plan unlike BlindAI's, of an app called name.
func otherPlan(t *testing.T, name string) *plan.Plan {
	t.Helper()
	p := &plan.Plan{
		App: name, Version: 1, Identity: "user_id",
		Fields: []plan.Field{
			{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp},
			{Name: "tier", In: plan.UserProperties, Kind: plan.Enum, Values: []string{"free", "paid"}, Session: true},
		},
		Events: []plan.Event{
			{Name: "bought", Fields: []plan.Field{{Name: "items", In: plan.EventProperties, Kind: plan.Count}}},
			{Name: "left", Fields: []plan.Field{{Name: "stayed", In: plan.EventProperties, Kind: plan.Seconds}}},
		},
	}
	if err := plan.Check(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// grownPlan is the next version of otherPlan. Its new fields are put in front,
// so that every column moves.
func grownPlan(t *testing.T, name string, version int) *plan.Plan {
	t.Helper()
	p := otherPlan(t, name)
	p.Version = version
	p.Fields = append([]plan.Field{{Name: "beta", In: plan.UserProperties, Kind: plan.Flag, Session: true}}, p.Fields...)
	p.Events[0].Fields = append([]plan.Field{{Name: "gifts", In: plan.EventProperties, Kind: plan.Count}}, p.Events[0].Fields...)
	p.Events = append(p.Events, plan.Event{Name: "returned"})
	if err := plan.Check(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// bought writes an event of otherPlan.
func bought(id string, seq int) string {
	return fmt.Sprintf(`{"user_id":%q,"event_type":"bought","time":1795442093123,"insert_id":"%s-%d","user_properties":{"tier":"paid"},"event_properties":{"items":%d}}`,
		id, id, seq, seq)
}

func (r *rig) uploadTo(key string, events ...string) (int, string) {
	r.t.Helper()
	return r.do("POST", "/2/httpapi", fmt.Sprintf(`{"api_key":%q,"events":[%s]}`, key, strings.Join(events, ",")))
}

func (r *rig) mustUploadTo(key string, events ...string) {
	r.t.Helper()
	if status, body := r.uploadTo(key, events...); status != 200 {
		r.t.Fatalf("the upload is answered %d %s", status, body)
	}
}

// serveCommands listens on the folder's socket until the test ends.
func (r *rig) serveCommands() {
	r.t.Helper()
	l, err := r.folder.Listen()
	if err != nil {
		r.t.Fatal(err)
	}
	srv := &http.Server{Handler: r.c.AdminHandler()}
	go srv.Serve(l)
	r.t.Cleanup(func() { srv.Shutdown(context.Background()) })
}

func openApps(t *testing.T, dir string) Apps {
	t.Helper()
	apps, err := OpenApps(t.Context(), dir, duckdb.Open)
	if err != nil {
		t.Fatal(err)
	}
	return apps
}

// TestManageApps runs the same orders on a running collector, by its socket, and on a
// folder.
func TestManageApps(t *testing.T) {
	t.Run("running", func(t *testing.T) { testManage(t, newRig(t).c.Apps()) })
	t.Run("socket", func(t *testing.T) {
		r := newRig(t)
		r.serveCommands()
		apps := openApps(t, r.dir)
		if _, ok := apps.(*remote); !ok {
			t.Fatalf("got a %T for a running collector", apps)
		}
		testManage(t, apps)
		for _, secret := range []string{"secret_key", "Secret"} {
			if strings.Contains(r.log.String(), secret) {
				t.Errorf("the log holds keys: %s", &r.log)
			}
		}
	})
	t.Run("folder", func(t *testing.T) {
		r := &rig{t: t, dir: t.TempDir()}
		r.open()
		r.close()
		testManage(t, openApps(t, r.dir))

		// What was done is what a collector then starts with.
		r.open()
		defer r.close()
		if a := r.folder.App("tea"); a == nil || a.Plan.Version != 2 || r.folder.App("coffee") != nil {
			t.Error("the collector starts with other apps")
		}
	})
}

func testManage(t *testing.T, apps Apps) {
	ctx := t.Context()
	wantApps := func(want string) {
		t.Helper()
		all, err := apps.List(ctx)
		got := ""
		for _, a := range all {
			got += fmt.Sprint(a.Name, " ", a.Plan, ",")
		}
		if err != nil || got != want {
			t.Errorf("the apps are %s (%v), want %s", got, err, want)
		}
	}
	fails := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	coffee, err := apps.Add(ctx, "coffee", otherPlan(t, "x"))
	if err != nil || len(coffee.API) != 32 || len(coffee.Secret) != 32 || coffee.API == coffee.Secret {
		t.Fatalf("add: got keys of %d and %d digits, %v", len(coffee.API), len(coffee.Secret), err)
	}
	if _, err := apps.Add(ctx, "tea", otherPlan(t, "x")); err != nil {
		t.Fatal(err)
	}
	wantApps("blindai 1,coffee 1,tea 1,")
	if err := apps.Publish(ctx, "tea", &privacy.Facts{Controller: "Tea Ltd", Recipients: []privacy.Recipient{}}); err != nil {
		t.Error(err)
	}
	wantFacts := func(name string, version int, want string) {
		t.Helper()
		d, err := apps.Describe(ctx, name)
		if err != nil || d.Plan.App != name || d.Plan.Version != version {
			t.Fatalf("describe %s: got %+v, %v", name, d, err)
		}
		if got, err := json.Marshal(d.Facts); string(got) != want {
			t.Errorf("the facts of %s are %s (%v), want %s", name, got, err, want)
		}
	}
	tea := `{"controller":"Tea Ltd","recipients":[],"retention":{}}`
	wantFacts("tea", 1, tea)
	wantFacts("coffee", 1, "null")
	fails("publish of no app", apps.Publish(ctx, "juice", &privacy.Facts{}), ErrNoApp)
	_, err = apps.Describe(ctx, "juice")
	fails("describe no app", err, ErrNoApp)
	if err := apps.Publish(ctx, "tea", &privacy.Facts{Controller: "two\nlines"}); err == nil {
		t.Error("faulty facts are taken")
	}
	_, err = apps.Add(ctx, "coffee", otherPlan(t, "x"))
	fails("add a name twice", err, ErrAppExists)
	if _, err = apps.Add(ctx, "../tea", otherPlan(t, "x")); err == nil || strings.Contains(err.Error(), "../tea") {
		t.Errorf("add a name of the wrong form: got %v, want an error without it", err)
	}

	info, err := apps.Update(ctx, "tea", grownPlan(t, "x", 2))
	if err != nil || info.Name != "tea" || info.Plan != 2 || info.APIKey == "" {
		t.Errorf("update: got %v, %v", info, err)
	}
	if _, err := apps.Update(ctx, "tea", grownPlan(t, "x", 2)); err != nil {
		t.Errorf("update to the same plan: %v", err)
	}
	more := grownPlan(t, "x", 2)
	more.Events = append(more.Events, plan.Event{Name: "waved"})
	_, err = apps.Update(ctx, "tea", more)
	fails("update without a new version", err, ErrPlanVersion)
	_, err = apps.Update(ctx, "tea", otherPlan(t, "x"))
	fails("update to an old version", err, ErrPlanVersion)
	less := otherPlan(t, "x")
	less.Version = 3
	_, err = apps.Update(ctx, "tea", less)
	fails("update to a plan that takes away", err, store.ErrPlan)
	_, err = apps.Update(ctx, "milk", otherPlan(t, "x"))
	fails("update no app", err, ErrNoApp)
	wantApps("blindai 1,coffee 1,tea 2,")

	keys, err := apps.Rotate(ctx, "coffee", false, true)
	if err != nil || keys.API != "" || len(keys.Secret) != 32 || keys.Secret == coffee.Secret {
		t.Errorf("rotate the secret key: got %d and %d digits, %v", len(keys.API), len(keys.Secret), err)
	}
	keys, err = apps.Rotate(ctx, "coffee", true, false)
	if err != nil || keys.Secret != "" || len(keys.API) != 32 || keys.API == coffee.API {
		t.Errorf("rotate the API key: got %d and %d digits, %v", len(keys.API), len(keys.Secret), err)
	}
	_, err = apps.Rotate(ctx, "", true, true)
	fails("rotate no app", err, ErrNoApp)

	if err := apps.Remove(ctx, "coffee"); err != nil {
		t.Error(err)
	}
	fails("remove twice", apps.Remove(ctx, "coffee"), ErrNoApp)
	wantFacts("tea", 2, tea) // whatever else has changed
	wantApps("blindai 1,tea 2,")
	less.Version = 1
	less.Events = less.Events[:1]
	_, err = apps.Add(ctx, "coffee", less)
	fails("add with a plan that does not fit what is stored", err, store.ErrPlan)
	wantApps("blindai 1,tea 2,")
	if err := apps.Close(); err != nil {
		t.Error(err)
	}
}

// TestAppsDoNotSeeEachOther: each app has its plan, its ids, its senders, and
// its keys, though all of them may be written the same.
func TestAppsDoNotSeeEachOther(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	shop, err := r.c.Apps().Add(ctx, "shop", otherPlan(t, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	cafe, err := r.c.Apps().Add(ctx, "cafe", otherPlan(t, "cafe"))
	if err != nil {
		t.Fatal(err)
	}
	r.mustUpload(event(idA, 0), event(idA, 1))
	r.mustUploadTo(shop.API, identify(idA, `{"$set":{"tier":"free"}}`))
	r.mustUploadTo(shop.API, bought(idA, 0))
	unsaid := func(seq int) string {
		return strings.Replace(bought(idA, seq), `"user_properties":{"tier":"paid"},`, "", 1)
	}
	r.mustUploadTo(shop.API, unsaid(1))
	r.mustUploadTo(cafe.API, bought(idA, 0), unsaid(1), bought(idA, 2))

	// By one's key goes one's plan.
	if status, body := r.uploadTo(shop.API, event(idA, 7)); status != 400 || !strings.Contains(body, `{"event_type":[0]}`) {
		t.Errorf("an event of blindai by the key of shop: got %d %s", status, body)
	}
	if status, body := r.upload(bought(idA, 7)); status != 400 || !strings.Contains(body, `{"event_type":[0]}`) {
		t.Errorf("an event of shop by the key of blindai: got %d %s", status, body)
	}
	tiers := func(keys Keys) string {
		t.Helper()
		s := ""
		for _, line := range r.exportOf(keys.API, keys.Secret) {
			s += fmt.Sprint(line["event_type"], " ", line["user_properties"].(map[string]any)["tier"], ",")
		}
		return s
	}
	if got := tiers(shop); got != "bought paid,bought free," {
		t.Errorf("shop has %s", got)
	}
	// These three say that they happened at one time, so they come by session.
	if got := tiers(cafe); got != "bought paid,bought paid,bought <nil>," {
		t.Errorf("cafe has %s", got)
	}
	r.wantCount(2)

	// What is turned away is counted for each by itself.
	rows := func(app string) string {
		s := ""
		for _, c := range r.c.Refused(app) {
			s += fmt.Sprintf("%s/%s: %d,", c.Rule, c.Field, c.Count)
		}
		return s
	}
	if got, want := rows("shop"), "undeclared event/: 1,undeclared field/: 1,"; got != want {
		t.Errorf("turned away of shop: %s, want %s", got, want)
	}
	r.uploadTo(cafe.API, strings.Replace(bought(idA, 2), `"event_type"`, `"somebody":"x","event_type"`, 1))
	r.uploadTo(cafe.API, strings.Replace(bought(idA, 9), `"paid"`, `"dear"`, 1))
	if got, want := rows("cafe"), "undeclared field/: 1,value/tier: 1,"; got != want {
		t.Errorf("turned away of cafe: %s, want %s", got, want)
	}

	// Nobody's keys open another's.
	for _, keys := range []Keys{{shop.API, cafe.Secret}, {cafe.API, shop.Secret}, {apiKey, shop.Secret}, {shop.API, ""}, {"", shop.Secret}} {
		with := func(req *http.Request) { req.SetBasicAuth(keys.API, keys.Secret) }
		if status, _ := r.do("GET", "/api/2/export?start=20261123T00&end=20261123T01", "", with); status != 401 {
			t.Errorf("mixed keys export: got %d, want 401", status)
		}
		if status, _ := r.do("POST", "/api/2/deletions/users", `{"user_ids":["`+idA+`"]}`, with); status != 401 {
			t.Errorf("mixed keys erase: got %d, want 401", status)
		}
	}

	// Erasing by one's keys erases one's own.
	with := func(req *http.Request) { req.SetBasicAuth(shop.API, shop.Secret) }
	if status, body := r.do("POST", "/api/2/deletions/users", `{"user_ids":["`+idA+`"]}`, with); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
	if got := tiers(shop) + tiers(cafe); got != "bought paid,bought paid,bought <nil>," {
		t.Errorf("after erasing a sender from shop the two have %s", got)
	}
	r.wantCount(2)
}

func TestRotatedKeysStopAtOnce(t *testing.T) {
	r := newRig(t)
	old, err := r.c.Apps().Add(t.Context(), "shop", otherPlan(t, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	r.mustUploadTo(old.API, bought(idA, 0))
	keys, err := r.c.Apps().Rotate(t.Context(), "shop", true, true)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := r.uploadTo(old.API, bought(idA, 1)); status != 400 || !strings.Contains(body, "Invalid API key: ") {
		t.Errorf("the old API key: got %d %s", status, body)
	}
	for _, k := range []Keys{old, {keys.API, old.Secret}, {old.API, keys.Secret}} {
		if r.c.Authenticate(k.API, k.Secret) != nil {
			t.Error("an old key still opens")
		}
	}
	r.mustUploadTo(keys.API, bought(idA, 0), bought(idA, 1))
	if n := len(r.exportOf(keys.API, keys.Secret)); n != 2 {
		t.Errorf("the export holds %d events, want 2: who they are from has not changed", n)
	}
}

// TestRemovedApp: the keys stop, the events stay, a sender is still forgotten,
// also after a restart, and adding the app again shows the rest.
func TestRemovedApp(t *testing.T) {
	r := newRig(t)
	keys, err := r.c.Apps().Add(t.Context(), "shop", otherPlan(t, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUploadTo(keys.API, bought(id, 0), bought(idB, 0), identify(idB, `{"$set":{"tier":"free"}}`))
	if err := r.c.Apps().Remove(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if status, body := r.uploadTo(keys.API, bought(idB, 1)); status != 400 || !strings.Contains(body, "Invalid API key: ") {
		t.Errorf("the key of a removed app: got %d %s", status, body)
	}
	if r.c.Authenticate(keys.API, keys.Secret) != nil || len(r.c.Plans()) != 1 || r.c.writer.identities.size.Load() != 0 {
		t.Error("a removed app is still there")
	}
	r.close()
	r.open()
	if e, body := r.mustForget(secret); len(e.Erased) != 1 || e.Erased[0] != (ErasedApp{App: "shop", Events: 1, Sessions: 1}) {
		t.Errorf("forget: got %s, want one event of shop erased", body)
	}
	if keys, err = r.c.Apps().Add(t.Context(), "shop", otherPlan(t, "shop")); err != nil {
		t.Fatal(err)
	}
	r.mustUploadTo(keys.API, bought(id, 0), bought(idB, 0), bought(idB, 1))
	lines := r.exportOf(keys.API, keys.Secret)
	if len(lines) != 2 || lines[0]["user_id"] != idB || lines[1]["user_id"] != idB {
		t.Errorf("the export holds %d events, want the other sender's two", len(lines))
	}
}

// TestAppRemovedBeforeTheStoreKnewIt: it holds nothing, so forgetting must not
// fail for it.
func TestAppRemovedBeforeTheStoreKnewIt(t *testing.T) {
	r := &rig{t: t, dir: t.TempDir()}
	f, err := OpenFolder(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.AddApp("shop", otherPlan(t, "shop"), Keys{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.removeApp("shop"), f.Close()); err != nil {
		t.Fatal(err)
	}
	r.open()
	defer r.close()
	if status, body := r.do("POST", "/v1/forget", fmt.Sprintf(`{"secret":%q}`, plan.NewSecret().Reveal())); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
}

// TestUpdateWhileServing: plans grow while events come in. No request is turned
// away, each event is stored once with its values in the right columns, and what
// is new is taken from there on.
func TestUpdateWhileServing(t *testing.T) {
	r := newRig(t)
	keys, err := r.c.Apps().Add(t.Context(), "shop", otherPlan(t, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	const senders, batches, each = 4, 60, 5
	var wg sync.WaitGroup
	for i := range senders {
		id := fmt.Sprintf("%032x", i+1)
		wg.Go(func() {
			for b := range batches {
				var es []string
				for j := range each {
					es = append(es, bought(id, b*each+j))
				}
				if status, body := r.uploadTo(keys.API, es...); status != 200 {
					t.Errorf("got %d %s", status, body)
				}
			}
		})
	}
	for version := 2; version < 8; version++ {
		p := grownPlan(t, "shop", version)
		for i := 2; i < version; i++ {
			name := fmt.Sprintf("more%d", i)
			p.Events[0].Fields = append([]plan.Field{{Name: name, In: plan.EventProperties, Kind: plan.Count}}, p.Events[0].Fields...)
		}
		if _, err := r.c.Apps().Update(t.Context(), "shop", p); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	wg.Wait()
	r.mustUploadTo(keys.API, strings.Replace(bought(idB, 0), `"items"`, `"more6":6,"gifts":2,"items"`, 1))
	lines := r.exportOf(keys.API, keys.Secret)
	if want := senders*batches*each + 1; len(lines) != want {
		t.Errorf("the export holds %d events, want %d", len(lines), want)
	}
	for _, line := range lines {
		want := map[string]any{"items": 0.0}
		if line["user_id"] == idB {
			want["gifts"], want["more6"] = 2.0, 6.0
		} else {
			var n float64
			fmt.Sscan(strings.TrimPrefix(fmt.Sprint(line["insert_id"]), fmt.Sprint(line["user_id"], "-")), &n)
			want["items"] = n
		}
		if got := line["event_properties"]; fmt.Sprint(got) != fmt.Sprint(want) || fmt.Sprint(line["user_properties"]) != "map[tier:paid]" {
			t.Fatalf("an event has %v and %v, want %v", got, line["user_properties"], want)
		}
	}
}

// TestUpdateThatStopsHalfWay: the process ends after the new plan was noted, in
// the store or not yet, or after the store refused it. The next start knows.
func TestUpdateThatStopsHalfWay(t *testing.T) {
	stop := errors.New("stopped")
	for name, c := range map[string]struct {
		extend func(r *rig, p *plan.Plan) error
		want   int
	}{
		"before the store": {func(*rig, *plan.Plan) error { return stop }, 2},
		"after the store": {func(r *rig, p *plan.Plan) error {
			return errors.Join(r.c.writer.store.Define(context.Background(), p), stop)
		}, 2},
		"refused": {func(*rig, *plan.Plan) error { return store.ErrPlan }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			keys, err := r.c.Apps().Add(t.Context(), "shop", otherPlan(t, "shop"))
			if err != nil {
				t.Fatal(err)
			}
			r.mustUploadTo(keys.API, bought(idA, 1))
			if _, err := r.folder.updateApp("shop", grownPlan(t, "shop", 2), func(p *plan.Plan) error { return c.extend(r, p) }); err == nil {
				t.Fatal("the update succeeds")
			}
			for range 2 {
				r.close()
				r.open()
				if v := r.folder.App("shop").Plan.Version; v != c.want {
					t.Errorf("after a restart the plan has version %d, want %d", v, c.want)
				}
			}
			r.mustUploadTo(keys.API, bought(idA, 2))
			if lines := r.exportOf(keys.API, keys.Secret); len(lines) != 2 || fmt.Sprint(lines[0]["event_properties"]) != "map[items:1]" {
				t.Errorf("the export holds %v", lines)
			}
		})
	}
}

func TestSocket(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, socketName)
	if err := os.WriteFile(path, []byte("left by a process that was killed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if dial(t.Context(), dir) != nil {
		t.Error("something answers where nobody listens")
	}
	l, err := f.Listen()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v (%v), want 0600", info.Mode(), err)
	}
	if err := errors.Join(l.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is left behind")
	}
}

func TestOpenAppsRefusals(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	if _, err := OpenApps(t.Context(), missing, duckdb.Open); err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a folder that is not there: got %v, want what to do", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("the missing folder was made")
	}
	// Whoever owns the folder may be about to listen, so it is waited for.
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := OpenApps(ctx, dir, duckdb.Open); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a folder in use: got %v", err)
	}
}
