package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"
)

// This file reads and writes .npy, the format of numpy.save. We have a codec of our own because
// github.com/sbinet/npyio v0.6.0 does not serve here: it writes slices with one dimension only, it
// takes a file that was cut short for one that ends in zeros, and it panics on a broken header.

// An array is what is in an .npy file: the elements in C order and little-endian, as they travel.
type array struct {
	kind  kind
	shape []int64 // none for a scalar
	data  []byte
}

// A kind is an element type, by its number on the wire.
type kind uint8

// kinds are the element types that can travel, in the order of their numbers, with the type that
// numpy gives them and their size.
var kinds = [...]struct {
	name  string
	numpy string
	size  int
}{
	{"F32", "f4", 4}, {"F64", "f8", 8}, {"I32", "i4", 4}, {"I64", "i8", 8},
	{"U32", "u4", 4}, {"U64", "u8", 8}, {"U8", "u1", 1}, {"U16", "u2", 2},
	{"I8", "i1", 1}, {"I16", "i2", 2}, {"Bool", "b1", 1},
}

func (k kind) String() string { return kinds[k].name }
func (k kind) size() int      { return kinds[k].size }

// kindNamed returns the element type with a name as servers send it.
func kindNamed(name string) (kind, bool) {
	for k, info := range kinds {
		if info.name == name {
			return kind(k), true
		}
	}
	return 0, false
}

// element returns one element as a float32, float64, int64, uint64 or bool.
func (a array) element(i int) any {
	b := a.data[i*a.kind.size():]
	le := binary.LittleEndian
	switch a.kind.String() {
	case "F32":
		return math.Float32frombits(le.Uint32(b))
	case "F64":
		return math.Float64frombits(le.Uint64(b))
	case "I32":
		return int64(int32(le.Uint32(b)))
	case "I64":
		return int64(le.Uint64(b))
	case "U32":
		return uint64(le.Uint32(b))
	case "U64":
		return le.Uint64(b)
	case "U8":
		return uint64(b[0])
	case "U16":
		return uint64(le.Uint16(b))
	case "I8":
		return int64(int8(b[0]))
	case "I16":
		return int64(int16(le.Uint16(b)))
	}
	return b[0] != 0
}

// count returns the number of elements.
func (a array) count() int { return len(a.data) / a.kind.size() }

// check reports whether there is as much data as the shape needs.
func (a array) check() error {
	want, ok := dataSize(a.kind.size(), a.shape)
	switch {
	case !ok:
		return errors.New("its shape is impossible")
	case len(a.data) < want:
		return fmt.Errorf("it is cut short: its shape takes %d bytes, and %d are there", want, len(a.data))
	case len(a.data) > want:
		return fmt.Errorf("it goes on after its data: its shape takes %d bytes, and %d are there", want, len(a.data))
	}
	return nil
}

// dataSize multiplies, and reports whether the result fits.
func dataSize(size int, shape []int64) (int, bool) {
	product := uint64(size)
	for _, n := range shape {
		high, low := bits.Mul64(product, uint64(n))
		if n < 0 || high != 0 || low > math.MaxInt {
			return 0, false
		}
		product = low
	}
	return int(product), true
}

const npyMagic = "\x93NUMPY"

// readNPY reads an .npy file. Big-endian files and those in Fortran order are put right; pickled
// objects, which could run code in numpy, and types that cannot travel are refused.
func readNPY(path string) (array, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return array{}, err
	}
	a, err := parseNPY(file)
	if err != nil {
		return array{}, fmt.Errorf("read %s: %w", path, err)
	}
	return a, nil
}

func parseNPY(file []byte) (a array, err error) {
	rest, ok := bytes.CutPrefix(file, []byte(npyMagic))
	if !ok {
		return a, errors.New("it is not an .npy file; write one with numpy.save")
	}
	truncated := errors.New("its header is cut short")
	if len(rest) < 2 {
		return a, truncated
	}
	major := rest[0]
	rest = rest[2:]
	var size uint64
	switch {
	case major == 1 && len(rest) >= 2:
		size, rest = uint64(binary.LittleEndian.Uint16(rest)), rest[2:]
	case (major == 2 || major == 3) && len(rest) >= 4:
		size, rest = uint64(binary.LittleEndian.Uint32(rest)), rest[4:]
	case major < 1 || major > 3:
		return a, fmt.Errorf("its format version is %d, and this command knows 1 to 3", major)
	default:
		return a, truncated
	}
	if size > uint64(len(rest)) {
		return a, truncated
	}
	header, err := parseHeader(string(rest[:size]))
	if err != nil {
		return a, err
	}
	var swap bool
	if a.kind, swap, err = kindOf(header.descr); err != nil {
		return a, err
	}
	a.shape, a.data = header.shape, rest[size:]
	if err := a.check(); err != nil {
		return a, err
	}
	if swap {
		a.data = swapped(a.data, a.kind.size())
	}
	if header.fortran && len(a.shape) > 1 {
		a.data = rowMajor(a.data, a.shape, a.kind.size())
	}
	return a, nil
}

// kindOf reads numpy's name of a type, such as <f4, and tells whether its bytes are in big-endian
// order.
func kindOf(descr string) (k kind, swap bool, err error) {
	order, name := byte('|'), descr
	if descr != "" && strings.IndexByte("<>=|", descr[0]) >= 0 {
		order, name = descr[0], descr[1:]
	}
	for k, info := range kinds {
		if info.numpy == name {
			return kind(k), order == '>' && info.size > 1, nil
		}
	}
	if name == "f2" {
		return 0, false, errors.New("its elements are float16, which cannot travel; save it with astype(numpy.float32)")
	}
	return 0, false, errors.New("its elements are of a type that cannot travel; " +
		"save float32, float64, bool, or integers of 8 to 64 bits")
}

// swapped returns data with the bytes of each element in reverse.
func swapped(data []byte, size int) []byte {
	out := slices.Clone(data)
	for i := 0; i < len(out); i += size {
		slices.Reverse(out[i : i+size])
	}
	return out
}

// rowMajor returns the elements of an array in Fortran order, whose first index runs fastest, in C
// order, whose last one does.
func rowMajor(data []byte, shape []int64, size int) []byte {
	out := make([]byte, 0, len(data))
	strides := make([]int, len(shape)) // in data
	stride := size
	for i, n := range shape {
		strides[i] = stride
		stride *= int(n)
	}
	index := make([]int64, len(shape))
	for from := 0; len(out) < len(data); {
		out = append(out, data[from:from+size]...)
		for i := len(shape) - 1; i >= 0; i-- {
			index[i]++
			from += strides[i]
			if index[i] < shape[i] {
				break
			}
			from -= strides[i] * int(shape[i])
			index[i] = 0
		}
	}
	return out
}

// A header is the Python dictionary before the data.
type header struct {
	descr   string
	fortran bool
	shape   []int64
}

// parseHeader reads the header: a dictionary with the keys descr, fortran_order and shape.
func parseHeader(text string) (h header, err error) {
	p := &parser{text: text}
	seen := make(map[string]bool)
	p.want('{')
	for p.err == nil && !p.next('}') {
		key := p.quoted()
		p.want(':')
		switch key {
		case "descr":
			if p.next('[') {
				return h, errors.New("its elements are records, which cannot travel; save one field at a time")
			}
			h.descr = p.quoted()
		case "fortran_order":
			h.fortran = p.boolean()
		case "shape":
			h.shape = p.tuple()
		default:
			p.fail()
		}
		seen[key] = true
		if !p.next(',') {
			p.want('}')
			break
		}
	}
	if p.err == nil && (len(seen) != 3 || strings.TrimSpace(p.text) != "") {
		p.fail()
	}
	return h, p.err
}

// A parser reads the few words of Python that a header can have. After the first fault err is set
// and nothing moves.
type parser struct {
	text string // what is left
	err  error
}

func (p *parser) fail() {
	if p.err == nil {
		p.err = errors.New("its header is not one that numpy writes")
		p.text = ""
	}
}

// next steps over c if it comes next, after white space.
func (p *parser) next(c byte) bool {
	p.text = strings.TrimLeft(p.text, " \t\r\n")
	if p.text == "" || p.text[0] != c {
		return false
	}
	p.text = p.text[1:]
	return true
}

func (p *parser) want(c byte) {
	if !p.next(c) {
		p.fail()
	}
}

// quoted reads a string without escapes, which numpy never needs here.
func (p *parser) quoted() string {
	quote := byte('\'')
	if !p.next(quote) {
		quote = '"'
		p.want(quote)
	}
	text, rest, ok := strings.Cut(p.text, string(quote))
	if !ok || strings.Contains(text, `\`) {
		p.fail()
		return ""
	}
	p.text = rest
	return text
}

func (p *parser) boolean() bool {
	p.next(' ')
	for word, value := range map[string]bool{"True": true, "False": false} {
		if rest, ok := strings.CutPrefix(p.text, word); ok {
			p.text = rest
			return value
		}
	}
	p.fail()
	return false
}

func (p *parser) tuple() []int64 {
	shape := []int64{}
	p.want('(')
	for p.err == nil && !p.next(')') {
		end := strings.IndexAny(p.text, ",) ")
		if end < 0 {
			p.fail()
			break
		}
		// Python 2 wrote long integers with an L.
		n, err := strconv.ParseUint(strings.TrimSuffix(p.text[:end], "L"), 10, 63)
		if err != nil {
			p.fail()
			break
		}
		shape = append(shape, int64(n))
		p.text = p.text[end:]
		if !p.next(',') {
			p.want(')')
			break
		}
	}
	return shape
}

// encodeNPY returns a as numpy.save would write it.
func encodeNPY(a array) []byte {
	order := "<"
	if a.kind.size() == 1 {
		order = "|"
	}
	dims := make([]string, len(a.shape))
	for i, n := range a.shape {
		dims[i] = strconv.FormatInt(n, 10)
	}
	tuple := strings.Join(dims, ", ")
	if len(dims) == 1 {
		tuple += ","
	}
	text := fmt.Sprintf("{'descr': '%s%s', 'fortran_order': False, 'shape': (%s), }",
		order, kinds[a.kind].numpy, tuple)
	// The data starts at a multiple of 64, after a line feed.
	const before = len(npyMagic) + 4
	text += strings.Repeat(" ", 63-(before+len(text))%64) + "\n"
	out := []byte(npyMagic + "\x01\x00")
	out = binary.LittleEndian.AppendUint16(out, uint16(len(text)))
	out = append(out, text...)
	return append(out, a.data...)
}

// writeNPY writes a to a file.
func writeNPY(path string, a array) error {
	return os.WriteFile(path, encodeNPY(a), 0o666)
}
