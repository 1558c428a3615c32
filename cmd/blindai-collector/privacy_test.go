package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A promise is a sentence of the text by which BlindAI has told its users about
// telemetry from the beginning, how it is held, and the tests that hold it, each
// as a folder and a name.
type promise struct {
	says, held string
	tests      []string
}

// promises are all sentences of that text, in its order; long ones in fewer words.
var promises = []promise{
	{"Anonymous data on general usage is collected, to see how the project is used and to improve it.",
		"An event holds numbers and words of the plan. One run's events can be linked to each other, by an id that is made for that run.",
		[]string{"internal/demo TestOneRunOfTheServer", "telemetry TestTextDoesNotCompile", "telemetry TestEventAsItIsSent"}},
	{"It can be disabled at any time.",
		"Before the start and while it runs, in every way there is.",
		[]string{"internal/demo TestSyscallTrace", "telemetry TestDecide", "internal/demo TestOff", "telemetry TestSwitchedOffWhileItRuns", "telemetry TestOffWhileRunning", "cmd/blindai TestScripts"}},
	{"Any collected data can be deleted on request.",
		"Whoever shows a session's secret has it erased at every collector that it was sent to, and gets a signed receipt of each; at Amplitude only the project's owner can erase.",
		[]string{"internal/demo TestForget", "collector TestForget", "collector TestReceipt", "internal/demo TestKillWhileErasing", "collector TestWhoLeavesIsErased", "collector TestOlderStorePutBack", "telemetry TestForgetAsksEveryDestination", "telemetry TestForgetWithAmplitudeAmongTheDestinations",
			"cmd/blindai-collector TestErasedAtOnce", "cmd/blindai-collector TestErasedBytes", "console TestBrowser"}},
	{"Collected: execution metrics, such as software or hardware mode.",
		"Each session says which of the two.",
		[]string{"events TestPlan", "internal/demo TestOneRunOfTheServer"}},
	{"Collected: usage metrics, to see which features are used.",
		"Three events: the server has started, a model was sent, a model was run.",
		[]string{"events TestPlan", "internal/demo TestOneRunOfTheServer"}},
	{"Never: identifying or tracking users.",
		"Two runs have nothing in common; the id is derived from random bytes, and no address is kept.",
		[]string{"internal/demo TestCanary", "telemetry TestOneSessionInARequest", "telemetry/plan TestSecret", "telemetry/plan TestSecretIsRandom", "collector TestUndeclaredFieldsAreDropped", "inference TestLogIsSilentAboutClients"}},
	{"Never: personal information such as IP addresses, e-mail addresses, website URLs.",
		"There is no form of field for them: they cannot be recorded, and a collector does not take them in.",
		[]string{"internal/demo TestCanary", "telemetry TestTextDoesNotCompile", "telemetry TestHeadersOnTheWire", "collector TestRefusals", "collector TestUndeclaredFieldsAreDropped", "collector FuzzGuard", "telemetry/plan TestFaults", "telemetry/plan TestValues"}},
	{"Never: models or data that are uploaded.",
		"Of a model only its size in bytes is known to telemetry, and of inputs nothing.",
		[]string{"internal/demo TestCanary", "internal/demo TestOneRunOfTheServer", "telemetry TestTextDoesNotCompile", "internal/layout TestLinks"}},
	{"Why: solely to improve the project, see how it is used, and keep working on it full-time.",
		"A collector's page says what is stated of the purpose, who else receives the data, and what is not stated.",
		[]string{"privacy TestPage", "privacy TestNothingStated", "collector TestPrivacyPage"}},
	{"For this some data is needed: which features are used most, and hardware or software mode.",
		"The console and the figures answer these questions.",
		[]string{"console TestHeadlines", "console TestCards", "privacy TestFigures"}},
	{"It shows what to focus on, to give users the best experience.",
		"By type of event, mode, version and system, in one page.",
		[]string{"console TestHeadlines", "console TestChartHasATable", "console TestTheNewestVersionIsShown"}},
	{"It proves to investors that the project is used, which keeps it alive.",
		"No reader finds anybody in what is shown to others: small groups are folded, and it is off until the maintainer wants it.",
		[]string{"privacy TestFoldHidesEverybody", "collector TestFiguresPage"}},
	{"Telemetry can be disabled at any time very easily.",
		"One word, which takes effect within two seconds on a server that runs, or one variable before its start.",
		[]string{"cmd/blindai TestScripts", "telemetry TestCommandStatusOnOff", "telemetry TestSwitchedOffWhileItRuns", "telemetry TestOffWhileRunning"}},
	{"Built from source: export BLINDAI_DISABLE_TELEMETRY=1.",
		"Off means nothing: no connection, no file, no goroutine.",
		[]string{"internal/demo TestSyscallTrace", "internal/demo TestOff", "telemetry TestOffMakesNoSystemCall", "telemetry TestOffStartsNoGoroutine"}},
	{"In Docker: -e BLINDAI_DISABLE_TELEMETRY=1.",
		"The variable is read wherever the program runs.",
		[]string{"internal/demo TestSyscallTrace", "internal/demo TestOff", "telemetry TestDecide"}},
	{"Amplitude is used to collect and see telemetry.",
		"The collector understands what Amplitude's own libraries send, and the client speaks to both. Where events are forwarded to Amplitude and the maintainer states it, Amplitude is named as a recipient.",
		[]string{"peers/conformance TestGo", "peers/conformance TestNode", "peers/conformance TestBrowser", "telemetry TestDestination", "telemetry TestAmplitudeIsSentToSlowly", "collector TestRecipients"}},
	{"It is a powerful tool to highlight data and present them.",
		"So is the console; and the export has Amplitude's form, for other tools.",
		[]string{"console TestBrowser", "collector TestUploadAndExport"}},
	{"Every 2 seconds it looks for a new event: the server started, a model was uploaded, a model was run.",
		"Without an event it opens nothing.",
		[]string{"telemetry TestTwoSecondLook", "events TestPlan"}},
	{"If there is one, the data is sent to Amplitude.",
		"It is sent to the one destination that is configured, and nowhere else; without one nothing is recorded.",
		[]string{"internal/demo TestSyscallTrace", "telemetry TestDestination", "telemetry TestFaults", "telemetry TestOffMakesNoSystemCall", "internal/demo TestOneRunOfTheServer"}},
	{"There is a specification of the data: the list.",
		"The list is data that both ends read, and it is exhaustive.",
		[]string{"events TestPlan", "events TestCollected", "internal/demo TestOnePlan", "cmd/blindai-collector TestPrivacyDocument"}},
	{"user_id: a random string, made when BlindAI starts, that groups the data of a session.",
		"", []string{"telemetry/plan TestSecret", "telemetry/plan TestSecretIsRandom", "internal/demo TestOneRunOfTheServer"}},
	{"app_version: BlindAI's version number.",
		"", []string{"internal/demo TestOneRunOfTheServer", "telemetry/plan TestValues"}},
	{"event_type: started, send_model or run_model.",
		"", []string{"events TestPlan", "internal/demo TestOneRunOfTheServer"}},
	{"device_id: on which system BlindAI was run.",
		"Operating system and architecture, and nothing else.", []string{"internal/demo TestOneRunOfTheServer", "telemetry/plan TestValues"}},
	{"sgx_mode: software or hardware mode.",
		"", []string{"internal/demo TestOneRunOfTheServer", "telemetry/plan TestValues"}},
	{"model_size: the size of the uploaded model, in bytes.",
		"With send_model only.", []string{"internal/demo TestOneRunOfTheServer", "collector TestUndeclaredFieldsAreDropped"}},
	{"time: when the event happened.",
		"", []string{"internal/demo TestOneRunOfTheServer", "telemetry TestClockJumps"}},
	{"uptime: for how long BlindAI had been up.",
		"", []string{"internal/demo TestOneRunOfTheServer", "telemetry TestEventAsItIsSent"}},
}

// TestPrivacyDocument keeps docs/privacy.md in step with the plan, with the page
// that collectors show, and with the tests that it names.
func TestPrivacyDocument(t *testing.T) {
	const file = "../../docs/privacy.md"
	page := privacy.Subject{Plan: events.Plan(), Commands: commands[events.App]}.Markdown()
	title, rest, _ := strings.Cut(string(page), "\n")
	var b bytes.Buffer
	fmt.Fprintf(&b, `%s

This page is made by a test, from [events/plan.json](../events/plan.json) and the sentences that a collector shows at
/privacy/blindai. There, the maintainer who runs the collector states what cannot be known here: who is responsible, why,
and for how long. A build from source has no destination of its own, so nothing is sent anywhere until one is configured.
%s
## The promise, and what holds it

BlindAI has had a text about its telemetry from the beginning. Each sentence of it is held by tests:

| what it says | how it is held | tests |
|---|---|---|
`, title, rest)
	tests := testFiles(t)
	for _, p := range promises {
		var links []string
		for _, name := range p.tests {
			dir, test, _ := strings.Cut(name, " ")
			found := tests[name]
			if found == "" {
				t.Errorf("there is no %s in %s, which is to hold %q", test, dir, p.says)
			}
			links = append(links, fmt.Sprintf("[%s](../%s)", test, found))
		}
		if len(links) == 0 {
			t.Errorf("nothing holds %q", p.says)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", words(p.says), p.held, strings.Join(links, ", "))
	}
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Error("docs/privacy.md is not what the plan and the tests say; run go test ./cmd/blindai-collector -run TestPrivacyDocument -update")
	}
}

// words marks the names of a promise as such.
func words(s string) string {
	name, rest, ok := strings.Cut(s, ":")
	if ok && name == strings.ToLower(name) {
		return "`" + name + "`:" + rest
	}
	return s
}

// TestEveryFieldIsPromised: the text has a line for each field that there is, and
// for no other.
func TestEveryFieldIsPromised(t *testing.T) {
	said := map[string]bool{}
	for _, p := range promises {
		if name, _, ok := strings.Cut(p.says, ":"); ok && name == strings.ToLower(name) {
			said[name] = true
		}
	}
	declared := map[string]bool{"event_type": true}
	add := func(list []plan.Field) {
		for _, f := range list {
			declared[f.Name] = true
		}
	}
	add(events.Plan().Fields)
	for _, e := range events.Plan().Events {
		add(e.Fields)
	}
	for name := range declared {
		if !said[name] {
			t.Errorf("the plan has %s, of which nothing was said", name)
		}
	}
	for name := range said {
		if !declared[name] {
			t.Errorf("%s was spoken of, and the plan has none", name)
		}
	}
}

// testFiles finds every test in the source: "folder Name", and the file it is in.
func testFiles(t *testing.T) map[string]string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	err = filepath.WalkDir(root, func(file string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); file != root && (name == "node_modules" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				found[path.Dir(name)+" "+f.Name.Name] = name
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
