package duckdb

import (
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/store/storetest"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestTracesFindsAConstant: what is the same in all rows DuckDB writes as a number of
// its own form. The search would be worth nothing if it did not find that.
func TestTracesFindsAConstant(t *testing.T) {
	for _, seed := range []string{"a", "b", "c", "d"} { // with the highest bits this way and that
		sum := sha256.Sum256([]byte(seed))
		id := plan.ID(sum[:16])
		dir := t.TempDir()
		s := open(t, dir)
		if err := s.Define(t.Context(), testPlan); err != nil {
			t.Fatal(err)
		}
		records := testRecords(ada, 0, 1)[:1]
		records[0].Insert = store.InsertID{Foreign: id}
		if err := s.Append(t.Context(), "app", records); err != nil {
			t.Fatal(err)
		}
		shut(t, s)
		if found := storetest.Traces(t, dir, id); !slices.Contains(found, databaseName) {
			t.Errorf("%s: found in %v, want it in %s", id, found, databaseName)
		}
	}
}
