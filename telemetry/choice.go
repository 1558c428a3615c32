package telemetry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// The state folder keeps two words of its owner: the choice made with the
// commands `on` and `off`, and that the notice was given (see Consent).
//
//	StateDir/choice    "on" or "off"
//	StateDir/noticed   the number of the plan whose notice was given

// A Consent says what a program does before anybody has made a choice.
type Consent uint8

const (
	OptOut Consent = iota // on, until somebody says off
	Notice                // the first start on a state folder says what will be sent, and sends nothing; on from the second start
	OptIn                 // off, until somebody says on
)

// ReadChoice returns what the owner of a state folder has chosen. A folder or a file
// that is not there is silent. A file that cannot be read, or holds any word but
// "on", counts as off: when in doubt, nothing is sent.
func ReadChoice(stateDir string) Word {
	choice, _ := readChoice(stateDir)
	return choice.Says
}

// readChoice returns the choice as a source, and why it counts as off where it does
// not say so.
func readChoice(stateDir string) (s Setting, odd string) {
	if stateDir == "" {
		return Setting{}, ""
	}
	s = Setting{Source: filepath.Join(stateDir, "choice"), Says: Off}
	b, err := readFile(s.Source, maxFile)
	word := strings.TrimSpace(string(b))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return Setting{}, ""
	case err != nil && !errors.Is(err, errTooLarge):
		odd = s.Source + " cannot be read, and counts as off; make it readable, or remove it"
	case word == "on":
		s.Says = On
	case word != "off":
		odd = s.Source + " holds neither on nor off, and counts as off; choose again, or remove it"
	}
	return s, odd
}

// WriteChoice keeps the choice of the owner of a state folder. Off takes effect
// on running programs at their next look and deletes what waits there to be
// sent; the secrets, which erase what was sent, stay. On takes effect at the
// next start.
func WriteChoice(stateDir string, w Word) error {
	if err := writeChoice(stateDir, w); err != nil {
		return err
	}
	if w == Off {
		return deleteSpools(stateDir)
	}
	return nil
}

// writeChoice is WriteChoice without what waits to be sent.
func writeChoice(stateDir string, w Word) error {
	if stateDir == "" {
		return errors.New("there is no state folder to keep the choice in; use the environment variable instead")
	}
	word := map[Word]string{On: "on\n", Off: "off\n"}[w]
	if word == "" {
		return errors.New("the choice is on or off")
	}
	if err := makeDir(stateDir); err != nil {
		return fmt.Errorf("keep the choice: %w", err)
	}
	if err := replaceFile(filepath.Join(stateDir, "choice"), []byte(word)); err != nil {
		return fmt.Errorf("keep the choice: %w", err)
	}
	return nil
}

// deleteSpools removes what sessions that have ended left. A live one removes
// its own.
func deleteSpools(stateDir string) error {
	entries, err := os.ReadDir(spoolDir(stateDir))
	if err != nil {
		return nil // there is none
	}
	var faults []error
	for _, e := range entries {
		faults = append(faults, deleteSpool(filepath.Join(spoolDir(stateDir), e.Name())))
	}
	return errors.Join(faults...)
}

// deleteSpool removes a spool file, unless a live session has it or it is not
// there.
func deleteSpool(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	if lockFile(f) != nil {
		return f.Close()
	}
	defer unlockFile(f)
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("delete what waits to be sent: %w", err)
	}
	return nil
}

func noticeGiven(stateDir string) bool {
	_, err := os.Stat(filepath.Join(stateDir, "noticed"))
	return err == nil
}

// keepNotice notes that the notice of a plan was given, which is then the accepted
// one.
func keepNotice(stateDir string, p *plan.Plan) error {
	if err := AcceptPlan(stateDir, p); err != nil {
		return err
	}
	return replaceFile(filepath.Join(stateDir, "noticed"), fmt.Appendf(nil, "%d\n", p.Version))
}
