package telemetry

import (
	"context"
	"errors"
	"time"
)

// erasing is what a session knows of erasures that were asked for and could not
// be had. Only the session's goroutine uses it.
type erasing struct {
	pending bool // there may be some
	wait    time.Duration
	next    time.Time
}

// tryErasures asks again for the erasures that wait in the state folder, those of
// this app, one session in a request, each at the destinations that still owe it. It
// waits after a failure as delivery does, and at least as long as the collector asks
// for.
func (s *session) tryErasures(ctx context.Context) {
	e := &s.erasing
	if !e.pending || time.Now().Before(e.next) {
		return
	}
	kept, err := Kept(s.cfg.StateDir)
	s.warn(err)
	e.pending = false
	wait := time.Duration(0) // that a collector asks for
	for _, k := range kept {
		if !k.owes() || k.App != s.App || ctx.Err() != nil {
			continue
		}
		if s.saysOff() {
			return
		}
		sub, done := s.cutWhenOff(ctx)
		findings, fault := k.forget(sub, s.cfg, true)
		done()
		s.warn(fault)
		for _, a := range findings {
			var later *laterError
			switch {
			case a.err == nil:
				s.cfg.Logger.Info("telemetry: an erasure that waited was carried out; its receipt is in the state folder")
			case errors.As(a.err, &later):
				e.pending = true
				wait = max(wait, later.wait)
			case a.raw != nil && a.path == "": // it has no id and no secret in it
				s.cfg.Logger.Warn("telemetry: an erasure that waited was carried out", "err", a.err, "receipt", string(a.raw))
			case a.raw != nil:
				s.cfg.Logger.Warn("telemetry: an erasure that waited was answered", "err", a.err)
			default:
				s.cfg.Logger.Warn("telemetry: an erasure that waited cannot be had; it is tried again when somebody asks for it", "err", a.err)
			}
		}
		if e.pending {
			e.wait = min(max(2*e.wait, firstWait), lastWait)
			e.next = time.Now().Add(max(wait, e.wait/2+s.cfg.jitter(e.wait/2)))
			return
		}
	}
	if !e.pending {
		e.wait, e.next = 0, time.Time{}
	}
}
