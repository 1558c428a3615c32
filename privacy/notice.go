package privacy

import (
	"fmt"
	"strings"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// A Subject is the app that is written about.
type Subject struct {
	Plan  *plan.Plan
	Facts *Facts // nil: nothing is stated

	// Commands of the program that sends the events, by which who runs it sees,
	// switches off and erases. There may be none.
	Commands []Command
}

// A Command is one thing to do, and what to type for it.
type Command struct {
	Do, Type string
}

// Page returns the subject's privacy page in HTML. It goes out with Policy.
func (s Subject) Page() []byte { return s.notice().html() }

// Markdown returns the privacy page as Markdown.
func (s Subject) Markdown() []byte { return s.notice().markdown() }

const notStated = "Not stated by who runs this collector."

// or returns a statement, or what to say where there is none.
func or(statement, otherwise string) string {
	if statement == "" {
		return otherwise
	}
	return statement
}

// sentence ends s with a full stop, which a name at its end may have brought.
func sentence(s string) string { return strings.TrimSuffix(s, ".") + "." }

// facts returns the facts that are stated, which may be none.
func (s Subject) facts() *Facts {
	if s.Facts == nil {
		return &Facts{}
	}
	return s.Facts
}

func (s Subject) notice() *document {
	f, p := s.facts(), s.Plan
	d := &document{Title: "Privacy of " + p.App + "'s telemetry"}

	what := d.section("What is collected")
	what.say(fmt.Sprintf("This is the exhaustive list, version %d of the plan of %s. The collector holds everything that arrives against it: "+
		"what the list does not have is dropped or refused before anything is stored.", p.Version, p.App))
	fields(what, p)
	events := what.table("event", "when")
	for _, e := range p.Events {
		events.row(code(e.Name), text(e.Doc))
	}
	if len(p.Delivery) > 0 {
		what.say("This travels with the events for their delivery only:")
		delivery := what.table("name", "what it is")
		for _, item := range p.Delivery {
			delivery.row(code(item.Name), text(item.Doc))
		}
	}
	what.say("Every field has one of these narrow forms. None can hold free text, so names, e-mail addresses, URLs, paths, models and inputs have no way in. " +
		"The address that a request comes from, and what proxies say about it, is neither stored nor logged nor passed on, and no location is made of it.")
	what.say("Events that carry the same " + p.Identity + " can be linked to each other, and to nothing else that is stored here. An id is no user: what it stands for is said in the list.")

	why := d.section("Why")
	why.say(or(f.Purpose, notStated))

	basis := d.section("On which legal basis")
	basis.say(or(f.LegalBasis, notStated))
	basis.say("In the European Union, whoever is concerned may also complain to a supervisory authority.")

	who := d.section("Who is responsible")
	responsible(who, f)

	s.recipients(d.section("Who receives it"))

	keep := d.section("How long it is kept")
	retention(keep, f)

	how := d.section("How to see it, switch it off, and have it erased")
	if len(s.Commands) > 0 {
		commands := how.table("to", "type")
		for _, c := range s.Commands {
			commands.row(text(c.Do), code(c.Type))
		}
	}
	how.say("Each session has a secret, which never travels with its events and which its operator keeps. Whoever shows the secret sees all that is stored " +
		"of the session, or has it erased; nothing else is asked for, and to know the id is not enough. By hand, with the address of this collector, and a file secret.json that holds {\"secret\": \"SECRET\"}:")
	how.lines(
		`curl https://COLLECTOR/v1/plan/`+p.App,
		`curl https://COLLECTOR/v1/show --json @secret.json`,
		`curl https://COLLECTOR/v1/forget --json @secret.json`,
	)
	how.say("When the answer to an erasure arrives, no page, export or answer that is asked for from then on shows the session, and pages that are open drop it within a second, or when somebody next looks at them. Its id is in no file, and events of it that come later are thrown away. What else its events said leaves the files some ten minutes later, or when the collector ends, if the disk has room to write the database anew. " +
		"The answer is a receipt, signed with the key at /v1/key, that says what was erased and when.")
	how.say("Who has no secret, because the events were sent by another library, asks the contact above, who can erase by the id.")
	if f.Figures {
		how.say("What the events add up to is published at /figures/" + p.App + ", with every group of fewer than 5 sessions folded into others.")
	}

	if gaps := f.gaps(); len(gaps) > 0 {
		missing := d.section("What is not stated")
		missing.say(sentence("Who runs this collector has not stated: " + strings.Join(gaps, ", ")))
	}
	return d
}

// fields lists every field of the plan with the form that its values have.
func fields(s *section, p *plan.Plan) {
	t := s.table("field", "form", "with", "what it says")
	t.Wide = true
	add := func(list []plan.Field, with string) {
		for _, f := range list {
			form := f.Kind.Rule()
			switch {
			case len(f.Values) > 0:
				form = "one of " + strings.Join(f.Values, ", ")
			case len(f.Bounds) > 0:
				form = "one of " + strings.Join(f.Labels(), ", ")
			}
			t.row(code(f.Name), text(form), text(with), text(f.Doc))
		}
	}
	add(p.Fields, "every event")
	for _, e := range p.Events {
		add(e.Fields, e.Name)
	}
}

func responsible(s *section, f *Facts) {
	t := s.table("who", "name and address")
	t.row(text("Controller"), text(or(f.Controller, notStated)))
	t.row(text("Contact"), text(or(f.Contact, notStated)))
	for _, row := range []struct{ who, name string }{
		{"Joint controller", f.JointController},
		{"Representative", f.Representative},
		{"Data protection officer", f.DataProtectionOfficer},
	} {
		if row.name != "" {
			t.row(text(row.who), text(row.name))
		}
	}
}

func (s Subject) recipients(to *section) {
	f := s.facts()
	all := f.All()
	switch {
	case len(all) > 0:
		t := to.table("recipient", "why", "where, and what makes it lawful")
		t.Wide = true
		for _, r := range all {
			where := "no place outside the European Union is stated"
			if r.Country != "" {
				where = r.Country + ": " + or(r.Safeguard, "what makes it lawful is not stated")
			}
			t.row(text(r.Name), text(r.Why), text(where))
		}
		if f.Recipients == nil {
			to.say("Whether there are others is not stated.")
		}
	case f.Recipients != nil:
		to.say("Nobody but who is responsible.")
	default:
		to.say("The collector passes nothing on by itself. Whether who runs it does is not stated.")
	}
}

// retention says for how long things are kept: what the program does by itself,
// and what is stated beyond it.
func retention(s *section, f *Facts) {
	t := s.table("what", "what the program does", "what is stated")
	t.Wide = true
	row := func(what, does, stated string, needed bool) {
		if !needed && stated == "" {
			stated = "Nothing more."
		}
		t.row(text(what), text(does), text(or(stated, notStated)))
	}
	row("Events and sessions", "They are kept until they are erased; none is deleted for its age.", f.Retention.Events, true)
	row("Tombstones", "A keyed hash of what was erased is kept for good, so that late arrivals stay out. It does not lead back to an id.", f.Retention.Tombstones, false)
	row("Receipts", "The collector keeps none; whoever asked has theirs. Of erasures with the secret key of the app it keeps the day and a number made from the keyed hash; at each start, what is a year older than the newest goes.",
		f.Retention.Receipts, false)
	row("Logs", "They hold faults and names of apps: no address, no id, no value of an event.", f.Retention.Logs, true)
	row("Backups", "The program makes none by itself.", f.Retention.Backups, true)
}
