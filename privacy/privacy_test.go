package privacy

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// coffee is a plan with one field of each sort.
func coffee(t *testing.T) *plan.Plan {
	t.Helper()
	p, err := plan.Parse([]byte(`{
  "app": "coffee", "version": 4, "identity": "user_id",
  "fields": [
    {"name": "user_id", "in": "top", "kind": "random_id", "session": true, "doc": "A <random> id."},
    {"name": "time", "in": "top", "kind": "timestamp", "doc": "When."},
    {"name": "roast", "in": "user_properties", "kind": "enum", "values": ["dark", "light", "burnt"], "session": true, "doc": "Of the beans."},
    {"name": "machine", "in": "user_properties", "kind": "random_id", "session": true, "doc": "Of the machine."}
  ],
  "events": [
    {"name": "brewed", "doc": "A cup was brewed.", "fields": [
      {"name": "water", "in": "event_properties", "kind": "bucket", "bounds": [100, 250], "doc": "How much."}]}
  ],
  "delivery": [{"name": "insert_id", "doc": "Tells repeats."}]
}`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const stated = `{
  "controller": "Coffee & Co, 1 Bean Street", "contact": "privacy@coffee.example", "data_protection_officer": "A. *Star*",
  "purpose": "To <b>brew</b> better.", "legal_basis": "Legitimate interest, Article 6(1)(f).",
  "recipients": [{"name": "Hosting Ltd", "why": "runs the machine"}, {"name": "Draw Inc", "why": "draws", "country": "Japan", "safeguard": "an adequacy decision"}],
  "retention": {"events": "a year", "logs": "30 days", "backups": "90 days"},
  "security": "TLS."
}`

func facts(t *testing.T, s string) *Facts {
	t.Helper()
	f, err := ParseFacts([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func wants(t *testing.T, name, page string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(page, w) {
			t.Errorf("%s does not hold %q", name, w)
		}
	}
}

// TestPage: everything that is declared or stated is there, once in each form.
func TestPage(t *testing.T) {
	s := Subject{Plan: coffee(t), Facts: facts(t, stated), Commands: []Command{{"Switch it off", "coffee off"}}}
	html, md := string(s.Page()), string(s.Markdown())
	wants(t, "the page", html,
		"<title>Privacy of coffee&#39;s telemetry</title>", "version 4 of the plan",
		"<td><code>user_id</code></td><td>32 lower-case hex digits or a hyphenated UUID</td><td>every event</td><td>A &lt;random&gt; id.</td>",
		"<td>one of dark, light, burnt</td>", "<td>one of 0-99, 100-249, 250&#43;</td><td>brewed</td>", "<td><code>insert_id</code></td><td>Tells repeats.</td>",
		"To &lt;b&gt;brew&lt;/b&gt; better.", "Legitimate interest, Article 6(1)(f).", "Coffee &amp; Co, 1 Bean Street", "privacy@coffee.example", "A. *Star*",
		"<td>Hosting Ltd</td><td>runs the machine</td><td>no place outside the European Union is stated</td>", "<td>Japan: an adequacy decision</td>",
		"a year", "30 days", "90 days", "<td>Switch it off</td><td><code>coffee off</code></td>", "https://COLLECTOR/v1/forget", "https://COLLECTOR/v1/show", "/v1/key", "/v1/plan/coffee")
	wants(t, "the Markdown", md, "# Privacy of coffee's telemetry\n", "| `user_id` | 32 lower-case hex digits", `A. \*Star\*`, `To \<b\>brew\</b\> better.`, "| Switch it off | `coffee off` |",
		"    curl https://COLLECTOR/v1/plan/coffee\n")
	for _, never := range []string{"not stated", "Not stated", "/figures/", "Amplitude"} {
		if strings.Contains(html, never) || strings.Contains(md, never) {
			t.Errorf("a page of which everything is stated holds %q", never)
		}
	}

	// A browser loads nothing for it, and runs nothing.
	if found := regexp.MustCompile(`(?i)<script|<link|<img|<iframe|\son\w+=|\sstyle=|\ssrc=|\shref=|url\(|@import`).FindString(html); found != "" {
		t.Errorf("the page holds %s", found)
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(html)
	sum := sha256.Sum256([]byte(style[1]))
	if !strings.Contains(Policy, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Error("the policy does not allow the style of the page")
	}
}

// TestNothingStated: the page says plainly what nobody has stated.
func TestNothingStated(t *testing.T) {
	page := string(Subject{Plan: coffee(t)}.Page())
	wants(t, "the page", page, "What is not stated",
		"has not stated: controller, contact, purpose, legal_basis, recipients, retention.events, retention.logs, retention.backups, security.",
		"<td>Controller</td><td>Not stated by who runs this collector.</td>", "Whether who runs it does is not stated.")

	page = string(Subject{Plan: coffee(t), Facts: facts(t, `{"recipients":[], "forwards_to_amplitude": true, "publish_figures": true}`)}.Page())
	wants(t, "the page", page, "<td>Amplitude, Inc.</td>", "United States of America: what makes it lawful is not stated", "recipients, the safeguard for Amplitude, Inc.</p>", "/figures/coffee")
	page = string(Subject{Plan: coffee(t), Facts: facts(t, `{"recipients":[]}`)}.Page())
	wants(t, "the page", page, "Nobody but who is responsible.")
}

// TestRecord: points (a) to (g) of Article 30(1), and what is missing in them.
func TestRecord(t *testing.T) {
	full := string(Subject{Plan: coffee(t), Facts: facts(t, stated)}.Record())
	wants(t, "the record", full, "Article 30(1)", "Nothing that it asks for is missing",
		"## (a) Controller\n", "Coffee \\& Co", "## (b) Purposes\n", "Legal basis: Legitimate interest", "## (c) Categories of data subjects and of personal data\n", "| `roast` |",
		"## (d) Categories of recipients\n", "| Hosting Ltd |", "## (e) Transfers to third countries\n\nDraw Inc, Japan. Safeguard: an adequacy decision.\n",
		"## (f) Time limits for erasure\n", "| a year |", "## (g) Technical and organisational measures\n", "Stated besides: TLS.")
	none := string(Subject{Plan: coffee(t)}.Record())
	wants(t, "the record", none, "This record is not complete. State in the facts: controller, contact,", "retention.backups, security.", "Stated besides: Not stated")
}

// TestFactsRefusals: every fault is named by its place, and no text is repeated.
func TestFactsRefusals(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		_, err := ParseFacts([]byte(in))
		if err == nil {
			t.Errorf("%.60s is taken", in)
			return
		}
		wants(t, "the error", err.Error(), want...)
		if strings.Contains(err.Error(), "canary value") {
			t.Errorf("the error repeats what was refused: %v", err)
		}
	}
	f(``, "read the facts: this is not a whole JSON object")
	f(`canary value`, "read the facts: this is not JSON, at byte 1")
	f(`{"controler": "canary value"}`, `unknown field "controler"`)
	f(`{} {}`, "there is more after the end")
	f(`{"purpose": 7}`, "read the facts: purpose must not be a JSON number")
	f(`["canary value"]`, "read the facts: this must be a JSON object, and is a JSON array")
	f(`{"controller": "canary value\n"}`, "facts: controller must be one line")
	f(`{"contact": "`+strings.Repeat("x", maxText+1)+`", "recipients": [{"name": "canary value"}, {"name": "a", "why": "b", "country": "Japan"}]}`,
		"facts: contact must be 2000 bytes", "facts: recipients[0] must have a name and say why", "facts: recipients[1].safeguard must be stated where country is")
	f(`{"recipients": [`+strings.TrimSuffix(strings.Repeat(`{"name":"a","why":"b"},`, maxRecipients+1), ",")+`]}`, "facts: recipients must be 50 or fewer")
}

// TestEscape: no text becomes markup.
func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"a | b": `a \| b`, "*a* _b_ `c`": "\\*a\\* \\_b\\_ \\`c\\`", "[a](b) <c>": `\[a\](b) \<c\>`, "# a": `\# a`, "- a-b": `\- a-b`, "a\nb": "a b", `\`: `\\`, "&amp;": `\&amp;`,
		"1. To brew": `1\. To brew`, "30) days": `30\) days`, "2.5 (or 3)": `2\.5 (or 3)`, "It is 2026. ": "It is 2026. ", ".": ".", "~~a~~": `\~\~a\~\~`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}
