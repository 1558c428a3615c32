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
// nothing new: whoever has the secret may know as much by asking. Whoever floods
// with secrets of their own, having sent an event for each, costs little more than
// that event did: erasures that wait are carried out together (erase.go).
//
// An upload tells a little to whoever knows an id already, by the time that it
// takes: an event that is there is not written again. Who does not know the id has
// 2^128 of them to try.

// How often a secret that fits nothing may be shown, once secretBurst have been.
// Each leaves a tombstone in each app, so an uninterrupted flood adds 6 MB a day
// for each of them. 2026-11.
const (
	secretBurst = 100
	secretEvery = time.Second
)

// maxTombstones is where secrets that fit nothing are not taken any more: 130 MB of
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
	before []string // the apps from which its erasure has begun earlier
}

// readSecret reads the body of a request that shows a secret, or answers.
func readSecret(w http.ResponseWriter, r *http.Request) (secret plan.Secret, ok bool) {
	var body struct {
		Secret string `json:"secret"`
	}
	if !readSmall(w, r, &body) {
		return secret, false
	}
	secret, err := plan.ParseSecret(body.Secret)
	if err != nil {
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: err.Error(), MissingField: "secret"})
		return secret, false
	}
	return secret, true
}

// lookUp looks for what fits a secret.
func (c *Collector) lookUp(ctx context.Context, secret plan.Secret) (shown, error) {
	s := shown{secret: secret, id: secret.ID()}
	for _, app := range c.folder.stored() {
		if c.folder.tombstones.has(app, s.id) {
			s.before = append(s.before, app)
		}
		has, err := c.stores(ctx, app, s.id)
		if err != nil {
			return s, err
		}
		if has || len(c.writer.identities.said(app, s.id)) > 0 {
			s.stored = append(s.stored, app)
		}
	}
	return s, nil
}

// letIn reports whether what a secret asks for may be done, or answers because too
// many fit nothing. An erasure then leaves a tombstone in each app, of which there
// are most at the most; 0 where nothing is left.
func (c *Collector) letIn(w http.ResponseWriter, s shown, limit *bucket, most int) bool {
	if len(s.before) > 0 || len(s.stored) > 0 {
		return true
	}
	wait, ok := limit.take()
	if ok && most > 0 && c.folder.tombstones.len()+len(c.folder.stored()) > most {
		wait, ok = time.Hour, false
	}
	if !ok {
		c.metrics.secretsLimited.Inc()
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		writeError(w, &amplitude.Response{
			Code: http.StatusServiceUnavailable, Error: "too many secrets that fit nothing are shown now, and nothing was done; ask again later",
		})
	}
	return ok
}

// stores reports whether anything of id may be stored in an app.
func (c *Collector) stores(ctx context.Context, app string, id plan.ID) (bool, error) {
	has, err := c.store.Holds(ctx, app, id)
	if errors.Is(err, store.ErrUnknownApp) { // it was removed before the store ever heard of it
		return false, nil
	}
	return has, err
}

// later answers whoever asks for something that cannot be done now. What is worth a
// line in the log is a fault of the store, and not that nobody waits for the answer
// any more.
func (c *Collector) later(w http.ResponseWriter, r *http.Request, doing string, err error) {
	if r.Context().Err() == nil && !errors.Is(err, errBusy) && !errors.Is(err, errEnding) {
		c.log.Error(doing, "err", err)
	}
	w.Header().Set("Retry-After", strconv.Itoa(retryStore))
	writeError(w, &amplitude.Response{
		Code: http.StatusServiceUnavailable, Error: "this cannot be done now; ask again later, what has begun is then ended",
	})
}
