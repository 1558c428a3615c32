package inference

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// array writes bytes as clients in Python do: an integer for each.
func array(data []byte) []byte {
	n := len(data)
	out := []byte{majorArray<<5 | 26, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	for _, b := range data {
		if b >= 24 {
			out = append(out, 24)
		}
		out = append(out, b)
	}
	return out
}

func TestOctets(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, tt := range []struct {
		name string
		cbor string
		want []byte
	}{
		{"a byte string", "\x43\x01\x02\xff", []byte{1, 2, 255}},
		{"an empty byte string", "\x40", nil},
		{"a byte string in parts", "\x5f\x41\x01\x40\x42\x02\xff\xff", []byte{1, 2, 255}},
		{"a text", "\x62hi", []byte("hi")},
		{"a text in parts", "\x7f\x61h\x61i\xff", []byte("hi")},
		{"an array", "\x83\x01\x02\x18\xff", []byte{1, 2, 255}},
		{"an array of no length", "\x9f\x01\x02\x18\xff\xff", []byte{1, 2, 255}},
		{"an empty array", "\x80", nil},
		{"integers wider than needed", "\x84\x18\x01\x19\x00\x02\x1a\x00\x00\x00\x03\x1b\x00\x00\x00\x00\x00\x00\x00\xff", []byte{1, 2, 3, 255}},
		{"every byte", string(array(all)), all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if n, err := end([]byte(tt.cbor), 0, 0); err != nil || n != len(tt.cbor) {
				t.Errorf("it ends at %d (%v), want %d", n, err, len(tt.cbor))
			}
			got, err := item(tt.cbor).octets()
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("octets = %x, %v; want %x", got, err, tt.want)
			}
		})
	}
	for _, tt := range []struct {
		name string
		cbor string
		want error
	}{
		{"256", "\x81\x19\x01\x00", errNotBytes},
		{"a negative integer", "\x81\x20", errNotBytes},
		{"an array in it", "\x81\x80", errNotBytes},
		{"a number", "\x01", errNotBytes},
		{"a map", "\xa0", errNotBytes},
		{"null", "\xf6", errNotBytes},
		{"half an array", "\x83\x01", errTruncated},
		{"more than any machine has", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01", errTruncated},
		{"a string longer than the request", "\x5b\xff\xff\xff\xff\xff\xff\xff\xff\x01", errTruncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := item(tt.cbor).octets(); !errors.Is(err, tt.want) {
				t.Errorf("octets = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestEndRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":                    "",
		"a reserved length":          "\x1c",
		"a break outside":            "\xff",
		"a break as a map's value":   "\xbf\x61a\xff",
		"parts of another kind":      "\x5f\x61a\xff",
		"parts of parts":             "\x5f\x5f\x41a\xff\xff",
		"a two-byte simple value":    "\xf8\x01",
		"an open integer":            "\x1f",
		"a tag without a value":      "\xc1",
		"nesting without end":        strings.Repeat("\x81", 1000) + "\x00",
		"nesting tags without end":   strings.Repeat("\xc1", 1000) + "\x00",
		"an array cut in the middle": "\x82\x18",
	} {
		t.Run(name, func(t *testing.T) {
			if n, err := end([]byte(in), 0, 0); err == nil {
				t.Errorf("it was accepted up to %d", n)
			}
		})
	}
}

// FuzzItem holds the reader against fxamacker/cbor: they agree on what is well-formed and on the
// bytes that are in it, and never run past the end.
func FuzzItem(f *testing.F) {
	for _, seed := range []string{
		"\x43\x01\x02\xff", "\x83\x01\x02\x18\xff", "\x9f\x01\x18\xff\xff", "\x62hi", "\x7f\x61h\x61i\xff",
		"\x5f\x41\x01\x42\x02\xff\xff", "\xa1\x61a\x82\x01\x20", "\xbf\x61a\x01\xff", "\xc1\x01", "\xf9\x3c\x00",
		"\xf8\x20", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := end(in, 0, 0)
		if err == nil && (n < 1 || n > len(in)) {
			t.Fatalf("ends at %d of %d", n, len(in))
		}
		if !errors.Is(err, errNesting) {
			if err == nil {
				in = in[:n]
			}
			if theirs := cbor.Wellformed(in); (theirs == nil) != (err == nil) && !limitOf(theirs) {
				t.Errorf("well-formed here: %v, there: %v", err, theirs)
			}
		}
		if err != nil {
			item(in).octets() // must return, whatever it says
			return
		}
		got, err := item(in).octets()
		if err != nil {
			return
		}
		var want []byte
		if in[0]>>5 == majorText {
			var text string
			if cbor.Unmarshal(in, &text) != nil {
				return // not UTF-8
			}
			want = []byte(text)
		} else if err := cbor.Unmarshal(in, &want); err != nil {
			if !limitOf(err) {
				t.Errorf("bytes here, there: %v", err)
			}
			return
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%x here, %x there", got, want)
		}
	})
}

// limitOf reports whether the library gave up for a limit of its own.
func limitOf(err error) bool {
	return err != nil && strings.Contains(err.Error(), "exceeded max")
}

// largeUpload is what the Python client sends for a model of 14 MB of float weights.
func largeUpload() []byte {
	const size = 13_960_000
	model := make([]byte, size)
	x := uint32(1)
	for i := range model { // a cheap generator: the share of small bytes is all that counts
		x = x*1664525 + 1013904223
		model[i] = byte(x >> 24)
	}
	body := []byte{0xa4}
	body = append(append(body, "\x65model"...), array(model)...)
	body = append(body, "\x66length\x1a\x00\xd5\x03\xc0"...)
	body = append(body, "\x6amodel_name\x60"...)
	return append(body, "\x68optimize\xf5"...)
}

// TestLargeUpload: a model as the Python client sends it has an element for each
// byte, far beyond the limit that CBOR libraries set by default.
func TestLargeUpload(t *testing.T) {
	request, err := readUpload(largeUpload())
	if err != nil || len(request.model) != 13_960_000 {
		t.Fatalf("read %d bytes, %v", len(request.model), err)
	}
}

func BenchmarkLargeUpload(b *testing.B) {
	body := largeUpload()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := readUpload(body); err != nil {
			b.Fatal(err)
		}
	}
}
