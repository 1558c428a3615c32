package amplitude

// A request is written into one buffer:
//
//	b = AppendHead(b[:0], apiKey)
//	for each event {
//		b = AppendEvent(b, i, event)
//	}
//	b = AppendTail(b)
//
// The event itself is written with AppendString and by appending JSON that the
// caller has made.

// AppendHead begins a request.
func AppendHead(dst []byte, apiKey string) []byte {
	dst = append(dst, `{"api_key":`...)
	dst = AppendString(dst, apiKey)
	return append(dst, `,"events":[`...)
}

// AppendEvent appends the event with index i, which must be one JSON object.
func AppendEvent(dst []byte, i int, event []byte) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	return append(dst, event...)
}

// AppendTail ends a request.
func AppendTail(dst []byte) []byte { return append(dst, `]}`...) }

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Bytes that are not UTF-8 are passed
// on as they are; callers write names and ids, which are ASCII.
func AppendString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
