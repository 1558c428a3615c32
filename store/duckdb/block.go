package duckdb

import (
	"encoding/binary"
	"hash/crc32"
)

// A block of the journal is what one Append has stored. It starts with 36 bytes,
// all numbers little-endian:
//
//	0   4  blockMagic
//	4   4  length of the rest, from byte 36
//	8   8  the block's number: one more than that of the block before
//	16  8  the number of its first event
//	24  4  how many events there are
//	28  4  CRC-32C of the rest
//	32  4  CRC-32C of the 32 bytes before
//
// The rest is the length of the app's name in one byte, the name, the shape of
// its tables (see newShape), the number of new sessions, both in 4 bytes, the
// columns of these (see columns.append) and those of the events.
const (
	blockMagic  = "bjb1"
	blockHeader = 36
)

// blockHead is the start of a block.
type blockHead struct {
	length int // of the whole block
	number int64
	first  int64 // the number of its first event
	rows   int
	sum    uint32
}

// appendBlock appends b as a block to dst, which is empty. The number is written
// by setNumber.
func (b *batch) appendBlock(dst []byte) []byte {
	dst = append(dst, make([]byte, blockHeader)...)
	dst = append(dst, byte(len(b.plan.App))) // a plan's check bounds it
	dst = append(dst, b.plan.App...)
	dst = binary.LittleEndian.AppendUint32(dst, b.shape)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(b.sessions)))
	if len(b.sessions) > 0 {
		dst = b.sessionColumns.append(dst)
	}
	dst = b.eventColumns.append(dst)

	copy(dst, blockMagic)
	binary.LittleEndian.PutUint32(dst[4:], uint32(len(dst)-blockHeader))
	binary.LittleEndian.PutUint64(dst[16:], uint64(b.firstRow))
	binary.LittleEndian.PutUint32(dst[24:], uint32(b.eventColumns.rows))
	binary.LittleEndian.PutUint32(dst[28:], crc32.Checksum(dst[blockHeader:], castagnoli))
	return dst
}

// setNumber gives a block its number, and closes its head.
func setNumber(block []byte, number int64) {
	binary.LittleEndian.PutUint64(block[8:], uint64(number))
	binary.LittleEndian.PutUint32(block[32:], crc32.Checksum(block[:32], castagnoli))
}

// readHead reads the head of a block. ok is false if b does not start with one.
func readHead(b []byte) (h blockHead, ok bool) {
	if len(b) < blockHeader || string(b[:4]) != blockMagic ||
		binary.LittleEndian.Uint32(b[32:]) != crc32.Checksum(b[:32], castagnoli) {
		return blockHead{}, false
	}
	return blockHead{
		length: blockHeader + int(binary.LittleEndian.Uint32(b[4:])),
		number: int64(binary.LittleEndian.Uint64(b[8:])),
		first:  int64(binary.LittleEndian.Uint64(b[16:])),
		rows:   int(binary.LittleEndian.Uint32(b[24:])),
		sum:    binary.LittleEndian.Uint32(b[28:]),
	}, true
}

// whole reports whether b starts with all of the block.
func (h blockHead) whole(b []byte) bool {
	return len(b) >= h.length && crc32.Checksum(b[blockHeader:h.length], castagnoli) == h.sum
}

// A block is one that was read.
type block struct {
	blockHead
	app          string
	shape        uint32
	sessionCount int
	columns      []byte
}

// readBlock reads b, which is a whole block with the head h.
func readBlock(h blockHead, b []byte) (*block, error) {
	r := cutter{b: b[blockHeader:h.length]}
	x := &block{blockHead: h}
	x.app = string(r.bytes(int(r.byte())))
	x.shape = r.uint32()
	x.sessionCount = int(r.uint32())
	x.columns = r.b
	if r.short {
		return nil, errBlock
	}
	return x, nil
}

// read returns the columns of the new sessions, and those of the events.
func (x *block) read(l *layout) (sessions, events []stored, err error) {
	rest := x.columns
	if x.sessionCount > 0 {
		if sessions, rest, err = readColumns(rest, l.sessionParts(), x.sessionCount); err != nil {
			return nil, nil, err
		}
	}
	if events, rest, err = readColumns(rest, l.eventParts(), x.rows); err == nil && len(rest) > 0 {
		err = errBlock
	}
	return sessions, events, err
}
