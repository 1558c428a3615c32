package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A session is one run of the program with telemetry on, or a part of one: a
// session that is forgotten is followed by another.
type session struct {
	described
	cfg    Config
	why    Decision
	url    string
	secret plan.Secret
	kept   bool
	unkept error     // why not
	start  time.Time // with the monotonic reading that all times derive from
	hold   heldBack
	queue  *queue
	spool  *spool // nil if the queue is in memory only

	sender  sender
	answers answers
	erasing erasing
	socket  *socket // nil without one

	sent, refused, missing, recovered, lost atomic.Int64
	requests, failures                      atomic.Int64
	old                                     atomic.Int64 // events of leftovers that wait

	switchedOff func(*session)     // called when the owner has said off
	asks        chan func()        // carried out by the goroutine, between two requests
	stop        chan struct{}      // closed by close: no more looks
	done        chan struct{}      // closed when the goroutine has ended
	ctx         context.Context    // of requests
	cancel      context.CancelFunc // cuts off the request under way
	cut         atomic.Bool        // the owner has ended the session: a request that was cut off is no failure
	closing     sync.Once
	closed      error
	ended       bool // by off; used by the goroutine, and by close after that
}

// newSession makes a session and all that goes with it but the goroutine, which
// begin starts.
func newSession(p *plan.Plan, values []sessionValue, hold heldBack, d Decision, cfg Config, switchedOff func(*session)) (*session, error) {
	s := &session{
		cfg: cfg, why: d, hold: hold, url: d.URL, secret: plan.NewSecret(), start: cfg.now(), switchedOff: switchedOff,
		asks: make(chan func()), stop: make(chan struct{}), done: make(chan struct{}),
	}
	var err error
	if s.sender, err = newSender(s.url, cfg); err != nil {
		return nil, err
	}
	s.described = described{App: p.App, ID: s.secret.ID().String(), Started: startTime(s.start), Plan: p, Held: hold.own}
	s.Heads = s.makeHeads(values)
	if cfg.StateDir != "" {
		// Events do not outlive a secret that is not kept: a session without one counts
		// as forgotten, see session.passage.
		if s.unkept = s.keepSecret(); s.unkept == nil {
			s.kept = true
			if s.spool, s.queue, err = openSpool(cfg.StateDir, s.described, cfg.QueueSize); err != nil {
				cfg.Logger.Warn("telemetry: events cannot be kept in the state folder, so they wait in memory only", "err", err)
			}
		}
	}
	if s.queue == nil {
		s.queue = newQueue(cfg.QueueSize)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// abandon takes back what newSession has made, for a session that never begins.
func (s *session) abandon() {
	s.cancel()
	s.sender.close()
	s.queue.close()
	if s.spool != nil {
		s.warn(s.spool.discard(s.queue))
	}
	if s.kept {
		s.warn(os.Remove(sessionFile(s.cfg.StateDir, s.ID)))
	}
}

// begin starts the goroutine that sends. renew is what the commands may ask for.
func (s *session) begin(renew func(id string) error) {
	s.erasing.pending = s.cfg.StateDir != ""
	s.openSocket(renew)
	go s.run(s.ctx)
}

// noTime is the start of a session whose clock was wrong beyond doubt: before
// 2010 (a board without a battery starts in 1970) or after 2100, which no plan
// takes as a timestamp. Its events are sent without a time.
const noTime = 0

// timeKey ends the head of an event; the number follows.
const timeKey = `,"time":`

func startTime(now time.Time) int64 {
	if t := now.UnixMilli(); t >= plan.MinTime && t <= plan.MaxTime {
		return t
	}
	return noTime
}

// keepSecret writes the secret to StateDir/sessions/ID.json.
func (s *session) keepSecret() error {
	number := int64(1)
	kept, _ := Kept(s.cfg.StateDir) // the oldest first; a damaged file has no number
	if len(kept) > 0 {
		number += kept[len(kept)-1].number
	}
	return KeptSession{
		number: number,
		App:    s.App, ID: s.secret.ID(), Secret: s.secret, SentTo: []Destination{{URL: s.url}}, Started: s.start,
		path: sessionFile(s.cfg.StateDir, s.ID),
	}.write()
}

// makeHeads writes what is the same for all events of a type, once: everything
// up to the number of the time.
func (s *session) makeHeads(values []sessionValue) []string {
	var top, user []byte
	member := func(dst []byte, f *plan.Field, v plan.Value) []byte {
		if !v.Set {
			return dst
		}
		if len(dst) > 0 {
			dst = append(dst, ',')
		}
		dst = amplitude.AppendString(dst, f.Name)
		return f.AppendJSON(append(dst, ':'), v)
	}
	for i := range s.Plan.Fields {
		if s.hold.field(i) {
			continue
		}
		f := &s.Plan.Fields[i]
		var v plan.Value
		switch f.Name {
		case "user_id":
			v = plan.Value{Set: true, ID: s.secret.ID()}
		case "app_version":
			v, _ = f.FromString([]byte(s.cfg.Version))
		case "device_id":
			v, _ = f.FromString([]byte(system()))
		default:
			for _, sv := range values {
				if sv.field == i && sv.set {
					if v = fromInt(f, sv.value); !v.Set {
						s.missing.Add(1)
					}
				}
			}
		}
		switch f.In {
		case plan.Top:
			top = member(top, f, v)
		case plan.UserProperties:
			user = member(user, f, v)
		}
	}
	heads := make([]string, len(s.Plan.Events))
	for i, e := range s.Plan.Events {
		b := append([]byte{'{'}, top...)
		b = append(b, `,"event_type":`...)
		b = amplitude.AppendString(b, e.Name)
		if len(user) > 0 {
			b = append(b, `,"user_properties":{`...)
			b = append(append(b, user...), '}')
		}
		heads[i] = string(append(b, timeKey...))
	}
	return heads
}

// fromInt turns what Record was given into a value of the plan. A number that
// does not fit the field's kind becomes null.
func fromInt(f *plan.Field, n int64) plan.Value {
	switch f.Kind {
	case plan.Enum:
		if n >= 0 && n < int64(len(f.Values)) {
			return plan.Value{Set: true, Int: n}
		}
		return plan.Value{}
	case plan.Flag:
		if n != int64(No) && n != int64(Yes) {
			return plan.Value{}
		}
		return plan.Value{Set: true, Int: n}
	case plan.Bucket:
		return f.BucketOf(n)
	}
	v, _ := f.FromInt(n)
	return v
}

// run looks for new events until stop. With nothing new a look sends nothing.
// The ticker runs by the monotonic clock: a jump of the wall clock does not
// stall it.
func (s *session) run(ctx context.Context) {
	defer close(s.done)
	// What ended sessions have left goes at once: a command that ends within the
	// first interval would otherwise never send it.
	s.search(ctx)
	if len(s.sender.leftovers) > 0 {
		s.look(ctx, false)
	}
	s.tryErasures(ctx)
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if !s.saysOff() {
				s.look(ctx, false)
				s.tryErasures(ctx)
			}
		case f := <-s.asks:
			f()
		case <-s.stop:
			return
		}
		if s.saysOff() {
			s.off()
			return
		}
	}
}

// saysOff reports whether the owner of the state folder has said off since the
// start.
func (s *session) saysOff() bool { return ReadChoice(s.cfg.StateDir) == Off }

// do has f carried out between two requests.
func (s *session) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case s.asks <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-s.done:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attend carries out what was asked for, if anything was, and does not wait.
func (s *session) attend() {
	for {
		select {
		case f := <-s.asks:
			f()
		default:
			return
		}
	}
}

// off ends the session because its owner has said so: nothing more is sent, and
// what waits is deleted. The secret stays: it erases what was sent.
func (s *session) off() {
	if s.ended {
		return
	}
	s.ended = true
	s.switchedOff(s)
	s.socket.close()
	s.queue.close()
	s.queue.clear()
	s.sender.close()
	for _, l := range s.sender.leftovers {
		l.damaged = false
		s.warn(l.finish())
	}
	s.sender.leftovers = nil
	s.old.Store(0)
	if s.spool != nil {
		s.warn(s.spool.discard(s.queue))
		s.spool = nil
	}
	s.cfg.Logger.Info("telemetry: switched off in the state folder; nothing more is recorded or sent")
}

// discard ends the session because it is to be forgotten: nothing more of it is
// sent, and what waits is thrown away. What other sessions have left is kept. It
// returns the counts, without what is kept.
func (s *session) discard() (st Stats) {
	s.closing.Do(func() {
		s.cut.Store(true)
		s.queue.close()
		s.cancel()
		close(s.stop)
		<-s.done
		if s.ended {
			return
		}
		s.socket.close()
		s.sender.close()
		s.queue.clear()
		waiting := s.old.Swap(0)
		for _, l := range s.sender.leftovers {
			s.warn(l.keep())
		}
		s.sender.leftovers = nil
		if s.spool != nil {
			s.warn(s.spool.discard(s.queue))
			s.spool = nil
		}
		st = s.stats()
		st.Recorded -= waiting
		st.Recovered -= waiting
	})
	return st
}

// close ends the session within one budget.
func (s *session) close(ctx context.Context) error {
	s.closing.Do(func() {
		if _, has := ctx.Deadline(); !has {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, s.cfg.CloseTimeout)
			defer cancel()
		}
		s.queue.close()
		close(s.stop)
		select {
		case <-s.done: // a request under way may use the budget
		case <-ctx.Done():
			s.cancel()
			<-s.done // the cancelled request returns at once
		}
		s.socket.close()
		s.look(ctx, true)
		if s.saysOff() {
			s.off()
		}
		s.cancel()
		s.sender.close()
		s.closed = s.keepRest()
	})
	return s.closed
}

// keepRest leaves what could not be sent for the next start, or counts it as
// lost where there is nowhere to leave it.
func (s *session) keepRest() error {
	for _, l := range s.sender.leftovers {
		s.warn(l.keep())
	}
	s.sender.leftovers = nil
	if s.spool != nil {
		var pending []slot
		if s.sender.from == nil {
			pending = s.sender.pending
		}
		s.warn(s.spool.close(s.queue, pending))
		return nil
	}
	if n := s.queue.clear(); n > 0 {
		return fmt.Errorf("telemetry: %d events could not be sent before the deadline and are lost; with a state folder the next start sends them", n)
	}
	return nil
}

// warn logs what goes wrong with files, where there is nothing else to do.
func (s *session) warn(err error) {
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		s.cfg.Logger.Warn("telemetry: the state folder", "err", err)
	}
}

func (s *session) stats() Stats {
	put, waiting, dropped := s.queue.counts()
	return Stats{
		Recorded: put + s.recovered.Load(), Recovered: s.recovered.Load(),
		Sent: s.sent.Load(), Refused: s.refused.Load(),
		Dropped: dropped + s.lost.Load(), Waiting: waiting + s.old.Load(),
		Missing: s.missing.Load(), Requests: s.requests.Load(), Failures: s.failures.Load(),
	}
}
