package inference

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestDelete(t *testing.T) {
	c := start(t, Config{})
	first, sum := c.upload("subtract")
	second, _ := c.upload("subtract")
	run := func(id string) string {
		_, refused := c.infer(id, scalar(nil, 2), scalar(nil, 1))
		return refused
	}

	status, answer := c.post(c.manage+"/delete", encode(object{"model_id": first}))
	if status != 200 || !bytes.Equal(answer, []byte{0xf6}) {
		t.Errorf("a delete is answered with %d and %x, want 200 and null", status, answer)
	}
	if got := run(first); got != "Model doesn't exist" {
		t.Errorf("a run of the deleted id: %q", got)
	}
	if got := run(second); got != "" {
		t.Errorf("a run of the other id of the same bytes: %q", got)
	}
	if got := c.delete(first); got != "Model doesn't exist" {
		t.Errorf("the same delete again: %q", got)
	}
	if got := c.delete(second); got != "" {
		t.Errorf("the delete of the other id: %q", got)
	}
	var reply runReply
	byHash := runOf("", hex.EncodeToString(sum), scalar(nil, 2), scalar(nil, 1))
	if got := c.ask(c.run+"/run", byHash, &reply); got != "Model doesn't exist" {
		t.Errorf("a run by the hash of what is gone: %q", got)
	}
	if third, _ := c.upload("subtract"); run(third) != "" {
		t.Error("the same bytes cannot be run after they were deleted and sent again")
	}
}

func TestDeleteRefuses(t *testing.T) {
	c := start(t, Config{})
	for _, tt := range []struct {
		name string
		id   any
		want string
	}{
		{"unknown", "01234567-89ab-4def-8123-456789abcdef", "Model doesn't exist"},
		{"empty", "", "Model doesn't exist"},
		{"malformed", "my-model", "The model_id is not a UUID"},
		{"a number", 7, "model_id is not a text"},
		{"very long", string(make([]byte, maxDeleteBytes)), "larger than a delete can be"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var null any
			says(t, c.ask(c.manage+"/delete", object{"model_id": tt.id}, &null), tt.want)
		})
	}
	var null any
	says(t, c.ask(c.manage+"/delete", object{}, &null), "model_id is missing")
}
