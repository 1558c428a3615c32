package console

import (
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// words are the functions that the templates speak with.
var words = template.FuncMap{
	"number": number,
	"iso":    func(t time.Time) string { return t.Format(time.RFC3339) },
}

// known says in people's words what plans say in programs' words. What is not
// listed is shown as the plan has it, with spaces for underscores.
var known = map[string]string{
	"sgx_mode":    "Mode",
	"app_version": "Version",
	"device_id":   "System",
	"os_name":     "System",
}

// knownValues are the same for the words of an enum, by field.
var knownValues = map[string]map[string]string{
	"sgx_mode": {"SW": "Software", "HW": "Hardware"},
}

// headlines name the value of an enum whose share is a headline of its own.
// Other enums have the share of their most frequent value there.
var headlines = map[string]struct{ value, title string }{
	"sgx_mode": {"HW", "In hardware mode"},
}

func fieldName(name string) string {
	if s, ok := known[name]; ok {
		return s
	}
	s := strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == '_' || r == ' ' }), " ")
	if s == "" {
		return name
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func valueName(field, value string) string {
	if value == plan.None {
		return "not given"
	}
	if s, ok := knownValues[field][value]; ok {
		return s
	}
	return value
}

// number writes n with a comma between thousands.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	digits := strings.TrimPrefix(s, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if n < 0 {
		return "-" + digits
	}
	return digits
}

// percent writes a share with one decimal, and never says 0% of something or
// 100% of less than all.
func percent(part, whole int64) string {
	switch {
	case whole <= 0:
		return "–"
	case part == 0:
		return "0%"
	case part == whole:
		return "100%"
	}
	s := strconv.FormatFloat(100*float64(part)/float64(whole), 'f', 1, 64)
	switch s {
	case "0.0":
		return "<0.1%"
	case "100.0":
		return ">99.9%"
	}
	return s + "%"
}

// size writes bytes in the unit that keeps the number short.
func size(n int64) string {
	const units = "kMGTP"
	f, unit := float64(n), -1
	for f >= 999.5 && unit < len(units)-1 {
		f /= 1000
		unit++
	}
	if unit < 0 {
		return strconv.FormatInt(n, 10) + " B"
	}
	return short(f) + " " + units[unit:unit+1] + "B"
}

func short(f float64) string {
	if f >= 99.95 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	n := func(unit time.Duration, name string) string { return strconv.FormatInt(int64(d/unit), 10) + " " + name }
	two := func(unit time.Duration, name string, rest time.Duration, restName string) string {
		s := n(unit, name)
		if left := d % unit / rest; left > 0 {
			s += " " + strconv.FormatInt(int64(left), 10) + " " + restName
		}
		return s
	}
	switch {
	case d < time.Second && d%time.Second != 0:
		return n(time.Millisecond, "ms")
	case d < time.Minute:
		if d%time.Second != 0 {
			return short(d.Seconds()) + " s"
		}
		return n(time.Second, "s")
	case d < time.Hour:
		return two(time.Minute, "min", time.Second, "s")
	case d < day:
		return two(time.Hour, "h", time.Minute, "min")
	}
	return two(day, "d", time.Hour, "h")
}

// age says how long ago t was, in one unit.
func age(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s ago"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min ago"
	case d < 2*day:
		return strconv.Itoa(int(d/time.Hour)) + " h ago"
	}
	return strconv.Itoa(int(d/day)) + " d ago"
}

// maxSpan is the longest duration in milliseconds that time.Duration holds.
const maxSpan = int64(1<<63-1) / int64(time.Millisecond)

// show writes a value for reading; exact is what it stands for if the writing
// leaves something out.
func show(f *plan.Field, v plan.Value) (text, exact string) {
	if !v.Set {
		return "–", ""
	}
	plain := f.Format(v)
	switch f.Kind {
	case plan.Bytes:
		return size(v.Int), number(v.Int) + " bytes"
	case plan.Count:
		return number(v.Int), ""
	case plan.Seconds:
		if v.Int <= maxSpan/1000 {
			return span(time.Duration(v.Int) * time.Second), number(v.Int) + " seconds"
		}
	case plan.Milliseconds:
		if v.Int <= maxSpan {
			return span(time.Duration(v.Int) * time.Millisecond), number(v.Int) + " milliseconds"
		}
	case plan.Timestamp:
		return time.UnixMilli(v.Int).UTC().Format("2 Jan 2006 15:04:05"), ""
	case plan.Flag:
		if v.Int != 0 {
			return "yes", ""
		}
		return "no", ""
	case plan.RandomID:
		return plain[:8], ""
	case plan.Enum:
		return valueName(f.Name, plain), ""
	}
	return plain, ""
}
