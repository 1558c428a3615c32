package collector

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestOlderStorePutBack: whoever puts the store's files back from an older copy
// does not bring back what was erased since, as long as the tombstones stay.
func TestOlderStorePutBack(t *testing.T) {
	r := &rig{t: t, dir: t.TempDir()}
	r.open()
	t.Cleanup(func() { r.close() })
	keys, err := r.c.Apps().Add(t.Context(), "coffee", otherPlan(t, "x"))
	if err != nil {
		t.Fatal(err)
	}
	secret := plan.NewSecret()
	id := secret.ID().String()
	r.mustUpload(event(id, 0), event(idA, 0))
	r.mustUploadTo(keys.API, bought(id, 1), bought(idA, 2))
	if err := r.c.Apps().Remove(t.Context(), "coffee"); err != nil {
		t.Fatal(err)
	}
	r.close()
	copied := map[string][]byte{}
	for _, pattern := range []string{"events.duckdb*", "ids", "journal-*", "compact"} {
		paths, err := filepath.Glob(filepath.Join(r.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if copied[path], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.open()
	if e, body := r.mustForget(secret); len(e.Erased) != 2 {
		t.Fatalf("the receipt is %s, want two apps", body)
	}
	r.close()

	for path, b := range copied {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	if _, body := r.show(secret); strings.Contains(body, id) {
		t.Errorf("the erased session is shown again: %s", body)
	}
	r.wantCount(1)
	if e, body := r.mustForget(secret); len(e.Erased) != 0 || !e.Before {
		t.Errorf("the receipt is %s, want nothing, and that it was erased before", body)
	}
	if log := r.log.String(); !strings.Contains(log, "senders=1") || strings.Contains(log, id) {
		t.Errorf("the log says %s, want that a sender was erased, and not which", log)
	}
	shown := r.scrape()
	for _, want := range []string{`erased_total{app="blindai",what="events"} 1`, `erased_total{app="coffee",what="events"} 1`} {
		if !strings.Contains(shown, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}
