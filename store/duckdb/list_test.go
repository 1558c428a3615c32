package duckdb

import (
	"testing"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// TestListWhileRowsGo lists records that have all arrived in one millisecond,
// over several pages, while another sender is erased and its rows go. What is
// left comes once each.
func TestListWhileRowsGo(t *testing.T) {
	for _, newest := range []bool{false, true} {
		s := open(t, t.TempDir())
		fill(t, s)
		var records []store.Record
		for seq := range int64(listPage) {
			own, gone, foreign := testRecord(cyd, seq), testRecord(ada, seq+2), testRecord(bob, 0)
			foreign.Insert = store.InsertID{Foreign: plan.ID{byte(seq * 7), byte(seq >> 5), byte(seq), 15: 1}}
			foreign.Time = own.Time // all at the same time
			records = append(records, own, gone, foreign)
		}
		if err := s.Append(t.Context(), "app", records); err != nil {
			t.Fatal(err)
		}
		type key struct {
			id     plan.ID
			insert store.InsertID
		}
		got := map[key]int{}
		n := 0
		err := s.List(t.Context(), store.Listing{App: "app", Newest: newest}, func(r *store.Record) error {
			if n++; n == listPage/2 {
				if _, err := s.Erase(t.Context(), "app", []plan.ID{ada}); err != nil {
					return err
				}
				s.checkpoint(t.Context(), 1)
			}
			got[key{r.ID, r.Insert}]++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		missing := 0
		for _, r := range records {
			if n := got[key{r.ID, r.Insert}]; r.ID != ada && n != 1 {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("newest %v: %d records did not come once", newest, missing)
		}
		shut(t, s)
	}
}
