package amplitude

import (
	"unicode/utf16"
	"unicode/utf8"
)

// The JSON grammar of RFC 8259, on a byte slice, without a tree. Every method
// leaves d.pos behind what it has read; on an error the position names the place.

func (d *Decoder) peek() byte {
	if d.pos < len(d.body) {
		return d.body[d.pos]
	}
	return 0 // never the start of a value
}

func (d *Decoder) space() {
	for d.pos < len(d.body) {
		switch d.body[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

// object reads an object that starts at d.pos and calls value at the start of
// each value, which it must read whole.
func (d *Decoder) object(depth int, value func(name []byte) error) error {
	if depth > maxDepth {
		return d.fail("nesting is too deep")
	}
	d.pos++ // {
	d.space()
	if d.peek() == '}' {
		d.pos++
		return nil
	}
	for {
		if d.peek() != '"' {
			return d.fail("a name is expected")
		}
		name, err := d.string()
		if err != nil {
			return err
		}
		d.space()
		if d.peek() != ':' {
			return d.fail("a colon is expected")
		}
		d.pos++
		d.space()
		if err := value(name); err != nil {
			return err
		}
		d.space()
		switch d.peek() {
		case ',':
			d.pos++
			d.space()
		case '}':
			d.pos++
			return nil
		default:
			return d.fail("a comma or the end of the object is expected")
		}
	}
}

// array reads an array that starts at d.pos and calls value at the start of
// each element, which it must read whole.
func (d *Decoder) array(depth int, value func() error) error {
	if depth > maxDepth {
		return d.fail("nesting is too deep")
	}
	d.pos++ // [
	d.space()
	if d.peek() == ']' {
		d.pos++
		return nil
	}
	for {
		if err := value(); err != nil {
			return err
		}
		d.space()
		switch d.peek() {
		case ',':
			d.pos++
			d.space()
		case ']':
			d.pos++
			return nil
		default:
			return d.fail("a comma or the end of the array is expected")
		}
	}
}

// skip checks a value and keeps nothing of it.
func (d *Decoder) skip(depth int) error {
	text := len(d.text)
	defer func() { d.text = d.text[:text] }()
	switch d.peek() {
	case '{':
		return d.object(depth, func([]byte) error { return d.skip(depth + 1) })
	case '[':
		return d.array(depth, func() error { return d.skip(depth + 1) })
	}
	_, err := d.scalar(depth)
	return err
}

func (d *Decoder) word(w string, t Type) (Member, error) {
	if len(d.body)-d.pos < len(w) || string(d.body[d.pos:d.pos+len(w)]) != w {
		return Member{}, d.fail("a value is expected")
	}
	b := d.body[d.pos : d.pos+len(w)]
	d.pos += len(w)
	return Member{Type: t, Bytes: b}, nil
}

func (d *Decoder) number() ([]byte, error) {
	start := d.pos
	if d.peek() == '-' {
		d.pos++
	}
	switch c := d.peek(); {
	case c == '0':
		d.pos++
	case '1' <= c && c <= '9':
		d.digits()
	default:
		return nil, d.fail("a value is expected")
	}
	if d.peek() == '.' {
		d.pos++
		if !d.digits() {
			return nil, d.fail("a digit is expected")
		}
	}
	if c := d.peek(); c == 'e' || c == 'E' {
		d.pos++
		if c := d.peek(); c == '+' || c == '-' {
			d.pos++
		}
		if !d.digits() {
			return nil, d.fail("a digit is expected")
		}
	}
	return d.body[start:d.pos], nil
}

func (d *Decoder) digits() bool {
	start := d.pos
	for c := d.peek(); '0' <= c && c <= '9'; c = d.peek() {
		d.pos++
	}
	return d.pos > start
}

// string reads a string that starts at d.pos. Without escapes the result is a
// part of the body itself. Invalid UTF-8 becomes U+FFFD, as encoding/json does.
func (d *Decoder) string() ([]byte, error) {
	d.pos++ // "
	start := d.pos
	for d.pos < len(d.body) {
		switch c := d.body[d.pos]; {
		case c == '"':
			s := d.body[start:d.pos]
			d.pos++
			return s, nil
		case c == '\\' || c >= utf8.RuneSelf:
			return d.slowString(start)
		case c < 0x20:
			return nil, d.fail("a control character is not allowed in a string")
		}
		d.pos++
	}
	return nil, d.fail("the end of a string is missing")
}

// slowString reads on in a string that has escapes or bytes beyond ASCII.
func (d *Decoder) slowString(start int) ([]byte, error) {
	from := len(d.text)
	out := append(d.text, d.body[start:d.pos]...)
	for d.pos < len(d.body) {
		c := d.body[d.pos]
		switch {
		case c == '"':
			d.pos++
			d.text = out
			return out[from:len(out):len(out)], nil
		case c == '\\':
			d.pos++
			e := d.peek()
			d.pos++
			switch e {
			case '"', '\\', '/':
				out = append(out, e)
			case 'b':
				out = append(out, '\b')
			case 'f':
				out = append(out, '\f')
			case 'n':
				out = append(out, '\n')
			case 'r':
				out = append(out, '\r')
			case 't':
				out = append(out, '\t')
			case 'u':
				r, ok := d.hex4()
				if !ok {
					return nil, d.fail("four hex digits are expected")
				}
				if utf16.IsSurrogate(r) {
					r = d.lowSurrogate(r)
				}
				out = utf8.AppendRune(out, r)
			default:
				d.pos--
				return nil, d.fail("an escape is expected")
			}
		case c < 0x20:
			return nil, d.fail("a control character is not allowed in a string")
		case c < utf8.RuneSelf:
			out = append(out, c)
			d.pos++
		default:
			r, n := utf8.DecodeRune(d.body[d.pos:])
			out = utf8.AppendRune(out, r)
			d.pos += n
		}
	}
	return nil, d.fail("the end of a string is missing")
}

// lowSurrogate completes a pair whose first half was read. A half alone becomes
// U+FFFD, and what follows it is read on its own.
func (d *Decoder) lowSurrogate(high rune) rune {
	before := d.pos
	if d.pos+1 < len(d.body) && d.body[d.pos] == '\\' && d.body[d.pos+1] == 'u' {
		d.pos += 2
		if low, ok := d.hex4(); ok {
			if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
				return r
			}
		}
	}
	d.pos = before
	return utf8.RuneError
}

func (d *Decoder) hex4() (rune, bool) {
	if len(d.body)-d.pos < 4 {
		return 0, false
	}
	var r rune
	for _, c := range d.body[d.pos : d.pos+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	d.pos += 4
	return r, true
}
