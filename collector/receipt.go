package collector

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// receiptLabel separates what is signed and hashed here from every other use of
// the same keys. It is part of the wire contract with the clients.
const receiptLabel = "blindai-collector receipt 1"

// A Receipt is the signed answer to an erasure. The collector keeps none: whoever
// asked has it, and can check it with nothing but the collector's key.
type Receipt struct {
	Payload   string `json:"payload"`   // an Erasure in JSON, to the byte as it was signed
	Key       string `json:"key"`       // the collector's public key, base64url without padding
	Signature string `json:"signature"` // Ed25519 over the label, a newline and Payload, likewise
}

// An Erasure says what was erased. It names the session by a hash that is keyed
// with the session's secret: whoever has the secret can tell that it is theirs,
// and nobody else learns anything. The id is not in it.
type Erasure struct {
	Kind       string      `json:"kind"` // "erasure"
	Time       string      `json:"time"` // RFC 3339, UTC
	Session    string      `json:"session"`
	Erased     []ErasedApp `json:"erased"`     // the apps in which something was erased
	Recipients []string    `json:"recipients"` // third parties that may have had events of it

	// RecipientsStated tells whether whoever runs the collector has stated them,
	// for each app in which something was: else there may be others.
	RecipientsStated bool `json:"recipients_stated"`

	// Before is set where the session's erasure was begun earlier, by a request
	// whose answer may have been lost: what that one erased is not counted here.
	Before bool `json:"erased_before,omitempty"`
}

// ErasedApp is what was removed from one app.
type ErasedApp struct {
	App        string `json:"app"`
	Events     int64  `json:"events"`
	Sessions   int64  `json:"sessions"`
	Properties int64  `json:"properties,omitempty"` // kept from $identify, for events that had not come yet
}

func (e ErasedApp) empty() bool { return e.Events == 0 && e.Sessions == 0 && e.Properties == 0 }

// sessionHash is how a receipt names the session of a secret.
func sessionHash(secret plan.Secret) string {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte(receiptLabel))
	return hex.EncodeToString(mac.Sum(nil))
}

// A signer has the collector's signing key. Clients remember the public half
// from their first contact on, so the key lives as long as the data folder. It is
// safe for concurrent use.
type signer struct {
	private ed25519.PrivateKey
	public  string   // as it travels
	header  []string // likewise, for answers
}

// openSigner reads the key, and makes it where there is none. The file holds the
// seed and the public key that follows from it, so that a damaged seed does not
// pass for another key.
func openSigner(path string) (*signer, error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		seed := make([]byte, ed25519.SeedSize)
		rand.Read(seed)
		b = ed25519.NewKeyFromSeed(seed)
		if err := writeFile(path, b); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	if len(b) != ed25519.PrivateKeySize || !bytes.Equal(b, ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])) {
		return nil, fmt.Errorf("%s is no signing key; restore it from a backup, or remove it to have a new one made, "+
			"which every client reports that knows the old one: %w", path, store.ErrDamaged)
	}
	public := base64.RawURLEncoding.EncodeToString(b[ed25519.SeedSize:])
	return &signer{private: b, public: public, header: []string{public}}, nil
}

func (s *signer) sign(e *Erasure) Receipt {
	payload, err := json.Marshal(e)
	if err != nil {
		panic(err) // it has only texts and numbers
	}
	signature := ed25519.Sign(s.private, append([]byte(receiptLabel+"\n"), payload...))
	return Receipt{Payload: string(payload), Key: s.public, Signature: base64.RawURLEncoding.EncodeToString(signature)}
}

// keyHeader carries the public key, for clients to remember. It is in the form
// that http.Header.Set gives to names.
const keyHeader = "Collector-Key"

// keyed puts the public key on every answer of next, refusals too.
func (c *Collector) keyed(next http.HandlerFunc) http.HandlerFunc {
	header := c.folder.signer.header
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header()[keyHeader] = header
		next(w, r)
	}
}

// handleKey answers GET /v1/key.
func (c *Collector) handleKey(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, struct {
		Algorithm string `json:"algorithm"`
		Key       string `json:"key"`
	}{"Ed25519", c.folder.signer.public})
}
