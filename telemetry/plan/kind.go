package plan

import (
	"fmt"
	"strconv"
)

// A Kind is the form that a field's values have on the wire. The set is closed.
// The zero Kind is invalid.
type Kind uint8

const (
	Enum         Kind = iota + 1 // one of the field's Values, as a string
	Version                      // "1.2.3", optionally -dev, -alpha.N, -beta.N or -rc.N
	System                       // a Go operating system and architecture, "linux/amd64"
	RandomID                     // 16 random bytes: 32 lower-case hex digits or a hyphenated UUID
	Bytes                        // a size in bytes, a whole number from 0 to MaxInt
	Count                        // a whole number from 0 to MaxInt
	Seconds                      // a duration in whole seconds, from 0 to MaxInt
	Milliseconds                 // a duration in whole milliseconds, from 0 to MaxInt
	Bucket                       // one of the ranges that the field's Bounds cut, by its label
	Timestamp                    // milliseconds since 1970-01-01 UTC, from MinTime to MaxTime
	Flag                         // true or false
)

// MaxInt is the largest whole number that a field may hold, 2^53-1: the largest
// that every JSON reader keeps exactly (RFC 8259, section 6).
const MaxInt = 1<<53 - 1

// MinTime and MaxTime bound a Timestamp: 2010-01-01 and 2100-01-01, UTC. The
// lower one also catches the common mistake of seconds in place of
// milliseconds, which would land in January 1970.
const (
	MinTime = 1262304000000
	MaxTime = 4102444800000
)

// kindNames holds the words that plans use, in the order of the constants.
var kindNames = [...]string{
	Enum: "enum", Version: "version", System: "system", RandomID: "random_id",
	Bytes: "bytes", Count: "count", Seconds: "seconds", Milliseconds: "milliseconds",
	Bucket: "bucket", Timestamp: "timestamp", Flag: "flag",
}

// String returns the word that plans use for k.
func (k Kind) String() string {
	if k.valid() {
		return kindNames[k]
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

func (k Kind) valid() bool { return k > 0 && int(k) < len(kindNames) }

// Number reports whether values of k are JSON numbers.
func (k Kind) Number() bool {
	switch k {
	case Bytes, Count, Seconds, Milliseconds, Timestamp:
		return true
	}
	return false
}

// Rule says in one phrase what a value of kind k looks like, for error messages
// and for the published list.
func (k Kind) Rule() string {
	switch k {
	case Enum:
		return "one of the declared values"
	case Version:
		return "up to three dotted numbers, optionally -dev, -alpha.N, -beta.N or -rc.N"
	case System:
		return "an operating system and architecture as Go names them, like linux/amd64"
	case RandomID:
		return "32 lower-case hex digits or a hyphenated UUID"
	case Bytes:
		return "a whole number of bytes, 0 or more"
	case Count:
		return "a whole number, 0 or more"
	case Seconds:
		return "a whole number of seconds, 0 or more"
	case Milliseconds:
		return "a whole number of milliseconds, 0 or more"
	case Bucket:
		return "the label of one of the declared ranges"
	case Timestamp:
		return "milliseconds since 1970 UTC, between the years 2010 and 2100"
	case Flag:
		return "true or false"
	}
	return "of no known kind"
}

// MarshalText writes the word that plans use. It fails for a kind out of the set.
func (k Kind) MarshalText() ([]byte, error) {
	if !k.valid() {
		return nil, fmt.Errorf("kind %d is not one of the known kinds", uint8(k))
	}
	return []byte(kindNames[k]), nil
}

// UnmarshalText reads the word that plans use. An unknown word leaves the zero
// Kind, which Check reports together with every other fault of the plan.
func (k *Kind) UnmarshalText(b []byte) error {
	*k = 0
	for i, name := range kindNames {
		if name != "" && name == string(b) {
			*k = Kind(i)
		}
	}
	return nil
}

// A Place is the part of an event in which a field travels, as Amplitude's
// format has it. The zero Place is invalid.
type Place uint8

const (
	Top             Place = iota + 1 // beside event_type
	UserProperties                   // in "user_properties"
	EventProperties                  // in "event_properties"
)

var placeNames = [...]string{
	Top: "top", UserProperties: "user_properties", EventProperties: "event_properties",
}

// String returns the word that plans use for p.
func (p Place) String() string {
	if p.valid() {
		return placeNames[p]
	}
	return "Place(" + strconv.Itoa(int(p)) + ")"
}

func (p Place) valid() bool { return p > 0 && int(p) < len(placeNames) }

// MarshalText writes the word that plans use. It fails for a place out of the set.
func (p Place) MarshalText() ([]byte, error) {
	if !p.valid() {
		return nil, fmt.Errorf("place %d is not one of the known places", uint8(p))
	}
	return []byte(placeNames[p]), nil
}

// UnmarshalText reads the word that plans use. An unknown word leaves the zero
// Place, which Check reports together with every other fault of the plan.
func (p *Place) UnmarshalText(b []byte) error {
	*p = 0
	for i, name := range placeNames {
		if name != "" && name == string(b) {
			*p = Place(i)
		}
	}
	return nil
}
