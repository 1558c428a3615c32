package collector

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// forget asks to erase the session of a secret.
func (r *rig) forget(secret plan.Secret) (int, string) {
	r.t.Helper()
	return r.do("POST", "/v1/forget", fmt.Sprintf(`{"secret":%q}`, secret.Reveal()))
}

// mustForget returns what the receipt says, and the whole answer.
func (r *rig) mustForget(secret plan.Secret) (Erasure, string) {
	r.t.Helper()
	status, body := r.forget(secret)
	var receipt Receipt
	var e Erasure
	if json.Unmarshal([]byte(body), &receipt) != nil || json.Unmarshal([]byte(receipt.Payload), &e) != nil || status != 200 {
		r.t.Fatalf("got %d %s, want a receipt", status, body)
	}
	return e, body
}

// tombstoned returns how many tombstones are on the disk.
func (r *rig) tombstoned() int {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, "tombstones"))
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

// verify checks a receipt as somebody would who has nothing but the secret, the
// collector's key and this:
//
//	signature = Ed25519 over "blindai-collector receipt 1\n" + payload
//	session   = HMAC-SHA256 with the secret as key over "blindai-collector receipt 1"
func verify(receipt map[string]string, pinned, secret string) error {
	key, err := base64.RawURLEncoding.DecodeString(pinned)
	if err != nil || len(key) != 32 || receipt["key"] != pinned {
		return fmt.Errorf("the key is not the one that was remembered")
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(receipt["signature"])
	if err != nil || !ed25519.Verify(key, []byte("blindai-collector receipt 1\n"+receipt["payload"]), signature) {
		return fmt.Errorf("the signature is not right")
	}
	raw, err := hex.DecodeString(secret)
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte("blindai-collector receipt 1"))
	var payload struct{ Session string }
	if err := json.Unmarshal([]byte(receipt["payload"]), &payload); err != nil {
		return err
	}
	if payload.Session != hex.EncodeToString(mac.Sum(nil)) {
		return fmt.Errorf("it is about another session")
	}
	return nil
}

func TestReceipt(t *testing.T) {
	r := &rig{t: t, dir: t.TempDir(), now: func() time.Time { return time.Date(2026, 11, 24, 3, 36, 2, 0, time.FixedZone("", 3600)) }}
	r.open()
	t.Cleanup(r.close)
	secret := plan.NewSecret()
	r.mustUpload(event(secret.ID().String(), 0), event(secret.ID().String(), 1), event(idA, 0))

	_, key := r.do("GET", "/v1/key", "")
	var published struct{ Algorithm, Key string }
	if err := json.Unmarshal([]byte(key), &published); err != nil || published.Algorithm != "Ed25519" || len(published.Key) != 43 {
		t.Fatalf("the key is published as %s", key)
	}
	_, body := r.mustForget(secret)
	var receipt map[string]string
	if err := json.Unmarshal([]byte(body), &receipt); err != nil || len(receipt) != 3 {
		t.Fatalf("the receipt is %s", body)
	}
	want := fmt.Sprintf(`{"kind":"erasure","time":"2026-11-24T02:36:02Z","session":%q,"erased":[{"app":"blindai","events":2,"sessions":1}],"recipients":[],"recipients_stated":false}`,
		sessionHash(secret))
	if receipt["payload"] != want {
		t.Errorf("the payload is\n%s, want\n%s", receipt["payload"], want)
	}
	if err := verify(receipt, published.Key, secret.Reveal()); err != nil {
		t.Error(err)
	}
	if verify(receipt, published.Key, plan.NewSecret().Reveal()) == nil {
		t.Error("the receipt is good for another session")
	}

	// One bit of any part, and it is not good any more.
	for name, value := range receipt {
		for i := range len(value) {
			b := []byte(value)
			b[i] ^= 1
			changed := map[string]string{"payload": receipt["payload"], "key": receipt["key"], "signature": receipt["signature"]}
			changed[name] = string(b)
			if verify(changed, published.Key, secret.Reveal()) == nil {
				t.Errorf("a receipt with a bit of its %s changed at %d is good", name, i)
			}
		}
	}

	// The key is the collector's and not the process's.
	r.close()
	r.open()
	if _, again := r.do("GET", "/v1/key", ""); again != key {
		t.Error("the key is another one after a restart")
	}
}

// TestCollectorKey: clients can remember the key at their first contact.
func TestCollectorKey(t *testing.T) {
	r := newRig(t)
	for _, request := range []string{"POST /2/httpapi", "POST /batch", "POST /v1/forget", "POST /v1/show", "GET /v1/key", "GET /healthz"} {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		r.c.Handler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(fmt.Sprintf(`{"api_key":%q,"events":[]}`, apiKey))))
		want := []string{r.folder.signer.public}
		if path == "/healthz" {
			want = nil
		}
		if got := w.Result().Header.Values("Collector-Key"); !slices.Equal(got, want) {
			t.Errorf("%s: the answer %d has keys %q, want %q", request, w.Code, got, want)
		}
		if keyHeader != http.CanonicalHeaderKey(keyHeader) {
			t.Error("the header's name is not in its canonical form")
		}
	}
}

// TestDamagedSigningKey: a bit that a disk has turned must not pass for another
// key, or every client would report a changed one.
func TestDamagedSigningKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing-key")
	s, err := openSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v (%v)", info.Mode(), err)
	}
	for i := range good {
		b := slices.Clone(good)
		b[i] ^= 4
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openSigner(path); err == nil {
			t.Errorf("a key with a bit changed at byte %d is taken", i)
		}
	}
	os.Remove(path)
	other, err := openSigner(path)
	if err != nil || other.public == s.public {
		t.Errorf("a removed key is made anew: got %v", err)
	}
}
