package inference

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"
)

func TestUpload(t *testing.T) {
	c := start(t, Config{})
	model := modelFile(t, "subtract")
	sum := sha256.Sum256(model)
	ids := make(map[string]bool)

	indefinite := func() cbor.RawMessage {
		out := []byte{majorBytes<<5 | 31}
		for half := range 2 {
			part := model[:len(model)/2]
			if half == 1 {
				part = model[len(model)/2:]
			}
			out = append(out, encode(part)...)
		}
		return append(out, breakByte)
	}
	for _, tt := range []struct {
		name  string
		model any
	}{
		{"as a byte string", model},
		{"as an array of integers", cbor.RawMessage(array(model))},
		{"as an array of wide integers", widened(model)},
		{"as a byte string in parts", indefinite()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var reply uploadReply
			if refused := c.ask(c.manage+"/upload", uploadOf(tt.model, len(model)), &reply); refused != "" {
				t.Fatal(refused)
			}
			if !bytes.Equal(reply.Hash, sum[:]) {
				t.Errorf("the hash is %x, want the SHA-256 of the model %x", reply.Hash, sum)
			}
			id, err := uuid.Parse(reply.ModelID)
			if err != nil || id.Version() != 4 || id.String() != reply.ModelID {
				t.Errorf("the id %q is not a version 4 UUID in lower case", reply.ModelID)
			}
			if ids[reply.ModelID] {
				t.Error("the same bytes got the same id again")
			}
			ids[reply.ModelID] = true
			if _, refused := c.infer(reply.ModelID, scalar(nil, 2), scalar(nil, 1)); refused != "" {
				t.Error(refused)
			}
		})
	}
	t.Run("is noted with the real size", func(t *testing.T) {
		if n, size := c.heard.sends.Load(), c.heard.bytes.Load(); n != 4 || size != n*int64(len(model)) {
			t.Errorf("%d uploads of %d bytes in all were noted, want 4 of %d each", n, size, len(model))
		}
		if n := c.heard.starts.Load(); n != 1 {
			t.Errorf("%d starts were noted", n)
		}
	})
	t.Run("prepares the same bytes once", func(t *testing.T) {
		c.server.models.mu.RLock()
		defer c.server.models.mu.RUnlock()
		if n := len(c.server.models.byHash); n != 1 {
			t.Errorf("%d graphs are held for one model", n)
		}
	})
}

// widened is an array with more bytes for each integer than needed.
func widened(b []byte) cbor.RawMessage {
	out := []byte{majorArray<<5 | 31}
	for _, x := range b {
		out = append(out, 25, 0, x)
	}
	return append(out, breakByte)
}

func TestUploadRefuses(t *testing.T) {
	c := start(t, Config{Limits: Limits{ModelBytes: 4096}})
	model := modelFile(t, "subtract")
	without := func(key string) object {
		request := uploadOf(model, len(model))
		delete(request, key)
		return request
	}
	with := func(key string, value any) object {
		request := uploadOf(model, len(model))
		request[key] = value
		return request
	}
	for _, tt := range []struct {
		name    string
		request any
		want    string
	}{
		{"text", uploadOf([]byte("this is not a model"), 19), "protobuf parsing failed"},
		{"text as text", uploadOf("this is not a model", 19), "protobuf parsing failed"},
		{"a picture", uploadOf([]byte("\x89PNG\r\n\x1a\n"), 8), "protobuf parsing failed"},
		{"a length above the limit", uploadOf(model, 4097), "Model is too big"},
		{"a length far above the limit", with("length", uint64(1<<63)), "Model is too big"},
		{"a model above the limit", uploadOf(make([]byte, 4097), 10), "Model is too big"},
		{"a body above the limit", uploadOf(make([]byte, 3<<20), 10), "Model is too big"},
		{"no length", uploadOf(model, 0), "Received no data"},
		{"no bytes", uploadOf([]byte{}, 10), "Received no data"},
		{"a length that is a text", with("length", "10"), "In the request, length is not an unsigned integer"},
		{"a negative length", with("length", -1), "length is not an unsigned integer"},
		{"optimize as a number", with("optimize", 1), "optimize is neither true nor false"},
		{"a name that is bytes", with("model_name", []byte("x")), "model_name is not a text"},
		{"integers that are no bytes", with("model", []int{256}), "model is neither a byte string nor a text nor an array"},
		{"a model that is a number", with("model", 5), "model is neither a byte string"},
		{"no model", without("model"), "model is missing"},
		{"no optimize", without("optimize"), "optimize is missing"},
		{"no name", without("model_name"), "model_name is missing"},
		{"an array", []int{1, 2}, "The request is not a CBOR map"},
		{"another request", object{"model_id": "x"}, "is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var reply uploadReply
			refused := c.ask(c.manage+"/upload", tt.request, &reply)
			says(t, refused, tt.want)
			if strings.Contains(refused, "secret") {
				t.Errorf("%q repeats the model's name", refused)
			}
		})
	}
	for name, body := range map[string]string{
		"nothing":               "",
		"no CBOR":               "\xff\xff",
		"half a map":            "\xa2\x61a",
		"a map and more":        string(encode(uploadOf(model, len(model)))) + "\x00",
		"a key twice":           "\xa2\x66length\x01\x66length\x01",
		"a key that is no text": "\xa1\x01\x01",
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := c.post(c.manage+"/upload", []byte(body))
			var text string
			if err := cbor.Unmarshal(answer, &text); status != 500 || err != nil || text == "" {
				t.Errorf("status %d, answer %q (%v), want 500 and a text", status, text, err)
			}
		})
	}
	if n := c.heard.sends.Load(); n != 0 {
		t.Errorf("%d refused uploads were noted as sent", n)
	}
	if used := c.server.uploads.used.Load(); used != 0 {
		t.Errorf("%d bytes are still reserved for requests that are over", used)
	}
}

// Clients of other versions send keys that we do not know, and may leave out client_info.
func TestUploadStepsOver(t *testing.T) {
	c := start(t, Config{})
	model := modelFile(t, "subtract")
	for name, change := range map[string]func(object){
		"unknown keys":            func(o object) { o["colour"] = object{"deep": []int{1, 2, 3}} },
		"no client_info":          func(o object) { delete(o, "client_info") },
		"a client_info of sorts":  func(o object) { o["client_info"] = []string{"?"} },
		"no name":                 func(o object) { o["model_name"] = "" },
		"a length that is wrong":  func(o object) { o["length"] = 1 },
		"a graph as it was given": func(o object) { o["optimize"] = false },
	} {
		t.Run(name, func(t *testing.T) {
			request := uploadOf(model, len(model))
			change(request)
			var reply uploadReply
			if refused := c.ask(c.manage+"/upload", request, &reply); refused != "" {
				t.Error(refused)
			}
		})
	}
}

func TestUploadTheSameAtTheSameTime(t *testing.T) {
	c := start(t, Config{})
	ids := make([]string, 8)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() { ids[i], _ = c.upload("slow") })
	}
	group.Wait()
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for i, id := range ids {
		if _, refused := c.infer(id, scalar(nil, 1)); refused != "" {
			t.Errorf("id %d: %s", i, refused)
		}
		if refused := c.delete(id); refused != "" {
			t.Errorf("id %d: %s", i, refused)
		}
	}
	if n := len(c.server.models.byHash); n != 0 {
		t.Errorf("%d graphs are left of none", n)
	}
}
