package plan

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
)

// An ID tells one sender from another: 16 random bytes. BlindAI makes a new one
// for each run of the server, so it links the events of that run to each other
// and to nothing else.
type ID [16]byte

// String returns id as 32 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads 32 lower-case hex digits, or a hyphenated UUID in either case.
// hyphens tells which of the two it was. The id of only zeros is refused: it is
// what senders without an id write (Amplitude drops it too).
func ParseID(s []byte) (id ID, hyphens, ok bool) {
	var digits [32]byte
	switch len(s) {
	case 32:
		copy(digits[:], s)
		for _, c := range digits {
			if 'A' <= c && c <= 'F' {
				return ID{}, false, false
			}
		}
	case 36:
		if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			return ID{}, false, false
		}
		n := copy(digits[:], s[:8])
		n += copy(digits[n:], s[9:13])
		n += copy(digits[n:], s[14:18])
		n += copy(digits[n:], s[19:23])
		copy(digits[n:], s[24:])
		hyphens = true
	default:
		return ID{}, false, false
	}
	if _, err := hex.Decode(id[:], digits[:]); err != nil || id == (ID{}) {
		return ID{}, false, false
	}
	return id, hyphens, true
}

// AppendID appends id to dst in one of the two forms that ParseID reads.
func AppendID(dst []byte, id ID, hyphens bool) []byte {
	if !hyphens {
		return hex.AppendEncode(dst, id[:])
	}
	for i, part := range [][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// A Secret is the capability over one session: whoever shows it may see and
// erase what the session sent. It never travels with events; the session's id
// is derived from it, and the way back is a preimage of SHA-256.
type Secret [32]byte

// secretLabel separates this use of SHA-256 from every other. It is part of the
// wire contract: clients and collectors of all versions must agree on it.
const secretLabel = "blindai telemetry session v1\n"

// NewSecret returns a fresh secret from the system's random source.
func NewSecret() Secret {
	var s Secret
	rand.Read(s[:]) // never fails since Go 1.24: it ends the program instead
	return s
}

var errSecret = errors.New("the secret is not of the right form: it is 64 hex digits, as printed by `telemetry status`")

// ParseSecret reads 64 hex digits. The error never repeats them.
func ParseSecret(s string) (Secret, error) {
	var secret Secret
	if len(s) != hex.EncodedLen(len(secret)) {
		return Secret{}, errSecret
	}
	if _, err := hex.Decode(secret[:], []byte(s)); err != nil {
		return Secret{}, errSecret
	}
	return secret, nil
}

// ID returns the id that events of this session carry: the first 16 bytes of
// SHA-256 over a fixed label and the secret.
func (s Secret) ID() ID {
	sum := sha256.Sum256(append([]byte(secretLabel), s[:]...))
	return ID(sum[:16])
}

// Reveal returns the secret as 64 lower-case hex digits. It is not called
// String so that a secret does not end up in a log by way of fmt.
func (s Secret) Reveal() string { return hex.EncodeToString(s[:]) }

// String hides the secret. Use Reveal to show it to its owner.
func (s Secret) String() string { return "(secret)" }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }
