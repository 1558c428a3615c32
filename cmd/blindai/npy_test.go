package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func npyFile(name string) string { return filepath.Join("testdata", "npy", name+".npy") }

// describe shows an array with all its values.
func describe(a array) string {
	text := fmt.Sprintf("%s %v", a.kind, a.shape)
	for i := range a.count() {
		text += fmt.Sprintf(" %v", a.element(i))
	}
	return text
}

// The files were written by numpy.
func TestReadNPY(t *testing.T) {
	cube := "U16 [2 3 4]"
	for i := range 24 {
		cube += fmt.Sprintf(" %d", i)
	}
	for name, want := range map[string]string{
		"f4":           "F32 [2 3] 0 1 2 3 4 5",
		"f8":           "F64 [2 3] 0 1 2 3 4 5",
		"i4":           "I32 [2 3] 0 1 2 3 4 5",
		"i8":           "I64 [2 3] 0 1 2 3 4 5",
		"u4":           "U32 [2 3] 0 1 2 3 4 5",
		"u8":           "U64 [2 3] 0 1 2 3 4 5",
		"u1":           "U8 [2 3] 0 1 2 3 4 5",
		"u2":           "U16 [2 3] 0 1 2 3 4 5",
		"i1":           "I8 [2 3] 0 1 2 3 4 5",
		"i2":           "I16 [2 3] 0 1 2 3 4 5",
		"b1":           "Bool [2 3] false true false true false true",
		"scalar":       "I64 [] 42",
		"scalar_bool":  "Bool [] true",
		"vector":       "F32 [3] 0 1 2",
		"empty":        "F32 [0 3]",
		"big_endian":   "I32 [2 3] 0 1 2 3 4 5",
		"fortran":      "F64 [2 3] 0 1 2 3 4 5",
		"fortran_cube": cube,
		"version2":     "F32 [2 3] 0 1 2 3 4 5",
		"version3":     "F32 [2 3] 0 1 2 3 4 5",
	} {
		t.Run(name, func(t *testing.T) {
			a, err := readNPY(npyFile(name))
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(a); got != want {
				t.Errorf("it holds %s, want %s", got, want)
			}
		})
	}
}

// What is written has, byte for byte, the form in which numpy writes it.
func TestWriteNPY(t *testing.T) {
	for _, name := range strings.Fields("f4 f8 i4 i8 u4 u8 u1 u2 i1 i2 b1 scalar scalar_bool vector empty") {
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(npyFile(name))
			if err != nil {
				t.Fatal(err)
			}
			a, err := parseNPY(want)
			if err != nil {
				t.Fatal(err)
			}
			if got := encodeNPY(a); !bytes.Equal(got, want) {
				t.Errorf("written:\n%q, numpy:\n%q", got, want)
			}
		})
	}
}

func TestReadNPYRefuses(t *testing.T) {
	for name, want := range map[string]string{
		"half":    "float16, which cannot travel; save it with astype",
		"text":    "of a type that cannot travel",
		"complex": "of a type that cannot travel",
		"object":  "of a type that cannot travel",
		"record":  "records, which cannot travel",
		"missing": "no such file",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readNPY(npyFile(name))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("readNPY = %v, want it to say %q", err, want)
			}
		})
	}

	good := encodeNPY(array{kind: 0, shape: []int64{2}, data: make([]byte, 8)})
	header := func(text string) []byte {
		return append([]byte(npyMagic+"\x01\x00"+string(rune(len(text)))+"\x00"), text...)
	}
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "not an .npy file"},
		{"a zip file", []byte("PK\x03\x04 more of it"), "not an .npy file"},
		{"the first words alone", good[:6], "cut short"},
		{"half a header", good[:40], "cut short"},
		{"half the data", good[:len(good)-4], "it is cut short: its shape takes 8 bytes, and 4 are there"},
		{"more than the data", append(bytes.Clone(good), 0), "goes on after its data"},
		{"a version to come", []byte(npyMagic + "\x09\x00\x00\x00"), "version is 9"},
		{"no dictionary", header("hello"), "not one that numpy writes"},
		{"an empty dictionary", header("{}"), "not one that numpy writes"},
		{"an open dictionary", header("{'descr': '<f4', "), "not one that numpy writes"},
		{"an open text", header("{'descr': '<f4"), "not one that numpy writes"},
		{"a key of its own", header("{'descr': '<f4', 'fortran_order': False, 'colour': ()}"), "not one that numpy writes"},
		{"a shape that is no tuple", header("{'descr': '<f4', 'fortran_order': False, 'shape': 3, }"), "not one that numpy writes"},
		{"a negative dimension", header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), "not one that numpy writes"},
		{"a shape that overflows", header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,4)}"), "impossible"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseNPY(tt.file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parseNPY = %v, want it to say %q", err, tt.want)
			}
		})
	}
}

// FuzzNPY reads files that anybody may have made. What is accepted survives being written and read
// again.
func FuzzNPY(f *testing.F) {
	files, err := filepath.Glob(npyFile("*"))
	if err != nil || len(files) == 0 {
		f.Fatal("no files to start from", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err := parseNPY(file)
		if err != nil || len(a.shape) > 64 {
			return
		}
		again, err := parseNPY(encodeNPY(a))
		if err != nil {
			t.Fatal(err)
		}
		if describe(a) != describe(again) {
			t.Errorf("%s became %s", describe(a), describe(again))
		}
	})
}
