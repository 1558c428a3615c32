package telemetry

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// receiptLabel separates these signatures and hashes from every other use of the
// same keys. It is part of the contract with the collector.
const receiptLabel = "blindai-collector receipt 1"

// maxReceipt bounds what is read of an answer or a file: a receipt has a few
// hundred bytes for each app.
const maxReceipt = 64 << 10

// A receipt says what a collector has erased, and proves that it was this
// collector that said so.
type receipt struct {
	key string // as it is written, and pinned

	payload    string
	session    string // keyed hash, see sessionHash
	when       time.Time
	erased     []erasedApp
	recipients []string
	unstated   bool // of some of them: nobody has stated who they are
	before     bool // the erasure was begun by an earlier request
}

type erasedApp struct {
	App        string `json:"app"`
	Events     int64  `json:"events"`
	Sessions   int64  `json:"sessions"`
	Properties int64  `json:"properties"`
}

var (
	errNoReceipt = errors.New("this is not a collector's receipt")
	errChanged   = errors.New("the signature does not fit the receipt: it was changed, or is made up")
)

// parseReceipt reads a receipt and checks its signature by the key that it names
// itself. Whether that key is the collector's is another question, see readPins.
//
// Only the one form that collectors write is a receipt: exact names, each once,
// and nothing else, so that no bit of the file can be changed without notice.
func parseReceipt(b []byte) (*receipt, error) {
	if len(b) > maxReceipt {
		return nil, errNoReceipt
	}
	members, ok := readStrings(b)
	if !ok || len(members) != 3 {
		return nil, errNoReceipt
	}
	r := &receipt{key: members["key"], payload: members["payload"]}
	key, ok := parseKey(r.key)
	if !ok || r.payload == "" {
		return nil, errNoReceipt
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(members["signature"])
	if err != nil || len(signature) != ed25519.SignatureSize || len(members["signature"]) != base64.RawURLEncoding.EncodedLen(ed25519.SignatureSize) {
		return nil, errNoReceipt
	}
	if !ed25519.Verify(key, []byte(receiptLabel+"\n"+r.payload), signature) {
		return nil, errChanged
	}
	var p struct {
		Kind       string            `json:"kind"`
		Time       time.Time         `json:"time"`
		Session    string            `json:"session"`
		Erased     []erasedApp       `json:"erased"`
		Recipients []json.RawMessage `json:"recipients"`
		Before     bool              `json:"erased_before"`
		Stated     *bool             `json:"recipients_stated"`
	}
	if json.Unmarshal([]byte(r.payload), &p) != nil || p.Kind != "erasure" || p.Time.IsZero() || len(p.Session) != hex.EncodedLen(sha256.Size) {
		return nil, errNoReceipt // by a collector's key, but about something else
	}
	r.session, r.when, r.erased, r.before = p.Session, p.Time, p.Erased, p.Before
	r.unstated = p.Stated != nil && !*p.Stated
	for _, raw := range p.Recipients {
		var party struct{ Name string }
		if json.Unmarshal(raw, &party.Name) != nil && json.Unmarshal(raw, &party) != nil {
			return nil, errNoReceipt
		}
		r.recipients = append(r.recipients, party.Name)
	}
	return r, nil
}

// readStrings reads a JSON object of strings with nothing around it. Unlike
// Unmarshal it takes no name twice and none in another case.
func readStrings(b []byte) (map[string]string, bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	members := map[string]string{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, false
		}
		value, err := d.Token()
		text, is := value.(string)
		if err != nil || !is {
			return nil, false
		}
		if _, twice := members[name.(string)]; twice {
			return nil, false
		}
		members[name.(string)] = text
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return nil, false
	}
	return members, len(bytes.Trim(b[d.InputOffset():], " \t\r\n")) == 0
}

// sessionHash is how a receipt names a session: whoever has the secret can tell
// that it is theirs, and nobody else learns anything.
func sessionHash(secret plan.Secret) string {
	h := hmac.New(sha256.New, secret[:])
	h.Write([]byte(receiptLabel))
	return hex.EncodeToString(h.Sum(nil))
}

// of reports whether the receipt is about the session of a secret.
func (r *receipt) of(secret plan.Secret) bool {
	return hmac.Equal([]byte(r.session), []byte(sessionHash(secret)))
}

// words says what was erased, in one sentence.
func (r *receipt) words() string {
	var parts []string
	for _, a := range r.erased {
		what := number(a.Events, "event")
		if a.Properties > 0 {
			what += " and " + number(a.Properties, "kept value")
		}
		parts = append(parts, fmt.Sprintf("%s of %s", what, printable(a.App)))
	}
	what := strings.Join(parts, ", ")
	switch {
	case len(parts) > 0 && r.before:
		what += ", beside what an earlier request has erased"
	case len(parts) > 0:
	case r.before:
		what = "nothing, because an earlier request has erased this session"
	default:
		what = "nothing, because nothing of this session was there"
	}
	s := fmt.Sprintf("Erased on %s UTC: %s.", r.when.UTC().Format(time.DateTime), what)
	if len(r.recipients) > 0 {
		var names []string
		for _, n := range r.recipients {
			names = append(names, printable(n))
		}
		s += " Events may have been forwarded to " + strings.Join(names, ", ") + ", where this did not erase them."
	}
	if r.unstated {
		s += " Whether others were given events is not stated by who runs the collector."
	}
	return s
}

func number(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printable takes out what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}

// keepReceipt writes a receipt to StateDir/receipts and returns its path. The
// name holds the hash of the session, as the receipt does, and not its id.
func keepReceipt(stateDir string, raw []byte, r *receipt) (string, error) {
	dir := filepath.Join(stateDir, "receipts")
	if err := makeDir(dir); err != nil {
		return "", fmt.Errorf("keep the receipt: %w", err)
	}
	name := filepath.Join(dir, r.when.UTC().Format("20060102T150405Z")+"-"+sessionPart(r.session))
	text := append(bytes.TrimSpace(raw), '\n')
	for n := 1; ; n++ {
		path := name + ".json"
		if n > 1 {
			path = fmt.Sprintf("%s-%d.json", name, n)
		}
		if old, err := readFile(path, maxReceipt+1); err == nil {
			if bytes.Equal(old, text) {
				return path, nil
			}
			continue // another one of the same second
		}
		if err := replaceFile(path, text); err != nil {
			return "", fmt.Errorf("keep the receipt: %w", err)
		}
		return path, nil
	}
}

// sessionPart is enough of a hash to tell files apart, and safe as a name
// whatever stands in the receipt.
func sessionPart(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:8])
}
