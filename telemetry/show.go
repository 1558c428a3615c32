package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A collector's answer to show may be of any size, so it is printed as it comes.
// Nothing is printed before it has begun as such an answer does, and one that does
// not end as it should is an error.

const (
	// maxBefore bounds what comes before the list of apps: a time and the recipients.
	maxBefore = 1 << 20
	// maxToken bounds one text or number; a collector's are short. It bounds the memory
	// that an answer takes here, and so does maxDepth.
	maxToken = 1 << 20
	maxDepth = 100
)

var (
	errNotShown = errors.New("the destination's answer does not show a session; check that its URL is a collector's")
	errDamaged  = errors.New("the collector's answer is damaged, so not all of the session is shown; ask again")
)

// copyShown prints an answer to show, on a line of its own.
func copyShown(out io.Writer, answer io.Reader) error {
	s := &shown{out: out}
	s.decoder = json.NewDecoder(io.TeeReader(reader{answer, &s.lost}, s))
	s.decoder.UseNumber()
	err := s.parse()
	if s.begun && s.last != '\n' {
		s.print([]byte{'\n'})
	}
	switch {
	case s.fault != nil:
		return s.fault
	case err == nil:
		return nil
	case s.begun && s.lost == nil:
		return errDamaged
	case s.begun:
		return fmt.Errorf("the collector's answer was cut off (%w), so not all of the session is shown; ask again", cause(s.lost))
	case s.lost != nil && s.lost != io.EOF:
		return fmt.Errorf("the collector's answer was cut off (%w); ask again", cause(s.lost))
	}
	return errNotShown
}

// reader keeps the error that ends what it reads.
type reader struct {
	io.Reader
	err *error
}

func (r reader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	*r.err = err
	return n, err
}

// shown is an answer on its way.
type shown struct {
	decoder *json.Decoder
	taken   int64        // bytes that the decoder was given
	before  bytes.Buffer // what was not printed yet, because it may be anybody's page
	begun   bool         // as an answer to show does
	out     io.Writer
	last    byte
	fault   error // of out
	lost    error // that ended the answer
}

// Write takes what the decoder is given.
func (s *shown) Write(b []byte) (int, error) {
	s.taken += int64(len(b))
	if s.taken-s.decoder.InputOffset() > maxToken {
		return 0, errDamaged
	}
	if !s.begun {
		if s.before.Len() > maxBefore {
			return 0, errNotShown
		}
		return s.before.Write(b)
	}
	return s.print(b)
}

func (s *shown) print(b []byte) (int, error) {
	n, err := s.out.Write(b)
	if err != nil {
		s.fault = err
	} else {
		s.last = b[len(b)-1]
	}
	return n, err
}

// parse reads the answer to its end: one object with a list of apps.
func (s *shown) parse() error {
	if t, err := s.decoder.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(err, errNotShown)
	}
	name := true // the next token at depth 1 is a member's name
	apps := false
	for depth := 1; depth > 0; {
		t, err := s.decoder.Token()
		if err != nil {
			return err
		}
		if depth == 1 && name {
			apps = t == "apps"
		} else if depth == 1 && apps && !s.begun {
			if t != json.Delim('[') {
				return errNotShown
			}
			s.begun = true
			if _, err := s.print(s.before.Bytes()); err != nil {
				return err
			}
			s.before = bytes.Buffer{}
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return errDamaged
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 1 {
			name = !name
		}
	}
	if !s.begun {
		return errNotShown
	}
	if _, err := s.decoder.Token(); err != io.EOF {
		return errDamaged
	}
	return nil
}
