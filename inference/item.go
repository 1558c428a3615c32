package inference

import (
	"encoding/binary"
	"errors"

	"github.com/fxamacker/cbor/v2"
)

// An item starts with one CBOR data item, of which nothing is known yet.
//
// The outlines of requests are read by hand, because clients send a model as an array of integers,
// one for each byte. A library for CBOR either refuses an array of that length or takes a general
// path for every element: fxamacker/cbor takes 0.39 s for a model of 14 MB, the loops here 0.07 s.
// It reads everything that is small, under the limits of strict.
type item []byte

// strict reads the small values of a request: texts, numbers and shapes.
var strict = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		MaxArrayElements: maxRank,
		MaxMapPairs:      64,
		MaxNestedLevels:  4,
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		UTF8:             cbor.UTF8RejectInvalid,
		TagsMd:           cbor.TagsForbidden,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}()

// The major types of CBOR, and the argument that marks an indefinite length.
const (
	majorUint, majorNegative, majorBytes, majorText = 0, 1, 2, 3
	majorArray, majorMap, majorTag, majorSimple     = 4, 5, 6, 7
	indefinite                                      = 31
	breakByte                                       = 0xff
)

// maxNesting bounds how deeply items may nest. No request goes further than five.
const maxNesting = 32

var (
	errTruncated = errors.New("ends in the middle of a CBOR item")
	errNotCBOR   = errors.New("is not valid CBOR")
	errNesting   = errors.New("nests its values too deeply")
	errNotText   = errors.New("has a key that is not a text")
	errNotBytes  = errors.New("is neither a byte string nor a text nor an array of integers from 0 to 255")
)

// head reads the first bytes of the item at b[at:] and returns where its contents start. For an
// indefinite length, more is true.
func head(b []byte, at int) (major int, arg uint64, more bool, next int, err error) {
	if at >= len(b) {
		return 0, 0, false, 0, errTruncated
	}
	major = int(b[at] >> 5)
	info := b[at] & 0x1f
	at++
	if info < 24 {
		return major, uint64(info), false, at, nil
	}
	rest := b[at:]
	switch {
	case info == 24 && len(rest) >= 1:
		arg, at = uint64(rest[0]), at+1
	case info == 25 && len(rest) >= 2:
		arg, at = uint64(binary.BigEndian.Uint16(rest)), at+2
	case info == 26 && len(rest) >= 4:
		arg, at = uint64(binary.BigEndian.Uint32(rest)), at+4
	case info == 27 && len(rest) >= 8:
		arg, at = binary.BigEndian.Uint64(rest), at+8
	case info == indefinite:
		if major < majorBytes || major > majorMap {
			return 0, 0, false, 0, errNotCBOR
		}
		return major, 0, true, at, nil
	case info > 27:
		return 0, 0, false, 0, errNotCBOR
	default:
		return 0, 0, false, 0, errTruncated
	}
	if major == majorSimple && info == 24 && arg < 32 {
		return 0, 0, false, 0, errNotCBOR
	}
	return major, arg, false, at, nil
}

// end returns where the item at b[at:] ends, having made sure that it is well-formed up to there.
func end(b []byte, at, depth int) (int, error) {
	if depth > maxNesting {
		return 0, errNesting
	}
	major, arg, more, at, err := head(b, at)
	if err != nil {
		return 0, err
	}
	switch major {
	case majorBytes, majorText:
		if !more {
			if arg > uint64(len(b)-at) {
				return 0, errTruncated
			}
			return at + int(arg), nil
		}
		for {
			if at < len(b) && b[at] == breakByte {
				return at + 1, nil
			}
			_, next, err := chunk(b, at, major)
			if err != nil {
				return 0, err
			}
			at = next
		}
	case majorArray:
		return endOfItems(b, at, depth, arg, more, 1)
	case majorMap:
		return endOfItems(b, at, depth, arg, more, 2)
	case majorTag:
		return end(b, at, depth+1)
	}
	return at, nil
}

// endOfItems returns where the contents of an array or a map end: count times per items, or up to
// a break.
func endOfItems(b []byte, at, depth int, count uint64, more bool, per int) (int, error) {
	if !more && count > uint64(len(b)-at) { // each takes a byte at least
		return 0, errTruncated
	}
	for more || count > 0 {
		if more && at < len(b) && b[at] == breakByte {
			return at + 1, nil
		}
		for range per {
			// Small integers are most of what there is; the general path is for the rest.
			if at < len(b) && b[at] < 24 {
				at++
				continue
			}
			if at+1 < len(b) && b[at] == 24 {
				at += 2
				continue
			}
			next, err := end(b, at, depth+1)
			if err != nil {
				return 0, err
			}
			at = next
		}
		count--
	}
	return at, nil
}

// chunk returns one part of a string of indefinite length, and where the next one starts.
func chunk(b []byte, at, major int) (part []byte, next int, err error) {
	m, size, more, at, err := head(b, at)
	if err != nil {
		return nil, 0, err
	}
	if m != major || more {
		return nil, 0, errNotCBOR
	}
	if size > uint64(len(b)-at) {
		return nil, 0, errTruncated
	}
	return b[at : at+int(size)], at + int(size), nil
}

// eachPair calls do for every pair of a map whose keys are texts and returns what follows the map.
func (i item) eachPair(do func(key string, value item) error) (rest []byte, err error) {
	major, count, more, at, err := head(i, 0)
	if err != nil {
		return nil, err
	}
	if major != majorMap {
		return nil, errors.New("is not a CBOR map")
	}
	for more || count > 0 {
		if more && at < len(i) && i[at] == breakByte {
			at++
			break
		}
		value, err := end(i, at, 1)
		if err != nil {
			return nil, err
		}
		if i[at]>>5 != majorText {
			return nil, errNotText
		}
		var key string
		if err := strict.Unmarshal(i[at:value], &key); err != nil {
			return nil, errNotText
		}
		if at, err = end(i, value, 1); err != nil {
			return nil, err
		}
		if err := do(key, i[value:at]); err != nil {
			return nil, err
		}
		count--
	}
	return i[at:], nil
}

// eachElement calls do for every element of an array.
func (i item) eachElement(do func(item) error) error {
	major, count, more, at, err := head(i, 0)
	if err != nil {
		return err
	}
	if major != majorArray {
		return errors.New("is not a CBOR array")
	}
	for more || count > 0 {
		if more && at < len(i) && i[at] == breakByte {
			break
		}
		next, err := end(i, at, 1)
		if err != nil {
			return err
		}
		if err := do(i[at:next]); err != nil {
			return err
		}
		at = next
		count--
	}
	return nil
}

// octets returns the bytes that the item holds, in any of the three forms in which clients send
// them. They may be part of the item.
func (i item) octets() ([]byte, error) {
	major, size, more, at, err := head(i, 0)
	if err != nil {
		return nil, err
	}
	switch major {
	case majorBytes, majorText:
		if !more {
			if size > uint64(len(i)-at) {
				return nil, errTruncated
			}
			return i[at : at+int(size)], nil
		}
		var whole []byte
		for at < len(i) && i[at] != breakByte {
			part, next, err := chunk(i, at, major)
			if err != nil {
				return nil, err
			}
			whole = append(whole, part...)
			at = next
		}
		return whole, nil
	case majorArray:
		return i.integers(at, size, more)
	}
	return nil, errNotBytes
}

// integers returns the bytes of an array of integers that starts at i[at:].
func (i item) integers(at int, count uint64, more bool) ([]byte, error) {
	if !more && count > uint64(len(i)-at) {
		return nil, errTruncated
	}
	whole := make([]byte, 0, count)
	for more || count > 0 {
		if at >= len(i) {
			return nil, errTruncated
		}
		switch b := i[at]; {
		case b < 24: // the integer itself
			whole = append(whole, b)
			at++
		case b == 24 && at+1 < len(i): // the integer in the next byte
			whole = append(whole, i[at+1])
			at += 2
		case b == breakByte && more:
			return whole, nil
		default: // more bytes than needed, or no integer
			major, value, open, next, err := head(i, at)
			if err != nil {
				return nil, err
			}
			if major != majorUint || open || value > 255 {
				return nil, errNotBytes
			}
			whole = append(whole, byte(value))
			at = next
		}
		count--
	}
	return whole, nil
}

// null reports whether the item is CBOR's null.
func (i item) null() bool { return len(i) == 1 && i[0] == 0xf6 }
