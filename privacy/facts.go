package privacy

import (
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// Facts are what the maintainer of an app states about its telemetry. A text
// that is empty is not stated.
type Facts struct {
	// Controller is who is responsible, with a postal address; Contact is how to
	// reach them about it.
	Controller string `json:"controller,omitempty"`
	Contact    string `json:"contact,omitempty"`

	// Where there are any: a joint controller, a representative in the European
	// Union, a data protection officer.
	JointController       string `json:"joint_controller,omitempty"`
	Representative        string `json:"representative,omitempty"`
	DataProtectionOfficer string `json:"data_protection_officer,omitempty"`

	Purpose    string `json:"purpose,omitempty"`
	LegalBasis string `json:"legal_basis,omitempty"`

	// Recipients are all who are given events. An empty list states that there
	// are none; a missing one states nothing.
	Recipients []Recipient `json:"recipients"`

	// Amplitude states that events are forwarded to Amplitude.
	Amplitude bool `json:"forwards_to_amplitude,omitempty"`

	Retention Retention `json:"retention"`

	// Security is what is done besides what the collector does by itself.
	Security string `json:"security,omitempty"`

	// Figures opens the page of figures to everyone.
	Figures bool `json:"publish_figures,omitempty"`
}

// A Recipient is somebody who is given events.
type Recipient struct {
	Name string `json:"name"`
	Why  string `json:"why"`

	// Country is where they are, if outside of the European Union, and Safeguard
	// what makes it lawful to send events there.
	Country   string `json:"country,omitempty"`
	Safeguard string `json:"safeguard,omitempty"`
}

// Retention states for how long each kind of data is kept.
type Retention struct {
	Events     string `json:"events,omitempty"`
	Tombstones string `json:"tombstones,omitempty"`
	Receipts   string `json:"receipts,omitempty"`
	Logs       string `json:"logs,omitempty"`
	Backups    string `json:"backups,omitempty"`
}

// amplitude is what Facts.Amplitude stands for. A recipient of that name takes its
// place, so that the safeguard can be stated.
var amplitude = Recipient{
	Name: "Amplitude, Inc.", Why: "draws the events for the maintainer, who has them forwarded there",
	Country: "United States of America",
}

// All returns the recipients, Amplitude included. f may be nil.
func (f *Facts) All() []Recipient {
	if f == nil {
		return nil
	}
	all := f.Recipients[:len(f.Recipients):len(f.Recipients)]
	if f.Amplitude && !slices.ContainsFunc(all, func(r Recipient) bool { return r.Name == amplitude.Name }) {
		all = append(all, amplitude)
	}
	return all
}

// What a statement may be: enough for an answer, too little for a book, so that a
// page stays one. 2026-11.
const (
	maxText       = 2000
	maxRecipients = 50
)

// ParseFacts reads Facts in JSON and reports every fault at once, by its place.
func ParseFacts(b []byte) (*Facts, error) {
	f := new(Facts)
	if err := plan.ReadJSON(b, f); err != nil {
		return nil, fmt.Errorf("read the facts: %w", err)
	}
	return f, f.Check()
}

// Check reports every fault at once, joined, each naming its place.
func (f *Facts) Check() error {
	var faults []error
	fault := func(at, rule string) { faults = append(faults, fmt.Errorf("facts: %s %s", at, rule)) }
	text := func(at, s string) {
		if len(s) > maxText || !utf8.ValidString(s) {
			fault(at, fmt.Sprintf("must be %d bytes of UTF-8 at most", maxText))
		}
		for _, r := range s {
			if unicode.IsControl(r) {
				fault(at, "must be one line without control characters")
				break
			}
		}
	}
	text("controller", f.Controller)
	text("contact", f.Contact)
	text("joint_controller", f.JointController)
	text("representative", f.Representative)
	text("data_protection_officer", f.DataProtectionOfficer)
	text("purpose", f.Purpose)
	text("legal_basis", f.LegalBasis)
	text("retention.events", f.Retention.Events)
	text("retention.tombstones", f.Retention.Tombstones)
	text("retention.receipts", f.Retention.Receipts)
	text("retention.logs", f.Retention.Logs)
	text("retention.backups", f.Retention.Backups)
	text("security", f.Security)
	if len(f.Recipients) > maxRecipients {
		fault("recipients", fmt.Sprintf("must be %d or fewer", maxRecipients))
	}
	for i, r := range f.Recipients {
		at := fmt.Sprintf("recipients[%d]", i)
		if r.Name == "" || r.Why == "" {
			fault(at, "must have a name and say why")
		}
		text(at+".name", r.Name)
		text(at+".why", r.Why)
		text(at+".country", r.Country)
		text(at+".safeguard", r.Safeguard)
		if r.Country != "" && r.Safeguard == "" {
			fault(at+".safeguard", "must be stated where country is")
		}
	}
	return errors.Join(faults...)
}

// gaps names what is not stated and should be.
func (f *Facts) gaps() []string {
	var list []string
	for _, g := range []struct {
		name   string
		stated bool
	}{
		{"controller", f.Controller != ""},
		{"contact", f.Contact != ""},
		{"purpose", f.Purpose != ""},
		{"legal_basis", f.LegalBasis != ""},
		{"recipients", f.Recipients != nil},
		{"retention.events", f.Retention.Events != ""},
		{"retention.logs", f.Retention.Logs != ""},
		{"retention.backups", f.Retention.Backups != ""},
		{"security", f.Security != ""},
	} {
		if !g.stated {
			list = append(list, g.name)
		}
	}
	for _, r := range f.All() {
		if r.Country != "" && r.Safeguard == "" {
			list = append(list, "recipients, the safeguard for "+r.Name)
		}
	}
	return list
}
