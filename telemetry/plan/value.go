package plan

import (
	"bytes"
	"strconv"
)

// A Value is one field's value after it was held against the field's kind. The
// zero Value is null: the field was missing.
//
// Which member holds it is a matter of the kind: Enum, Bucket and System keep
// an index in Int, Flag 0 or 1, the numbers themselves; Version keeps Text;
// RandomID keeps ID, and in Int whether it was hyphenated.
type Value struct {
	Set  bool
	Int  int64
	Text string
	ID   ID
}

// FromString reads the value of a JSON string, already unescaped. ok is false
// if f does not accept it. The bytes of s are not kept.
func (f *Field) FromString(s []byte) (v Value, ok bool) {
	switch f.Kind {
	case Enum:
		for i, word := range f.Values {
			if word == string(s) {
				return Value{Set: true, Int: int64(i)}, true
			}
		}
	case Bucket:
		for i := range len(f.Bounds) + 1 {
			if f.label(i) == string(s) {
				return Value{Set: true, Int: int64(i)}, true
			}
		}
	case Version:
		if validVersion(s) {
			return Value{Set: true, Text: string(s)}, true
		}
	case System:
		if i, known := systemIndex[string(s)]; known {
			return Value{Set: true, Int: int64(i)}, true
		}
	case RandomID:
		if id, hyphens, valid := ParseID(s); valid {
			v = Value{Set: true, ID: id}
			if hyphens {
				v.Int = 1
			}
			return v, true
		}
	}
	return Value{}, false
}

// FromNumber reads the value of a JSON number, as written. Only whole numbers
// without a fraction or exponent are accepted. ok is false if f does not accept it.
func (f *Field) FromNumber(literal []byte) (v Value, ok bool) {
	if !f.Kind.Number() || len(literal) == 0 || len(literal) > 16 {
		return Value{}, false
	}
	n := int64(0)
	for _, c := range literal { // 16 digits at most: no overflow
		if c < '0' || c > '9' {
			return Value{}, false
		}
		n = n*10 + int64(c-'0')
	}
	return f.FromInt(n)
}

// FromInt holds a whole number against a field of a numeric kind.
func (f *Field) FromInt(n int64) (v Value, ok bool) {
	switch f.Kind {
	case Bytes, Count, Seconds, Milliseconds:
		if n < 0 || n > MaxInt {
			return Value{}, false
		}
	case Timestamp:
		if n < MinTime || n > MaxTime {
			return Value{}, false
		}
	default:
		return Value{}, false
	}
	return Value{Set: true, Int: n}, true
}

// FromBool reads a JSON true or false. ok is false if f is not a flag.
func (f *Field) FromBool(b bool) (v Value, ok bool) {
	if f.Kind != Flag {
		return Value{}, false
	}
	if b {
		return Value{Set: true, Int: 1}, true
	}
	return Value{Set: true}, true
}

// BucketOf returns the value of a bucket for a measured number: the index of
// the range that n falls into. A number below 0 counts as 0.
func (f *Field) BucketOf(n int64) Value {
	i := 0
	for i < len(f.Bounds) && n >= f.Bounds[i] {
		i++
	}
	return Value{Set: true, Int: int64(i)}
}

// AppendJSON appends v to dst as JSON, in the form that the From functions
// read. v must come from them or from BucketOf; null is written as null, and so
// is an index out of range, so that a damaged value cannot invent a word.
func (f *Field) AppendJSON(dst []byte, v Value) []byte {
	if !v.Set {
		return append(dst, "null"...)
	}
	switch f.Kind {
	case Bytes, Count, Seconds, Milliseconds, Timestamp:
		return strconv.AppendInt(dst, v.Int, 10)
	case Flag:
		return strconv.AppendBool(dst, v.Int != 0)
	}
	before := len(dst)
	dst = append(dst, '"')
	dst = f.appendText(dst, v)
	if len(dst) == before+1 {
		return append(dst[:before], "null"...)
	}
	return append(dst, '"')
}

// Format returns v as people read it: a word, a number, "true", or "(none)" for
// null, as Amplitude prints a missing value.
func (f *Field) Format(v Value) string {
	if !v.Set {
		return None
	}
	switch f.Kind {
	case Bytes, Count, Seconds, Milliseconds, Timestamp:
		return strconv.FormatInt(v.Int, 10)
	case Flag:
		return strconv.FormatBool(v.Int != 0)
	}
	if s := string(f.appendText(nil, v)); s != "" {
		return s
	}
	return None
}

// None stands for a missing value wherever values are shown or grouped by.
const None = "(none)"

// appendText appends the value of a kind that travels as a string. Nothing in
// it needs escaping: validName keeps enum values to characters that JSON takes
// as they are. It appends nothing for an index out of range.
func (f *Field) appendText(dst []byte, v Value) []byte {
	switch f.Kind {
	case Enum:
		if v.Int >= 0 && v.Int < int64(len(f.Values)) {
			dst = append(dst, f.Values[v.Int]...)
		}
	case Bucket:
		if v.Int >= 0 && v.Int <= int64(len(f.Bounds)) {
			dst = append(dst, f.label(int(v.Int))...)
		}
	case Version:
		dst = append(dst, v.Text...)
	case System:
		if v.Int >= 0 && v.Int < int64(len(systems)) {
			dst = append(dst, systems[v.Int]...)
		}
	case RandomID:
		dst = AppendID(dst, v.ID, v.Int != 0)
	}
	return dst
}

// Labels returns the words that values of f can have, in the order of their
// indexes, for Enum, Bucket and System; nil for other kinds.
func (f *Field) Labels() []string {
	switch f.Kind {
	case Enum:
		return append([]string(nil), f.Values...)
	case System:
		return append([]string(nil), systems[:]...)
	case Bucket:
		labels := make([]string, len(f.Bounds)+1)
		for i := range labels {
			labels[i] = f.label(i)
		}
		return labels
	}
	return nil
}

// label names range i of a bucket: "0-9", "10-99", "100+".
func (f *Field) label(i int) string {
	low := int64(0)
	if i > 0 {
		low = f.Bounds[i-1]
	}
	if i == len(f.Bounds) {
		return strconv.FormatInt(low, 10) + "+"
	}
	return strconv.FormatInt(low, 10) + "-" + strconv.FormatInt(f.Bounds[i]-1, 10)
}

// ValidVersion reports whether s has the form of kind version.
func ValidVersion(s string) bool { return validVersion([]byte(s)) }

// validVersion accepts 1 to 3 dotted numbers of up to 6 digits each, optionally
// -dev, or -alpha, -beta or -rc with a number of up to 6 digits. Six digits hold
// every year and build count in use and no telephone number; four numbers could
// be an IP address.
func validVersion(s []byte) bool {
	numbers, suffix, has := bytes.Cut(s, []byte{'-'})
	if has && string(suffix) != "dev" {
		word, n, _ := bytes.Cut(suffix, []byte{'.'})
		switch string(word) {
		case "alpha", "beta", "rc":
		default:
			return false
		}
		if !shortNumber(n) {
			return false
		}
	}
	count := 0
	for part := range bytes.SplitSeq(numbers, []byte{'.'}) {
		if count++; count > 3 || !shortNumber(part) {
			return false
		}
	}
	return true
}

func shortNumber(s []byte) bool {
	if len(s) == 0 || len(s) > 6 || (len(s) > 1 && s[0] == '0') {
		return false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
