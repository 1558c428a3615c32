package telemetry

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzShown: whatever a destination answers, what is printed is the answer to the
// byte and a newline, and it is called whole only if it is one JSON object with a
// list of apps.
func FuzzShown(f *testing.F) {
	for _, s := range []string{
		`{"time":"2026-11-24T02:36:02Z","recipients":[],"apps":[]}` + "\n",
		`{"apps":[{"app":"coffee","session":{"user_id":"x"},"events":[{"n":1},{"n":-0.5e3}]}],"more":{"apps":[null,true]}}`,
		`{"recipients":[{"apps":[]}],"apps":[`, `{"apps":{}}`, `{"apps":[]} {}`, `[]`, ``, `<html>`, `{"apps":[` + strings.Repeat("[", 200), `{"apps":["\ud800"]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		var out bytes.Buffer
		err := copyShown(&out, bytes.NewReader(answer))
		printed := bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
		if !bytes.HasPrefix(answer, printed) {
			t.Fatalf("it prints %q", out.Bytes())
		}
		var whole struct{ Apps []json.RawMessage }
		if err == nil && (json.Unmarshal(answer, &whole) != nil || len(bytes.TrimSpace(answer[len(printed):])) > 0) {
			t.Errorf("%q is taken for a whole answer, of which %q is printed", answer, printed)
		}
		if err == nil && !bytes.HasSuffix(out.Bytes(), []byte{'\n'}) {
			t.Errorf("what is printed does not end its line: %q", out.Bytes())
		}
	})
}
