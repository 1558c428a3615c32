package collector

import (
	"sync"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Limits bounds how fast events are taken, in events a second, averaged over
// half a minute as Amplitude does. 0 means no limit.
//
// What comes faster is answered 503, and SDKs wait and send again. A 429 that
// does not name every event makes Amplitude's Go SDK send again at once, for
// ever; and a session that is too fast would be named by its id.
type Limits struct {
	App     int // of one API key
	Session int // of one session of an app
}

// burst is how long a sender may save up what it does not send.
const burst = 30 * time.Second

// maxBalances bounds the sessions that are remembered, and with it the memory
// for them, 20 MB. If more than that send within half a minute, all are let off.
const maxBalances = 200_000

// limiter holds senders to Limits. It is safe for concurrent use.
type limiter struct {
	limits Limits
	now    func() time.Time

	mu       sync.Mutex // guards what follows
	apps     balances[string]
	sessions balances[sender]
}

func newLimiter(l Limits, now func() time.Time) *limiter {
	return &limiter{limits: l, now: now, apps: balances[string]{}, sessions: balances[sender]{}}
}

// allow reports whether n events of an app may come now, and books them if so.
// records are those of them that have a sender.
func (l *limiter) allow(app string, n int, records []store.Record) bool {
	if l.limits == (Limits{}) {
		return true
	}
	var bySession map[plan.ID]int
	if l.limits.Session > 0 {
		bySession = map[plan.ID]int{}
		for i := range records {
			bySession[records[i].ID]++
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.limits.App > 0 && !l.apps.positive(app, l.limits.App, now) {
		return false
	}
	for id := range bySession {
		if !l.sessions.positive(sender{app, id}, l.limits.Session, now) {
			return false
		}
	}
	if l.limits.App > 0 {
		l.apps.book(app, n, l.limits.App, now)
	}
	for id, n := range bySession {
		l.sessions.book(sender{app, id}, n, l.limits.Session, now)
	}
	return true
}

// balances say how many events each may still send. Whoever has any left may
// overdraw with one request, or a batch larger than the burst would never pass.
// Who is not there has its full burst.
type balances[K comparable] map[K]balance

type balance struct {
	events float64
	at     time.Time
}

// of returns the balance of one sender now.
func (b balances[K]) of(k K, rate int, now time.Time) float64 {
	full := float64(rate) * burst.Seconds()
	old, ok := b[k]
	if !ok {
		return full
	}
	// A clock that was set back gives nothing and takes nothing.
	return min(full, old.events+float64(rate)*max(0, now.Sub(old.at).Seconds()))
}

func (b balances[K]) positive(k K, rate int, now time.Time) bool { return b.of(k, rate, now) > 0 }

func (b balances[K]) book(k K, n, rate int, now time.Time) {
	if _, ok := b[k]; !ok && len(b) >= maxBalances {
		full := float64(rate) * burst.Seconds()
		for other := range b {
			if b.of(other, rate, now) >= full {
				delete(b, other)
			}
		}
		if len(b) >= maxBalances {
			clear(b)
		}
	}
	b[k] = balance{b.of(k, rate, now) - float64(n), now}
}
