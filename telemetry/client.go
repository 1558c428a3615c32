package telemetry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// A Client holds a plan while it is declared, and sends its events once it is
// open. Declare from one goroutine, before Open; everything else is safe for
// concurrent use.
type Client struct {
	plan    plan.Plan
	session []sessionValue // beside plan.Fields
	faults  []error

	live  atomic.Pointer[session] // nil before Open, and where telemetry is off
	off   atomic.Bool
	early atomic.Int64 // recorded before Open

	// swap is held while one session takes the place of another, so that Close
	// ends the right one. It guards what follows.
	swap   sync.Mutex
	closed bool
	past   Stats // of sessions that were forgotten
	values []sessionValue
	cfg    Config

	mu       sync.Mutex // guards what follows
	opened   bool
	decision Decision
}

// sessionValue is the value of a declared field of the session.
type sessionValue struct {
	field int // index in plan.Fields
	value int64
	set   bool
}

// New begins the declaration of app's plan in the given version, from 1. It
// declares the fields that every program has: user_id, app_version, device_id,
// time and uptime. Faults are reported by Open, all at once.
func New(app string, version int) *Client {
	return &Client{plan: plan.Plan{
		App: app, Version: version, Identity: "user_id",
		Fields: []plan.Field{
			{Name: "user_id", In: plan.Top, Kind: plan.RandomID, Session: true,
				Doc: "A random id, made anew each time the program starts. Groups the events of one run; two runs have nothing in common."},
			{Name: "app_version", In: plan.Top, Kind: plan.Version, Session: true,
				Doc: "The version number of the program."},
			{Name: "device_id", In: plan.Top, Kind: plan.System, Session: true,
				Doc: "The system that the program runs on: operating system and architecture, nothing else."},
			{Name: "time", In: plan.Top, Kind: plan.Timestamp,
				Doc: "When the event happened, in milliseconds since 1970 UTC."},
			{Name: "uptime", In: plan.EventProperties, Kind: plan.Seconds,
				Doc: "For how many seconds the program had been running when the event happened."},
		},
		Delivery: []plan.Item{
			{Name: "insert_id", Doc: "user_id, a hyphen, and the number of the event in this run, so that a repeated request is not counted twice."},
			{Name: "api_key", Doc: "Names the app to the collector; the same for all who run the program."},
			{Name: "Host", Doc: "Request header: the host of the destination."},
			{Name: "Content-Type", Doc: "Request header: application/json."},
			{Name: "Content-Length", Doc: "Request header: the size of the request's body in bytes."},
		},
	}}
}

// declareSession adds a field of the session, which travels in user_properties.
// It is put before uptime, so that the published list reads from the session to
// the event.
func (c *Client) declareSession(f plan.Field) int {
	c.mustBeClosed()
	f.In, f.Session = plan.UserProperties, true
	at := len(c.plan.Fields) - 1
	c.plan.Fields = append(c.plan.Fields, c.plan.Fields[at])
	c.plan.Fields[at] = f
	c.session = append(c.session, sessionValue{field: at})
	return len(c.session) - 1
}

func (c *Client) setSession(i int, v int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session[i].value, c.session[i].set = v, true
}

func (c *Client) declareEvent(name, doc string, own ...plan.Field) uint8 {
	c.mustBeClosed()
	c.plan.Events = append(c.plan.Events, plan.Event{Name: name, Doc: doc, Fields: own})
	return uint8(min(len(c.plan.Events)-1, plan.MaxEvents)) // more than that is a fault that Check reports
}

func (c *Client) mustBeClosed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened {
		c.faults = append(c.faults, errors.New("telemetry: events and fields must be declared before Open"))
	}
}

// Plan returns what was declared, checked. Do not change it.
func (c *Client) Plan() (*plan.Plan, error) {
	if err := errors.Join(append(c.faults, plan.Check(&c.plan))...); err != nil {
		return nil, err
	}
	return &c.plan, nil
}

// Open decides by Decide whether telemetry is on and, if so, starts a session
// with a new secret and begins to send. Where telemetry is off it returns nil
// and nothing was started. An error means a fault of the plan or the Config, or
// a destination that cannot be used; the client is then off. A Client is opened
// once.
func (c *Client) Open(cfg Config) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened {
		return errors.New("telemetry: Open was called twice; make another Client for another session")
	}
	c.opened = true
	err := c.open(cfg)
	if c.live.Load() == nil {
		c.off.Store(true)
	}
	return err
}

func (c *Client) open(cfg Config) error {
	p, err := c.Plan()
	if err = errors.Join(err, cfg.check()); err != nil {
		c.decision = Decision{Source: "plan", Reason: "the plan or the configuration has faults"}
		return err
	}
	c.decision, err = Decide(cfg)
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	if c.decision.Source == "notice" && cfg.StateDir != "" {
		// What was to be said is said by the caller, who sees the Decision.
		return keepNotice(cfg.StateDir, p)
	}
	if !c.decision.On {
		return nil
	}
	if fault := folderFault(cfg.StateDir); fault != "" {
		cfg.withDefaults().Logger.Warn("telemetry: "+fault, "folder", cfg.StateDir)
	}
	c.plan = *deliveryOf(p, cfg)
	hold := holdBack(cfg.StateDir, p)
	if len(hold.travel) > 0 {
		cfg.withDefaults().Logger.Warn("telemetry: with each request of this version travels what was not on the list that was accepted in the state folder, and cannot be held back; the command `telemetry plan` says what it is, and `telemetry on` accepts it",
			"new", strings.Join(hold.travel, ", "))
	}
	if len(hold.names) > 0 {
		cfg.withDefaults().Logger.Warn("telemetry: this version can send more than was accepted in the state folder; what is new stays off until somebody accepts it with the command `telemetry on`",
			"new", strings.Join(hold.names, ", "), "accepted", acceptedPath(cfg.StateDir, p.App))
	}
	if accepted, err := readAccepted(cfg.StateDir, p.App); accepted == nil && err == nil && cfg.StateDir != "" {
		AcceptPlan(cfg.StateDir, p) // where nothing can be kept, nothing is held back either
	}
	s, err := newSession(p, c.session, hold, c.decision, cfg.withDefaults(), c.switchedOff)
	if err != nil {
		c.decision = Decision{Source: "configuration", Reason: "the configuration has faults"}
		return err
	}
	if s.unkept != nil {
		s.cfg.Logger.Warn("telemetry: the session's secret cannot be kept, so it lives in memory only, as do events that wait", "err", s.unkept)
	}
	c.swap.Lock()
	defer c.swap.Unlock()
	c.values, c.cfg = slices.Clone(c.session), cfg.withDefaults()
	c.live.Store(s)
	s.begin(c.renew)
	return nil
}

// switchedOff is called by a session whose owner has said off.
func (c *Client) switchedOff(s *session) {
	c.off.Store(true)
	c.live.CompareAndSwap(s, nil)
}

// errNoSuccessor is what whoever asks a program to forget its session is told.
var errNoSuccessor = errors.New("its session has ended, and its telemetry is off until its next start, because the secret of a new session cannot be kept in the state folder; see that the folder can be written")

// renew ends the session with this id, because it is to be forgotten, and puts a
// new one in its place. Events that are recorded meanwhile belong to the new one.
// Where its secret cannot be kept there is none: nobody could erase what it sends, so
// telemetry of this process ends, as by off.
func (c *Client) renew(id string) error {
	c.swap.Lock()
	defer c.swap.Unlock()
	old := c.live.Load()
	if old == nil || old.ID != id || c.closed {
		return errEnded
	}
	s, err := newSession(old.Plan, c.values, old.hold, old.why, c.cfg, c.switchedOff)
	if err != nil {
		return err
	}
	next := s
	if !s.kept {
		next = nil
	}
	if !c.live.CompareAndSwap(old, next) { // the owner has just said off
		s.abandon()
		return errEnded
	}
	if next == nil {
		c.off.Store(true)
		s.abandon()
		old.discard()
		c.cfg.Logger.Warn("telemetry: off until the next start, because the session was forgotten, and the secret of a new one cannot be kept in the state folder", "err", s.unkept)
		return errNoSuccessor
	}
	c.past.add(old.discard())
	s.begin(c.renew)
	c.cfg.Logger.Info("telemetry: the session was forgotten, and a new one has begun")
	return nil
}

// record is the way of every event into the queue.
func (c *Client) record(event uint8, own [maxOwn]int64) {
	s := c.live.Load()
	if s == nil {
		if !c.off.Load() {
			c.early.Add(1)
		}
		return
	}
	if s.hold.events[event] {
		return // see HeldBack
	}
	s.queue.put(event, int64(time.Since(s.start)), &own)
}

// Close sends what waits and ends the session. It has one budget for all that
// it does: the deadline of ctx, or Config.CloseTimeout if ctx has none. What
// could not be sent by then is left in the state folder for the next start;
// without a state folder it is counted as dropped, and the error says how much.
// With a context that is done already, Close only leaves what waits, which takes
// milliseconds. A second Close does nothing. It works from a signal handler's
// goroutine and from a defer.
func (c *Client) Close(ctx context.Context) error {
	c.swap.Lock()
	c.closed = true
	s := c.live.Load()
	c.swap.Unlock()
	if s == nil {
		c.off.Store(true)
		return nil
	}
	return s.close(ctx)
}

// Decision returns what Open decided. Before Open it is the zero Decision.
func (c *Client) Decision() Decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.decision
}

// HeldBack names what the plan declares beyond what was accepted in the state
// folder: events, fields, and fields of events as "event.field". Such events are not
// recorded and such fields are not sent, until somebody accepts the plan with
// Command.On or AcceptPlan; that takes effect at the next start. It is empty where
// telemetry is off.
func (c *Client) HeldBack() []string {
	s := c.live.Load()
	if s == nil {
		return nil
	}
	return slices.Clone(s.hold.names)
}

// Secret returns the secret of the session that runs now, which sees and erases
// what the session sent, and whether it is kept in the state folder. ok is false where telemetry
// is off.
func (c *Client) Secret() (secret plan.Secret, kept, ok bool) {
	s := c.live.Load()
	if s == nil {
		return plan.Secret{}, false, false
	}
	return s.secret, s.kept, true
}

// Stats counts events since Open. Recorded = Sent + Refused + Dropped + Waiting.
type Stats struct {
	Recorded  int64 // all calls of Record, and Recovered
	Recovered int64 // left by sessions that ended before they could send them
	Sent      int64 // acknowledged by the destination
	Refused   int64 // named by the destination as not acceptable
	Dropped   int64 // lost: before Open, by a full queue, by age, or unreadable
	Waiting   int64 // in the queue or under way; after Close, left for the next start
	Missing   int64 // values that did not fit their kind and were sent as missing
	Requests  int64 // all requests
	Failures  int64 // requests that did not deliver
}

func (s *Stats) add(t Stats) {
	s.Recorded += t.Recorded
	s.Recovered += t.Recovered
	s.Sent += t.Sent
	s.Refused += t.Refused
	s.Dropped += t.Dropped
	s.Waiting += t.Waiting
	s.Missing += t.Missing
	s.Requests += t.Requests
	s.Failures += t.Failures
}

// Stats returns the counts so far. It is zero where telemetry is off.
func (c *Client) Stats() Stats {
	c.swap.Lock()
	defer c.swap.Unlock()
	s := c.live.Load()
	if s == nil {
		return Stats{}
	}
	st := s.stats()
	st.add(c.past)
	early := c.early.Load()
	st.Recorded += early
	st.Dropped += early
	return st
}
