package onnx

// A field is one field of a protocol buffers message: a number of its own, and a varint or bytes.
// Fixed-width values are stepped over, because no field that is read here has one.
type field struct {
	number int
	varint uint64
	bytes  []byte // part of the message, not a copy
}

// The ways in which a field can be written.
const (
	wireVarint, wireFixed64, wireBytes   = 0, 1, 2
	wireGroup, wireGroupEnd, wireFixed32 = 3, 4, 5
)

// eachField calls do for every field of a message, in order. It returns errMalformed at the first
// byte that cannot be part of a message, or what do returns.
func eachField(message []byte, do func(field) error) error {
	groups := 0 // open ones; deprecated for ages, but readers still have to step over them
	for len(message) > 0 {
		tag, n := varint(message)
		tag &= 1<<32 - 1
		if n == 0 || tag>>3 == 0 {
			return errMalformed
		}
		message = message[n:]
		f := field{number: int(tag >> 3)}
		switch tag & 7 {
		case wireVarint:
			f.varint, n = varint(message)
			if n == 0 {
				return errMalformed
			}
			message = message[n:]
		case wireBytes:
			size, n := varint(message)
			if n == 0 || size > uint64(len(message)-n) {
				return errMalformed
			}
			f.bytes = message[n : n+int(size)]
			message = message[n+int(size):]
		case wireFixed64, wireFixed32:
			width := 8
			if tag&7 == wireFixed32 {
				width = 4
			}
			if len(message) < width {
				return errMalformed
			}
			message = message[width:]
			continue
		case wireGroup:
			groups++
			continue
		case wireGroupEnd:
			if groups == 0 {
				return errMalformed
			}
			groups--
			continue
		default:
			return errMalformed
		}
		if groups > 0 {
			continue
		}
		if err := do(f); err != nil {
			return err
		}
	}
	if groups != 0 {
		return errMalformed
	}
	return nil
}

// varint reads a variable-length integer and returns how many bytes it took, 0 if there is none.
// Bits past the 64th are dropped, as the engine's reader does: what it understands must be
// understood here, or a file could show the two of them different things.
func varint(b []byte) (value uint64, n int) {
	for i := 0; i < len(b) && i < 10; i++ {
		value |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return value, i + 1
		}
	}
	return 0, 0
}
