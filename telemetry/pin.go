package telemetry

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
)

// A collector signs its receipts, and says its key in a header of its answers to uploads,
// to show and to forget.
// The key is pinned at first contact, for each origin:
//
//	StateDir/collectors.json    {"https://collector.example": "<key>", ...}
//
// A pin is never replaced by the program: whoever answers in the collector's
// place could say any key. The owner of the folder accepts a new key by deleting
// the line.

// keyHeader is the header with the collector's key.
const keyHeader = "Collector-Key"

const pinFile = "collectors.json"

// origin returns what an endpoint's key is pinned for: scheme, host and, unless
// it is the scheme's own, port. "" if the endpoint is no URL.
func origin(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return ""
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if port == map[string]string{"http": "80", "https": "443"}[scheme] {
		port = ""
	}
	switch {
	case port != "":
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return scheme + "://" + host
}

// parseKey reads an Ed25519 public key in unpadded URL-safe base64. Only one
// text stands for each key.
func parseKey(s string) (ed25519.PublicKey, bool) {
	if len(s) != base64.RawURLEncoding.EncodedLen(ed25519.PublicKeySize) {
		return nil, false
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return key, err == nil && len(key) == ed25519.PublicKeySize
}

// readPins returns the pinned keys by origin; none where there is no file.
func readPins(stateDir string) (map[string]string, error) {
	pins := map[string]string{}
	if stateDir == "" {
		return pins, nil
	}
	path := filepath.Join(stateDir, pinFile)
	b, err := readFile(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return pins, nil
	}
	if err != nil && !errors.Is(err, errTooLarge) {
		return nil, fmt.Errorf("read the collectors' keys: %w", err)
	}
	if json.Unmarshal(b, &pins) != nil || pins == nil { // nil: the text is null
		return nil, fmt.Errorf("%s does not hold collectors' keys; repair it, or delete it to pin the keys anew", path)
	}
	return pins, nil
}

// pinKey pins a key at the first contact with an origin, and returns the key that
// is pinned after that: this one, or the one that was there.
func pinKey(stateDir, origin, key string) (pinned string, err error) {
	pins, err := readPins(stateDir)
	if err != nil {
		return "", err
	}
	if pinned, is := pins[origin]; is {
		return pinned, nil
	}
	if err := makeDir(stateDir); err != nil {
		return "", fmt.Errorf("pin the collector's key: %w", err)
	}
	unlock, err := lockDir(stateDir)
	if err != nil {
		return "", fmt.Errorf("pin the collector's key: %w", err)
	}
	defer unlock()
	if pins, err = readPins(stateDir); err != nil { // another process may have been faster
		return "", err
	}
	if pinned, is := pins[origin]; is {
		return pinned, nil
	}
	pins[origin] = key
	b, err := json.MarshalIndent(pins, "", "  ")
	if err != nil {
		return "", err
	}
	if err := replaceFile(filepath.Join(stateDir, pinFile), append(b, '\n')); err != nil {
		return "", fmt.Errorf("pin the collector's key: %w", err)
	}
	return key, nil
}

// sayKey is the one line with which status and the log say that a key changed.
func sayKey(stateDir, origin string) string {
	return fmt.Sprintf("the key of %s is not the one that was pinned at first contact: either the collector has a new key, or somebody else answers in its place; ask its owner, and to accept the new key delete the line of that address in %s",
		origin, filepath.Join(stateDir, pinFile))
}
