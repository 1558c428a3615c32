package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A session is one run of the program with telemetry on.
type session struct {
	described
	cfg    Config
	url    string
	secret plan.Secret
	kept   bool
	start  time.Time // with the monotonic reading that all times derive from
	queue  *queue
	spool  *spool // nil if the queue is in memory only

	sender sender

	sent, refused, missing, recovered, lost atomic.Int64
	requests, failures                      atomic.Int64
	old                                     atomic.Int64 // events of leftovers that wait

	switchedOff func()             // called when the owner has said off
	stop        chan struct{}      // closed by close: no more looks
	done        chan struct{}      // closed when the goroutine has ended
	cancel      context.CancelFunc // cuts off the request under way
	closing     sync.Once
	closed      error
	ended       bool // by off; used by the goroutine, and by close after that
}

// startSession starts the goroutine that sends, and all that goes with it.
func startSession(p *plan.Plan, values []sessionValue, url string, cfg Config, switchedOff func()) (*session, error) {
	s := &session{
		cfg: cfg, url: url, secret: plan.NewSecret(), start: cfg.now(), switchedOff: switchedOff,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	var err error
	if s.sender, err = newSender(url, cfg); err != nil {
		return nil, err
	}
	s.described = described{App: p.App, ID: s.secret.ID().String(), Started: startTime(s.start), Plan: p}
	s.Heads = s.makeHeads(values)
	if cfg.StateDir != "" {
		if err := s.keepSecret(); err != nil {
			cfg.Logger.Warn("telemetry: the session's secret cannot be kept, so it lives in memory only", "err", err)
		} else {
			s.kept = true
		}
		if s.spool, s.queue, err = openSpool(cfg.StateDir, s.described, cfg.QueueSize); err != nil {
			cfg.Logger.Warn("telemetry: events cannot be kept in the state folder, so they wait in memory only", "err", err)
		}
	}
	if s.queue == nil {
		s.queue = newQueue(cfg.QueueSize)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.run(ctx)
	return s, nil
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

// keptSecret is the file that holds a session's secret in the state folder.
type keptSecret struct {
	App     string `json:"app"`
	ID      string `json:"user_id"`
	Secret  string `json:"secret"`
	URL     string `json:"url"`
	Started string `json:"started"`
}

// keepSecret writes the secret to StateDir/sessions/ID.json.
func (s *session) keepSecret() error {
	dir := filepath.Join(s.cfg.StateDir, "sessions")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(keptSecret{
		App: s.App, ID: s.ID, Secret: s.secret.Reveal(), URL: s.url,
		Started: s.start.UTC().Format(time.RFC3339),
	}, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, s.ID+".json"), append(b, '\n'))
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
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if ReadChoice(s.cfg.StateDir) == Off {
				s.off()
				return
			}
			s.look(ctx, false)
		case <-s.stop:
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
	s.switchedOff()
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
		s.look(ctx, true)
		if ReadChoice(s.cfg.StateDir) == Off {
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
