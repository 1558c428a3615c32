package privacy

import (
	"strconv"
	"strings"
)

// Record returns the record of processing activities that Article 30(1) of the
// GDPR asks of a controller, points (a) to (g), as Markdown. It begins with what
// is missing in it.
func (s Subject) Record() []byte {
	f, p := s.facts(), s.Plan
	d := &document{Title: "Record of processing activities: telemetry of " + p.App}
	head := d.section("")
	head.say("For Article 30(1) of Regulation (EU) 2016/679. Made from version " + strconv.Itoa(p.Version) + " of the plan and the facts that were stated with app publish.")
	if gaps := f.gaps(); len(gaps) > 0 {
		head.say(sentence("This record is not complete. State in the facts: " + strings.Join(gaps, ", ")))
	} else {
		head.say("Nothing that it asks for is missing; whether it is true is for who signs it to say.")
	}

	responsible(d.section("(a) Controller"), f)

	purposes := d.section("(b) Purposes")
	purposes.say(or(f.Purpose, notStated))
	purposes.say("Legal basis: " + or(f.LegalBasis, notStated))

	categories := d.section("(c) Categories of data subjects and of personal data")
	categories.say("Those who run " + p.App + ", so far as they can be told apart by its " + p.Identity + ". No names, addresses or accounts are collected; these fields are:")
	fields(categories, p)

	s.recipients(d.section("(d) Categories of recipients"))

	transfers := d.section("(e) Transfers to third countries")
	abroad := 0
	for _, r := range f.All() {
		if r.Country != "" {
			transfers.say(sentence(r.Name + ", " + r.Country + ". Safeguard: " + or(r.Safeguard, "not stated")))
			abroad++
		}
	}
	switch {
	case abroad > 0:
	case f.Recipients != nil:
		transfers.say("None.")
	default:
		transfers.say(notStated)
	}

	retention(d.section("(f) Time limits for erasure"), f)

	security := d.section("(g) Technical and organisational measures")
	for _, measure := range []string{
		"Data minimisation: everything that arrives is held against the plan, which has no form for free text; the rest is dropped or refused before it is stored.",
		"Addresses of senders are neither stored nor logged nor passed on.",
		"Ids are kept in a file apart from the events, and leave it at once when they are erased. What was erased is kept out by keyed hashes.",
		"Whoever shows a session's secret sees and erases the session; answers to erasures are signed. Secrets that fit nothing are limited.",
		"The console and the counts are open to the collector's own machine; from elsewhere an app's own events are shown to who has its secret key, of which only a hash is kept.",
		"The files of the data folder are for their owner only. The database reaches no network and no other file.",
		"Stated besides: " + or(f.Security, notStated),
	} {
		security.say(measure)
	}
	return d.markdown()
}
