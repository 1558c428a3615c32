package duckdb

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// columns collects rows for a block, column by column. It is used again and
// again, so that a record costs no allocation.
type columns struct {
	rows int
	list []collected // one for each part
}

// collected is one column of columns: its values, without the nulls.
type collected struct {
	as    partType
	ints  []int64 // of all types but UUID; of text, the indexes in words
	ids   []plan.ID
	words []string
	index map[string]int64 // of words

	nulls int
	null  []byte // a bit for each row up to the last null, 1 for a null
}

// reset makes c ready for parts, and for rows or more; the caller sets c.rows
// if it is another number.
func (c *columns) reset(parts []part, rows int) {
	if cap(c.list) < len(parts) {
		c.list = append(c.list[:cap(c.list)], make([]collected, len(parts)-cap(c.list))...)
	}
	c.rows, c.list = rows, c.list[:len(parts)]
	for i, p := range parts {
		v := &c.list[i]
		v.as, v.nulls = p.as, 0
		v.ints, v.ids, v.words = v.ints[:0], v.ids[:0], v.words[:0]
		if p.as != partUUID {
			v.ints = slices.Grow(v.ints, rows)
		}
		v.null = v.null[:0]
		clear(v.index)
	}
}

// setInt appends a value, setNull the lack of one, to the column i for row.
func (c *columns) setInt(i int, n int64) {
	v := &c.list[i]
	v.ints = append(v.ints, n)
}

func (c *columns) setNull(i, row int) {
	v := &c.list[i]
	v.nulls++
	v.null = pad(v.null, row>>3+1)
	v.null[row>>3] |= 1 << (row & 7)
}

func (c *columns) setID(i int, id plan.ID) {
	v := &c.list[i]
	v.ids = append(v.ids, id)
}

func (c *columns) setText(i int, text string) {
	v := &c.list[i]
	at, ok := v.index[text]
	if !ok {
		if v.index == nil {
			v.index = map[string]int64{}
		}
		at = int64(len(v.words))
		v.words = append(v.words, text)
		v.index[text] = at
	}
	v.ints = append(v.ints, at)
}

// set appends values, which have passed check, to the parts from i on.
func (c *columns) set(i, row int, fields []column, values []plan.Value) {
	for j := range values {
		v := &values[j]
		isID := fields[j].Kind == plan.RandomID
		switch {
		case !v.Set:
			c.setNull(i, row)
			if isID {
				c.setNull(i+1, row)
			}
		case isID:
			c.setID(i, v.ID)
			c.setInt(i+1, v.Int)
		case fields[j].Kind == plan.Version:
			c.setText(i, v.Text)
		default:
			c.setInt(i, v.Int)
		}
		i++
		if isID {
			i++
		}
	}
}

// A column in a block starts with one of these. The bits of the nulls follow if
// only some rows are null; then the values of those that are not: 16 bytes for
// a UUID; for text the words, each after its length, and their number before
// them, and then the index of each row's word as an integer. Integers are one
// byte for their width (0, 1, 2, 4 or 8), 8 for the least one, and what each is
// more than that. Everything is little-endian.
const (
	nullNone = iota
	nullSome
	nullAll
)

// pad returns b with zeros up to length n.
func pad(b []byte, n int) []byte {
	if len(b) < n {
		b = append(b, make([]byte, n-len(b))...)
	}
	return b
}

// append appends c to dst as a block holds it.
func (c *columns) append(dst []byte) []byte {
	for i := range c.list {
		v := &c.list[i]
		if v.nulls == c.rows {
			dst = append(dst, nullAll)
			continue
		}
		if v.nulls == 0 {
			dst = append(dst, nullNone)
		} else {
			dst = append(dst, nullSome)
			dst = append(dst, pad(v.null, (c.rows+7)/8)...)
		}
		switch v.as {
		case partUUID:
			for _, id := range v.ids {
				dst = append(dst, id[:]...)
			}
			continue
		case partText:
			dst = binary.AppendUvarint(dst, uint64(len(v.words)))
			for _, w := range v.words {
				dst = binary.AppendUvarint(dst, uint64(len(w)))
				dst = append(dst, w...)
			}
		}
		dst = appendInts(dst, v.ints)
	}
	return dst
}

// appendInts appends one or more integers.
func appendInts(dst []byte, ints []int64) []byte {
	least, most := ints[0], ints[0]
	for _, n := range ints {
		least, most = min(least, n), max(most, n)
	}
	width := 0
	if spread := uint64(most - least); spread > 0 {
		width = 1 << bits.Len((uint(bits.Len64(spread))-1)/8)
	}
	dst = append(dst, byte(width))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(least))
	at := len(dst)
	dst = append(dst, make([]byte, width*len(ints))...)
	b := dst[at:]
	switch width {
	case 1:
		for i, n := range ints {
			b[i] = byte(n - least)
		}
	case 2:
		for i, n := range ints {
			binary.LittleEndian.PutUint16(b[i*2:], uint16(n-least))
		}
	case 4:
		for i, n := range ints {
			binary.LittleEndian.PutUint32(b[i*4:], uint32(n-least))
		}
	case 8:
		for i, n := range ints {
			binary.LittleEndian.PutUint64(b[i*8:], uint64(n-least))
		}
	}
	return dst
}

// stored is a column as it lies in a block, read from its start to its end.
type stored struct {
	as    partType
	nulls byte   // nullNone and so on
	null  []byte // if nullSome
	width int
	least int64
	data  []byte
	words []string

	row   int // the next one
	value int // the next one's in data, if it is not null
}

var errBlock = errors.New("a block does not hold what its checksum says")

// readColumns reads what columns.append has written, and returns the rest of b.
func readColumns(b []byte, parts []part, rows int) (list []stored, rest []byte, err error) {
	list = make([]stored, len(parts))
	r := cutter{b: b}
	for i, p := range parts {
		v := &list[i]
		*v = stored{as: p.as, nulls: r.byte()}
		values := rows
		switch v.nulls {
		case nullNone:
		case nullSome:
			v.null = r.bytes((rows + 7) / 8)
			for _, x := range v.null {
				values -= bits.OnesCount8(x)
			}
		case nullAll:
			continue
		default:
			return nil, nil, errBlock
		}
		if p.as == partUUID {
			v.width = len(plan.ID{})
			v.data = r.bytes(values * v.width)
			continue
		}
		if p.as == partText {
			for n := r.uvarint(); n > 0 && !r.short; n-- {
				v.words = append(v.words, string(r.bytes(r.uvarint())))
			}
		}
		v.width, v.least = int(r.byte()), int64(r.uint64())
		switch v.width {
		case 0, 1, 2, 4, 8:
			v.data = r.bytes(values * v.width)
		default:
			return nil, nil, errBlock
		}
	}
	if r.short {
		return nil, nil, errBlock
	}
	return list, r.b, nil
}

// isNull reports whether the next row is null.
func (v *stored) isNull() bool {
	return v.nulls == nullAll || v.nulls == nullSome && v.null[v.row>>3]>>(v.row&7)&1 == 1
}

// skip passes over n rows.
func (v *stored) skip(n int) {
	if v.nulls == nullNone {
		v.value += n
		v.row += n
		return
	}
	for range n {
		if !v.isNull() {
			v.value++
		}
		v.row++
	}
}

// int returns the next integer, which is there.
func (v *stored) int() int64 {
	i := v.value
	v.value++
	switch v.width {
	case 1:
		return v.least + int64(v.data[i])
	case 2:
		return v.least + int64(binary.LittleEndian.Uint16(v.data[i*2:]))
	case 4:
		return v.least + int64(binary.LittleEndian.Uint32(v.data[i*4:]))
	case 8:
		return v.least + int64(binary.LittleEndian.Uint64(v.data[i*8:]))
	}
	return v.least
}

// readInts fills dst with the next integers, none of which is null.
func readInts[T int64 | uint8 | uint16](dst []T, v *stored) {
	i := v.value
	v.value += len(dst)
	v.row += len(dst)
	switch v.width {
	case 0:
		for j := range dst {
			dst[j] = T(v.least)
		}
	case 1:
		for j, n := range v.data[i : i+len(dst)] {
			dst[j] = T(v.least + int64(n))
		}
	case 2:
		b := v.data[i*2:]
		for j := range dst {
			dst[j] = T(v.least + int64(binary.LittleEndian.Uint16(b[j*2:])))
		}
	case 4:
		b := v.data[i*4:]
		for j := range dst {
			dst[j] = T(v.least + int64(binary.LittleEndian.Uint32(b[j*4:])))
		}
	case 8:
		b := v.data[i*8:]
		for j := range dst {
			dst[j] = T(v.least + int64(binary.LittleEndian.Uint64(b[j*8:])))
		}
	}
}

// A cutter cuts pieces from the start of b. When b is too short it says so and
// returns nothing.
type cutter struct {
	b     []byte
	short bool
}

func (r *cutter) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	cut := r.b[:n:n]
	r.b = r.b[n:]
	return cut
}

func (r *cutter) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *cutter) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *cutter) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *cutter) uvarint() int {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > 1<<30 {
		r.short, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return int(n)
}
