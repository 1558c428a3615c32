package inference

import (
	"errors"
	"testing"
)

// FuzzRequests reads bodies that anybody may have sent. Whatever is in them, reading ends, errors
// are for the client, and what is accepted is within the limits.
func FuzzRequests(f *testing.F) {
	for _, seed := range []any{
		uploadOf([]byte("model"), 5),
		uploadOf([]int{1, 2, 255}, 3),
		runOf("id", "", scalar(nil, 1), scalar("name", 2)),
		runOf("", "ab", tensor("F32", nil, []int{2, 2}, make([]float32, 4))),
		object{"model_id": "id"},
		object{"inputs": []any{object{"info": []int{}}}},
	} {
		f.Add(encode(seed))
	}
	f.Add([]byte("\xbf\x68model_id\x62id\xff"))
	f.Fuzz(func(t *testing.T, body []byte) {
		check := func(err error) bool {
			var r refusal
			if err != nil && (!errors.As(err, &r) || r == "") {
				t.Errorf("an error that is not for the client: %v", err)
			}
			return err == nil
		}
		if r, err := readUpload(body); check(err) && len(r.model) > len(body) {
			t.Errorf("a model of %d bytes out of %d", len(r.model), len(body))
		}
		if r, err := readRun(body, 8); check(err) {
			if len(r.inputs) > 8 {
				t.Errorf("%d inputs", len(r.inputs))
			}
			for _, in := range r.inputs {
				if !in.Type.Valid() || len(in.Shape) > maxRank || len(in.Data) > len(body) {
					t.Errorf("an input of type %v, rank %d and %d bytes", in.Type, len(in.Shape), len(in.Data))
				}
				for _, n := range in.Shape {
					if n < 0 {
						t.Errorf("a dimension of %d", n)
					}
				}
			}
		}
		_, err := readDelete(body)
		check(err)
	})
}
