package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A session is one run of the program with telemetry on.
type session struct {
	cfg    Config
	plan   *plan.Plan
	url    string
	secret plan.Secret
	id     string
	kept   bool
	start  time.Time // with the monotonic reading that all times derive from
	queue  *queue

	heads [][]byte // of each event: its JSON up to the number of the time

	sender sender

	sent, refused, lost, missing, inFlight atomic.Int64
	requests, failures                     atomic.Int64

	stop    chan struct{} // closed by close: no more looks
	done    chan struct{} // closed when the goroutine has ended
	cancel  context.CancelFunc
	closing sync.Once
	closed  error
}

func startSession(p *plan.Plan, values []sessionValue, url string, cfg Config) *session {
	s := &session{
		cfg: cfg, plan: p, url: url,
		secret: plan.NewSecret(),
		start:  cfg.now(),
		queue:  newQueue(cfg.QueueSize),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	s.id = s.secret.ID().String()
	s.heads = s.makeHeads(values)
	if cfg.StateDir != "" {
		if err := s.keepSecret(); err != nil {
			cfg.Logger.Warn("telemetry: the session's secret cannot be kept, so it lives in memory only", "err", err)
		} else {
			s.kept = true
		}
	}
	s.sender = newSender(url, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.run(ctx)
	return s
}

// keptSecret is the file that holds a session's secret in the state folder.
type keptSecret struct {
	App     string `json:"app"`
	ID      string `json:"user_id"`
	Secret  string `json:"secret"`
	URL     string `json:"url"`
	Started string `json:"started"`
}

// keepSecret writes the secret to StateDir/sessions/ID.json, whole or not at all.
func (s *session) keepSecret() error {
	dir := filepath.Join(s.cfg.StateDir, "sessions")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	b, err := json.MarshalIndent(keptSecret{
		App: s.plan.App, ID: s.id, Secret: s.secret.Reveal(), URL: s.url,
		Started: s.start.UTC().Format(time.RFC3339),
	}, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keep the secret: %w", err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, s.id+".json"))
	}
	if err != nil {
		return fmt.Errorf("keep the secret: %w", err)
	}
	return nil
}

// makeHeads writes what is the same for all events of a type, once.
func (s *session) makeHeads(values []sessionValue) [][]byte {
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
	for i := range s.plan.Fields {
		f := &s.plan.Fields[i]
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
	heads := make([][]byte, len(s.plan.Events))
	for i, e := range s.plan.Events {
		b := append([]byte{'{'}, top...)
		b = append(b, `,"event_type":`...)
		b = amplitude.AppendString(b, e.Name)
		if len(user) > 0 {
			b = append(b, `,"user_properties":{`...)
			b = append(append(b, user...), '}')
		}
		heads[i] = append(b, `,"time":`...)
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

// run looks for new events until stop. With nothing new a look does nothing.
func (s *session) run(ctx context.Context) {
	defer close(s.done)
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.look(ctx, false)
		case <-s.stop:
			return
		}
	}
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
		s.cancel()
		s.sender.close()
		if left := s.abandon(); left > 0 {
			s.closed = fmt.Errorf("telemetry: %d events could not be sent before the deadline and are lost", left)
		}
	})
	return s.closed
}

func (s *session) stats() Stats {
	put, waiting, dropped := s.queue.counts()
	return Stats{
		Recorded: put, Sent: s.sent.Load(), Refused: s.refused.Load(),
		Dropped: dropped + s.lost.Load(), Waiting: waiting + s.inFlight.Load(),
		Missing: s.missing.Load(), Requests: s.requests.Load(), Failures: s.failures.Load(),
	}
}
