package telemetry

import (
	"context"
	"errors"
	"time"
)

// erasing is what a session knows of erasures that were asked for and could not
// be had. Only the session's goroutine uses it.
type erasing struct {
	pending bool      // there may be some
	quiet   time.Time // until then all that there are wait

	// waits are of the origins that could not be had when they were asked last.
	waits map[string]erasingWait
}

type erasingWait struct {
	wait time.Duration
	next time.Time
}

// tryErasures asks again for the erasures that wait in the state folder, one session
// in a request, each at the destinations that still owe it. A destination that cannot
// be had waits as delivery does, and at least as long as it asks for, and keeps no
// other waiting: the round ends with it, because it may have taken ten seconds, and
// the next look goes on with the others.
func (s *session) tryErasures(ctx context.Context) {
	e := &s.erasing
	if !e.pending || time.Now().Before(e.quiet) {
		return
	}
	kept, err := Kept(s.cfg.StateDir)
	s.warn(err)
	e.pending, e.quiet = false, time.Time{}
	for _, k := range kept {
		for _, d := range k.SentTo {
			if !k.owes() || !mayBeHad(d) {
				continue
			}
			if ctx.Err() != nil || s.saysOff() || !s.tryErasure(ctx, k, d.URL) {
				e.pending, e.quiet = true, time.Time{}
				return
			}
		}
	}
}

// tryErasure asks one destination, unless it is to be left alone for now. It returns
// false where the round is to end.
func (s *session) tryErasure(ctx context.Context, k KeptSession, url string) (goOn bool) {
	e, from := &s.erasing, origin(url)
	w := e.waits[from]
	if time.Now().Before(w.next) {
		if e.pending = true; e.quiet.IsZero() || w.next.Before(e.quiet) {
			e.quiet = w.next
		}
		return true
	}
	sub, done := s.cutWhenOff(ctx)
	findings, fault := k.forget(sub, s.cfg, func(d Destination) bool { return d.URL == url })
	done()
	s.warn(fault)
	for _, a := range findings {
		var later *laterError
		switch {
		case errors.As(a.err, &later):
			w.wait = min(max(2*w.wait, firstWait), lastWait)
			w.next = time.Now().Add(max(later.wait, w.wait/2+s.cfg.jitter(w.wait/2)))
			if e.waits == nil {
				e.waits = map[string]erasingWait{}
			}
			e.waits[from] = w
			return false
		case a.err == nil:
			s.cfg.Logger.Info("telemetry: an erasure that waited was carried out; its receipt is in the state folder")
		case a.raw != nil && a.path == "": // it has no id and no secret in it
			s.cfg.Logger.Warn("telemetry: an erasure that waited was carried out", "err", a.err, "receipt", string(a.raw))
		case a.raw != nil:
			s.cfg.Logger.Warn("telemetry: an erasure that waited was answered", "err", a.err)
		default:
			s.cfg.Logger.Warn("telemetry: an erasure that waited cannot be had; it is tried again when somebody asks for it", "err", a.err)
		}
		delete(e.waits, from)
	}
	return true
}

// mayBeHad reports whether a destination may answer otherwise than before.
func mayBeHad(d Destination) bool { return !d.Erased && d.Fault == "" && !amplitudeHost(d.URL) }
