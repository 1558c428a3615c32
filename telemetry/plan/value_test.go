package plan

import (
	"fmt"
	"strings"
	"testing"
)

// TestValues is the table of what each kind takes: JSON in, JSON out, and "" for
// what is refused.
func TestValues(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	const uuid = "01234567-89ab-cdef-0123-456789abcdef"
	f := func(field Field, in, want string) {
		t.Helper()
		v, ok := fromJSON(&field, in)
		got := ""
		if ok {
			got = string(field.AppendJSON(nil, v))
		}
		if got != want {
			t.Errorf("%s: %s gives %q, want %q", field.Kind, in, got, want)
		}
	}
	enum := Field{Kind: Enum, Values: []string{"SW", "HW"}}
	f(enum, `"SW"`, `"SW"`)
	f(enum, `"HW"`, `"HW"`)
	f(enum, `"sw"`, "")
	f(enum, `""`, "")
	f(enum, `0`, "")

	version := Field{Kind: Version}
	for _, s := range []string{"1", "0.6.3", "2026.11.23", "1.0-dev", "1.0.0-rc.1", "1.0.0-alpha.12", "1-beta.0"} {
		f(version, `"`+s+`"`, `"`+s+`"`)
	}
	for _, s := range []string{"", "v1.0", "1.", ".1", "1..2", "1.2.3.4", "192.168.0.1", "1.2.3.4-dev", "01.2", "1234567", "1.0-rc", "1.0-rc.x", "1.0-dev.1", "1.0-dev-dev", "1.0-john", "1.0 ", "1.0-rc.1.2", "-dev", "1.0\n"} {
		f(version, `"`+s+`"`, "")
	}

	system := Field{Kind: System}
	f(system, `"linux/amd64"`, `"linux/amd64"`)
	f(system, `"windows/arm64"`, `"windows/arm64"`)
	f(system, `"linux/amd64/v3"`, "")
	f(system, `"Linux/AMD64"`, "")
	f(system, `"my-laptop"`, "")

	random := Field{Kind: RandomID}
	f(random, `"`+id+`"`, `"`+id+`"`)
	f(random, `"`+uuid+`"`, `"`+uuid+`"`)
	f(random, `"`+strings.ToUpper(uuid)+`"`, `"`+uuid+`"`)
	f(random, `"`+strings.ToUpper(id)+`"`, "")
	f(random, `"`+id[1:]+`"`, "")
	f(random, `"`+id+`0"`, "")
	f(random, `"`+strings.Replace(id, "a", "g", 1)+`"`, "")
	f(random, `"`+strings.Replace(uuid, "-", "0", 1)+`"`, "")
	f(random, `"00000000000000000000000000000000"`, "")
	f(random, `"anonymous"`, "")

	for _, k := range []Kind{Bytes, Count, Seconds, Milliseconds} {
		n := Field{Kind: k}
		f(n, `0`, `0`)
		f(n, `9007199254740991`, `9007199254740991`)
		f(n, `9007199254740992`, "")
		f(n, `99999999999999999999999`, "")
		f(n, `-1`, "")
		f(n, `1.0`, "")
		f(n, `1e3`, "")
		f(n, `"1"`, "")
		f(n, `true`, "")
	}
	timestamp := Field{Kind: Timestamp}
	f(timestamp, `1795442093000`, `1795442093000`)
	f(timestamp, fmt.Sprint(MinTime), fmt.Sprint(MinTime))
	f(timestamp, fmt.Sprint(MinTime-1), "")
	f(timestamp, fmt.Sprint(MaxTime+1), "")
	f(timestamp, `1795442093`, "") // seconds

	bucket := Field{Kind: Bucket, Bounds: []int64{10, 100}}
	for _, s := range []string{"0-9", "10-99", "100+"} {
		f(bucket, `"`+s+`"`, `"`+s+`"`)
	}
	f(bucket, `"0-10"`, "")
	f(bucket, `5`, "")

	flag := Field{Kind: Flag}
	f(flag, `true`, `true`)
	f(flag, `false`, `false`)
	f(flag, `1`, "")
	f(flag, `"true"`, "")
}

func fromJSON(f *Field, s string) (Value, bool) {
	switch {
	case strings.HasPrefix(s, `"`):
		return f.FromString([]byte(s[1 : len(s)-1]))
	case s == "true" || s == "false":
		return f.FromBool(s == "true")
	}
	return f.FromNumber([]byte(s))
}

func TestBucketOf(t *testing.T) {
	field := Field{Kind: Bucket, Bounds: []int64{10, 100}}
	f := func(n int64, want string) {
		t.Helper()
		if got := field.Format(field.BucketOf(n)); got != want {
			t.Errorf("%d falls into %s, want %s", n, got, want)
		}
	}
	f(-5, "0-9")
	f(0, "0-9")
	f(9, "0-9")
	f(10, "10-99")
	f(99, "10-99")
	f(100, "100+")
	f(MaxInt, "100+")
}

func TestFormat(t *testing.T) {
	f := func(field Field, v Value, want string) {
		t.Helper()
		if got := field.Format(v); got != want {
			t.Errorf("%s: got %s, want %s", field.Kind, got, want)
		}
	}
	f(Field{Kind: Count}, Value{}, None)
	f(Field{Kind: Count}, Value{Set: true, Int: 7}, "7")
	f(Field{Kind: Flag}, Value{Set: true, Int: 1}, "true")
	f(Field{Kind: System}, Value{Set: true, Int: 0}, "aix/ppc64")
	f(Field{Kind: System}, Value{Set: true, Int: 4000}, None)
	f(Field{Kind: Enum, Values: []string{"a"}}, Value{Set: true, Int: 1}, None)
}

func TestDamagedIndexIsNull(t *testing.T) {
	enum := Field{Kind: Enum, Values: []string{"a"}}
	if got := string(enum.AppendJSON(nil, Value{Set: true, Int: -1})); got != "null" {
		t.Errorf("an index out of range is written as %s, want null", got)
	}
}

func TestSecret(t *testing.T) {
	s := NewSecret()
	if s == NewSecret() {
		t.Error("two secrets are the same")
	}
	again, err := ParseSecret(s.Reveal())
	if err != nil || again != s {
		t.Errorf("a secret does not survive being written and read: %v", err)
	}
	// The derivation is part of the wire contract, so its result is fixed here.
	if got, want := (Secret{}).ID().String(), zeroSecretID; got != want {
		t.Errorf("the id of the zero secret is %s, want %s", got, want)
	}
	for _, bad := range []string{"", "abc", s.Reveal()[1:], s.Reveal() + "0", "x" + s.Reveal()[1:]} {
		_, err := ParseSecret(bad)
		if err == nil {
			t.Errorf("a secret of %d characters is accepted", len(bad))
		} else if len(bad) > 3 && strings.Contains(err.Error(), bad) {
			t.Error("the error repeats the secret")
		}
	}
	for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s", s, s, s, s)} {
		if strings.Contains(shown, s.Reveal()) {
			t.Error("fmt shows the secret")
		}
	}
}

// TestSecretIsRandom: every byte of it, so that nobody can try them all, and no two
// runs have an id in common.
func TestSecretIsRandom(t *testing.T) {
	const draws = 512
	var seen [len(Secret{})][256]bool
	ids := map[ID]bool{}
	for range draws {
		s := NewSecret()
		ids[s.ID()] = true
		for i, b := range s {
			seen[i][b] = true
		}
	}
	if len(ids) != draws {
		t.Errorf("%d secrets have %d ids", draws, len(ids))
	}
	for i := range seen {
		values := 0
		for _, has := range seen[i] {
			if has {
				values++
			}
		}
		// Of 512 random bytes some 221 are different ones; fewer than 150 come once in
		// more years than there are.
		if values < 150 {
			t.Errorf("byte %d of %d secrets has %d values", i, draws, values)
		}
	}
}

// zeroSecretID is sha256("blindai telemetry session v1\n" + 32 zero bytes)[:16],
// made with: (printf 'blindai telemetry session v1\n'; head -c 32 /dev/zero) | sha256sum
const zeroSecretID = "16eab8ed3cb13381ddb8b733857c1e17"
