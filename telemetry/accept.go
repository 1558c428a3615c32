package telemetry

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// The owner of a state folder accepts a plan, and a later version of the program
// sends no more than that until they have accepted again:
//
//	StateDir/accepted-APP.json    the plan, as JSON
//
// The first start on a folder that keeps no session accepts the plan that it can print. After that
// only the command `on` does: a folder that keeps sessions of the program is not
// empty, and where its accepted plan is gone nobody can say what was accepted.
// Without a state folder all that the program declares is on.

func acceptedPath(stateDir, app string) string {
	return filepath.Join(stateDir, "accepted-"+app+".json")
}

// readAccepted returns the plan that was accepted; nil and no error if none was
// yet. A file that cannot be read, that is no plan of the app, or that is gone where
// sessions are kept, accepts nothing, and the error says which of them it is.
func readAccepted(stateDir, app string) (*plan.Plan, error) {
	if stateDir == "" {
		return nil, nil
	}
	path := acceptedPath(stateDir, app)
	missing := func(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }
	b, err := readFile(path, maxPlanFile)
	if missing(err) {
		kept, _ := Kept(stateDir)
		if !slices.ContainsFunc(kept, func(k KeptSession) bool { return k.App == app }) {
			return nil, nil
		}
		// Another process may have begun meanwhile. It accepts before it keeps a session.
		if b, err = readFile(path, maxPlanFile); missing(err) {
			return nil, errors.New(path + " is gone, and earlier sessions are kept here")
		}
	}
	if err != nil && !errors.Is(err, errTooLarge) {
		return nil, errors.New(path + " cannot be read")
	}
	p, err := plan.Parse(b)
	if err != nil || p.App != app {
		return nil, fmt.Errorf("%s holds no plan of %s", path, app)
	}
	return p, nil
}

// AcceptPlan keeps a plan as the one that the owner of a state folder has
// accepted: from the next start on, everything in it may be sent.
func AcceptPlan(stateDir string, p *plan.Plan) error {
	if stateDir == "" {
		return errors.New("there is no state folder to keep the accepted plan in")
	}
	if err := makeDir(stateDir); err != nil {
		return fmt.Errorf("keep the accepted plan: %w", err)
	}
	if err := replaceFile(acceptedPath(stateDir, p.App), p.JSON()); err != nil {
		return fmt.Errorf("keep the accepted plan: %w", err)
	}
	return nil
}

// deliveryOf adds to a plan what travels besides because of a Config.
func deliveryOf(p *plan.Plan, cfg Config) *plan.Plan {
	const name = "Content-Encoding"
	if !cfg.Gzip || slices.ContainsFunc(p.Delivery, func(d plan.Item) bool { return d.Name == name }) {
		return p
	}
	more := *p
	more.Delivery = append(slices.Clip(p.Delivery), plan.Item{Name: name, Doc: "Request header: gzip."})
	return &more
}

// uptimeBit is the bit of uptime in heldBack.own; the event's own fields have the
// lower ones.
const uptimeBit = maxOwn

// heldBack is what a plan declares beyond the accepted one. Its zero value holds
// nothing back. What goes with a request whatever it holds (plan.Delivery, such as a
// header) cannot be held back, unless nothing is sent at all: it is announced.
type heldBack struct {
	names  []string                 // for people: "brewed", "brewed.sugar", "roast"
	travel []string                 // what is new of plan.Delivery, and travels all the same
	events [plan.MaxEvents + 1]bool // not recorded
	fields []bool                   // beside plan.Fields; nil for none
	own    []int                    // for each event a bit for each of its own fields; nil for none
}

func (h *heldBack) field(i int) bool { return h.fields != nil && h.fields[i] }

// heldAll begins the only name where nothing can be compared.
const heldAll = "everything, "

// holdBack compares what a program declares with what was accepted on a state
// folder. A field that says something else under an old name counts as new, and
// so does one with a new word or another range. Descriptions do not count.
func holdBack(stateDir string, p *plan.Plan) (h heldBack) {
	accepted, err := readAccepted(stateDir, p.App)
	names := &h.names
	switch {
	case err != nil:
		accepted = &plan.Plan{} // nothing
		h.names = []string{heldAll + "because " + err.Error()}
		names = new([]string)
	case accepted == nil:
		return h
	}
	has := func(accepted []plan.Field, f plan.Field) bool {
		return slices.ContainsFunc(accepted, func(a plan.Field) bool {
			if f.Kind == plan.Enum && len(a.Values) > len(f.Values) {
				a.Values = a.Values[:len(f.Values)] // an older version has fewer words, and says nothing new
			}
			return f.Same(a)
		})
	}
	for _, d := range p.Delivery {
		if err == nil && !slices.ContainsFunc(accepted.Delivery, func(a plan.Item) bool { return a.Name == d.Name }) {
			h.travel = append(h.travel, d.Name)
		}
	}
	h.fields, h.own = make([]bool, len(p.Fields)), make([]int, len(p.Events))
	for i, f := range p.Fields {
		if h.fields[i] = !has(accepted.Fields, f); h.fields[i] {
			*names = append(*names, f.Name)
			if f.Name == "uptime" {
				for e := range h.own {
					h.own[e] |= 1 << uptimeBit
				}
			}
		}
	}
	for i, e := range p.Events {
		at := slices.IndexFunc(accepted.Events, func(a plan.Event) bool { return a.Name == e.Name })
		if at < 0 {
			h.events[i] = true
			*names = append(*names, e.Name)
			continue
		}
		for j, f := range e.Fields {
			if !has(accepted.Events[at].Fields, f) && !has(accepted.Fields, f) {
				h.own[i] |= 1 << j
				*names = append(*names, e.Name+"."+f.Name)
			}
		}
	}
	return h
}
