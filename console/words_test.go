package console

import (
	"slices"
	"testing"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

func TestNumber(t *testing.T) {
	f := func(in int64, want string) {
		t.Helper()
		if got := number(in); got != want {
			t.Errorf("number(%d) = %s, want %s", in, got, want)
		}
	}
	f(0, "0")
	f(999, "999")
	f(1000, "1,000")
	f(-1234567, "-1,234,567")
	f(plan.MaxInt, "9,007,199,254,740,991")
}

func TestPercent(t *testing.T) {
	f := func(part, whole int64, want string) {
		t.Helper()
		if got := percent(part, whole); got != want {
			t.Errorf("percent(%d, %d) = %s, want %s", part, whole, got, want)
		}
	}
	f(0, 0, "–")
	f(0, 7, "0%")
	f(7, 7, "100%")
	f(1, 3, "33.3%")
	f(1, 100_000, "<0.1%")
	f(99_999, 100_000, ">99.9%")
}

func TestShow(t *testing.T) {
	f := func(field plan.Field, n int64, want string) {
		t.Helper()
		if got, _ := show(&field, plan.Value{Set: true, Int: n}); got != want {
			t.Errorf("%d as %v is shown as %q, want %q", n, field.Kind, got, want)
		}
	}
	size := plan.Field{Kind: plan.Bytes}
	f(size, 0, "0 B")
	f(size, 999, "999 B")
	f(size, 1000, "1 kB")
	f(size, 1_250_000, "1.2 MB")
	f(size, 999_600, "1 MB")
	f(size, 123_456_789, "123 MB")
	f(size, plan.MaxInt, "9 PB")

	seconds := plan.Field{Kind: plan.Seconds}
	f(seconds, 0, "0 s")
	f(seconds, 59, "59 s")
	f(seconds, 60, "1 min")
	f(seconds, 3661, "1 h 1 min")
	f(seconds, 90_000, "1 d 1 h")
	f(seconds, plan.MaxInt, "9007199254740991") // more than a duration holds

	millis := plan.Field{Kind: plan.Milliseconds}
	f(millis, 12, "12 ms")
	f(millis, 1500, "1.5 s")
	f(millis, 61_000, "1 min 1 s")
	f(millis, plan.MaxInt, "9007199254740991")

	f(plan.Field{Kind: plan.Count}, 12345, "12,345")
	f(plan.Field{Kind: plan.Flag}, 1, "yes")
	f(plan.Field{Kind: plan.Flag}, 0, "no")
	f(plan.Field{Kind: plan.Bucket, Bounds: []int64{10}}, 1, "10+")
	f(plan.Field{Kind: plan.Timestamp}, noon.UnixMilli(), "23 Nov 2026 12:30:00")
	f(plan.Field{Kind: plan.RandomID}, 0, "00000000")
	f(plan.Field{Name: "sgx_mode", Kind: plan.Enum, Values: []string{"SW", "HW"}}, 1, "Hardware")

	if got, _ := show(&size, plan.Value{}); got != "–" {
		t.Errorf("a missing value is shown as %q", got)
	}
}

func TestAge(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := age(noon.Add(-d), noon); got != want {
			t.Errorf("age of %v = %q, want %q", d, got, want)
		}
	}
	f(-time.Hour, "now") // a sender whose clock is ahead
	f(0, "now")
	f(59*time.Second, "59 s ago")
	f(time.Minute, "1 min ago")
	f(47*time.Hour, "47 h ago")
	f(48*time.Hour, "2 d ago")
}

func TestFieldName(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := fieldName(in); got != want {
			t.Errorf("fieldName(%q) = %q, want %q", in, got, want)
		}
	}
	f("app_version", "Version")
	f("model_size", "Model size")
	f("gpu", "Gpu")
	f("$", "$")
	f("", "")
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{plan.None, "0.9", "0.9.1", "0.10.0-dev", "0.10.0-alpha.2", "0.10.0-beta.1", "0.10.0-rc.2", "0.10.0-rc.10", "0.10.0", "1", "1.0.0.1", "2026.11"}
	shuffled := slices.Clone(ordered)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, compareVersions)
	if !slices.Equal(shuffled, ordered) {
		t.Errorf("sorted as %v, want %v", shuffled, ordered)
	}
}
