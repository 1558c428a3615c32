package storetest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// Forms are the ways in which an id may be written in a file: its bytes and
// halves, forwards and backwards, as the number with its highest bit turned that
// databases make of a UUID, the halves of that in LEB128, as DuckDB writes what is
// the same in all rows, and as text.
func Forms(id plan.ID) (all [][]byte) {
	turned := id
	turned[0] ^= 0x80
	for _, half := range [][]byte{id[:8], turned[:8], id[8:]} {
		n := binary.BigEndian.Uint64(half)
		for _, b := range [][]byte{binary.AppendUvarint(nil, n), appendSigned(nil, int64(n))} {
			if len(b) >= len(half) { // of a made-up id it may be a byte or two, which are everywhere
				all = append(all, b)
			}
		}
	}
	for _, b := range [][]byte{id[:], turned[:], id[:8], turned[:8], id[8:]} {
		back := bytes.Clone(b)
		slices.Reverse(back)
		all = append(all, bytes.Clone(b), back)
	}
	for _, text := range []string{hex.EncodeToString(id[:]), string(plan.AppendID(nil, id, true))} {
		all = append(all, []byte(text), bytes.ToUpper([]byte(text)))
	}
	// The last byte's characters depend on what follows.
	return append(all, []byte(base64.RawStdEncoding.EncodeToString(id[:15])), []byte(base64.RawURLEncoding.EncodeToString(id[:15])))
}

// appendSigned appends n in signed LEB128, which is not the zig-zag of
// binary.AppendVarint.
func appendSigned(b []byte, n int64) []byte {
	for n >= 64 || n < -64 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n)&0x7f)
}

// Holds reports whether b has an id in one of its forms.
func Holds(b []byte, id plan.ID) bool {
	return slices.ContainsFunc(Forms(id), func(form []byte) bool { return bytes.Contains(b, form) })
}

// Traces returns the names of the files in dir that hold an id, from the first
// byte to the last. A test that finds none shows with another id that it looks in
// the right way.
func Traces(t testing.TB, dir string, id plan.ID) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if Holds(b, id) {
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
