package collector

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// Anybody may show a secret, and a secret is all that is asked for. Three things
// follow.
//
// Nobody learns which ids exist. An id is the hash of its secret: who knows an
// id, from an export say, finds no secret that leads to it, and so can ask
// nothing about it. Who shows a secret learns about the one id that follows from
// it, and that is theirs. The secret itself is compared with nothing, so there is
// no time of a comparison to measure; it is hashed, and the hash is looked up.
//
// Secrets that fit nothing are limited, all askers together, because each costs
// a tombstone for ever: an erasure before the first event arrives must hold all
// the same. A flood of them is answered 503 and leaves nothing. The limit is for
// all, because to hold it against addresses would be to look at addresses.
//
// Secrets that fit something are not limited, so that no flood keeps a rightful
// asker out. Neither are those that were erased here: their answer may have been
// lost on its way. To see that one is let through while another is not tells
// nothing new: whoever has the secret may know as much by asking.

// How often a secret that fits nothing may be shown, once secretBurst have been.
// Each leaves a tombstone in each app, so an uninterrupted flood adds 6 MB a day
// for each of them. 2026-11.
const (
	secretBurst = 100
	secretEvery = time.Second
)

// maxTombstones is where secrets that fit nothing stop to be taken: 130 MB of
// file, and about as much memory. What fits something is erased beyond it. 2026-11.
const maxTombstones = 2_000_000

// retryStore is how many seconds to wait for a store that cannot answer.
const retryStore = 30

// A bucket lets secretBurst through at once, and then one each secretEvery. It
// is safe for concurrent use.
type bucket struct {
	now func() time.Time

	mu   sync.Mutex // guards what follows
	free time.Time  // when the bucket is, or was, full
}

// take reports whether one may pass, or how long to wait until one may.
func (b *bucket) take() (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	const whole = secretBurst * secretEvery
	switch until := b.free.Sub(now); {
	case until <= 0, until > whole: // full; or the clock was set back, and what was taken is forgiven
		b.free = now.Add(secretEvery)
	case until > whole-secretEvery:
		return until - (whole - secretEvery), false
	default:
		b.free = b.free.Add(secretEvery)
	}
	return 0, true
}

// A shown secret with what the collector has of it.
type shown struct {
	secret plan.Secret
	id     plan.ID
	stored []string // the apps in which something of it is stored
	before bool     // its erasure was begun earlier
}

// readSecret reads the body of a request that shows a secret, looks for what
// fits it, and answers if that cannot be, or if too many fit nothing.
func (c *Collector) readSecret(w http.ResponseWriter, r *http.Request, limit *bucket) (s shown, ok bool) {
	var body struct {
		Secret string `json:"secret"`
	}
	if !readSmall(w, r, &body) {
		return s, false
	}
	var err error
	if s.secret, err = plan.ParseSecret(body.Secret); err != nil {
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: err.Error(), MissingField: "secret"})
		return s, false
	}
	s.id = s.secret.ID()
	apps := c.folder.stored()
	for _, app := range apps {
		s.before = s.before || c.folder.tombstones.has(app, s.id)
		has, err := c.stores(r.Context(), app, s.id)
		if err != nil {
			c.later(w, "look for a session", err)
			return s, false
		}
		if has || len(c.writer.identities.said(app, s.id)) > 0 {
			s.stored = append(s.stored, app)
		}
	}
	if s.before || len(s.stored) > 0 {
		return s, true
	}
	wait, ok := limit.take()
	if ok && c.folder.tombstones.len()+len(apps) > c.mostTombstones {
		wait, ok = time.Hour, false
	}
	if !ok {
		c.metrics.secretsLimited.Inc()
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		writeError(w, &amplitude.Response{
			Code: http.StatusServiceUnavailable, Error: "too many secrets that fit nothing are shown now, and nothing was done; ask again later",
		})
	}
	return s, ok
}

// stores reports whether anything of id may be stored in an app.
func (c *Collector) stores(ctx context.Context, app string, id plan.ID) (bool, error) {
	has, err := c.store.Holds(ctx, app, id)
	if errors.Is(err, store.ErrUnknownApp) { // it was removed before the store ever heard of it
		return false, nil
	}
	return has, err
}

// later answers a fault of the store to who shows a secret.
func (c *Collector) later(w http.ResponseWriter, doing string, err error) {
	c.log.Error(doing, "err", err)
	w.Header().Set("Retry-After", strconv.Itoa(retryStore))
	writeError(w, &amplitude.Response{
		Code: http.StatusServiceUnavailable, Error: "the store cannot be asked now; ask again later, what has begun is then ended",
	})
}
