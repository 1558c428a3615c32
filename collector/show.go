package collector

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// showChunk is how much of an answer is gathered before it is sent, and
// showPatience how long its reader may take to take that in.
const (
	showChunk    = 32 << 10
	showPatience = 30 * time.Second
)

// maxShows bounds the sessions that are shown at the same time, and with it the
// memory for them, a page of the store's each. Who comes next takes the place of
// one that is being shown for more than slowShow, because its reader takes it in
// slowly, or is answered 503. 2026-11.
const (
	maxShows = 16
	slowShow = 10 * time.Second
)

// errColumns: an app that was removed in the middle of an update.
var errColumns = errors.New("the stored records do not fit the app's plan; add the app again with its newest plan")

// handleShow answers POST /v1/show: all that is stored of the session whose
// secret is shown. What was erased is not there any more, and rows that are
// erased meanwhile do not come.
func (c *Collector) handleShow(w http.ResponseWriter, r *http.Request) {
	secret, ok := readSecret(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	x := shower{w: w, control: http.NewResponseController(w)}
	x.place = c.showing.take(func() error {
		cancel()
		return x.control.SetWriteDeadline(time.Unix(1, 0))
	})
	if x.place == nil {
		w.Header().Set("Retry-After", strconv.Itoa(int(slowShow/time.Second)))
		writeError(w, &amplitude.Response{Code: http.StatusServiceUnavailable, Error: "too many sessions are being shown now; ask again later"})
		return
	}
	defer x.place.leave()
	s, err := c.lookUp(ctx, secret)
	if err != nil {
		c.later(w, r, "look for a session", err)
		return
	}
	if !c.letIn(w, s, &c.shows, 0) {
		return
	}
	to, stated := c.recipients(s.stored)
	x.begin(c.now(), to, stated)
	for _, app := range s.stored {
		if err = c.showApp(ctx, &x, app, s.id); err != nil {
			break
		}
	}
	if err == nil {
		err = x.end()
	}
	switch {
	case err == nil:
	case !x.sent && ctx.Err() == nil:
		c.later(w, r, "show a session", err)
	default:
		// The answer has begun; cutting the connection shows that it is not whole. So
		// it does where somebody else was given the place.
		if ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.log.Error("show a session", "err", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// showApp shows what is stored in one app.
func (c *Collector) showApp(ctx context.Context, x *shower, name string, id plan.ID) error {
	c.reading.RLock()
	x.exporter = exporter{app: c.folder.storedApp(name), begun: sync.OnceFunc(c.reading.RUnlock)}
	defer x.begun()
	if x.app == nil {
		return errColumns
	}
	x.compile()
	x.first = true
	if err := c.store.List(ctx, store.Listing{App: name, ID: id}, x.add); err != nil {
		return err
	}
	said := c.writer.identities.said(name, id)
	if x.first && len(said) > 0 { // it has said what it is, and sent no event yet
		x.beginApp(&store.Record{ID: id, Session: make([]plan.Value, len(x.session))})
	}
	if !x.first {
		x.endApp(said)
	}
	return nil
}

// A shower writes the answer of handleShow as the records come.
type shower struct {
	exporter // of the app that is being shown
	first    bool

	w       http.ResponseWriter
	control *http.ResponseController
	place   *place
	buf     []byte
	sent    bool // some of it
	apps    int
}

func (x *shower) begin(now time.Time, to []privacy.Recipient, stated bool) {
	x.buf = append(x.buf, `{"time":`...)
	x.buf = amplitude.AppendString(x.buf, now.UTC().Format(time.RFC3339))
	x.buf = append(x.buf, `,"recipients":[`...)
	for i, p := range to {
		if i > 0 {
			x.buf = append(x.buf, ',')
		}
		x.buf = amplitude.AppendString(append(x.buf, `{"name":`...), p.Name)
		x.buf = amplitude.AppendString(append(x.buf, `,"why":`...), p.Why)
		x.buf = append(x.buf, '}')
	}
	x.buf = append(x.buf, `],"recipients_stated":`...)
	x.buf = strconv.AppendBool(x.buf, stated)
	x.buf = append(x.buf, `,"apps":[`...)
}

// add appends one record. All of a session come one after the other, the oldest
// first, and the first says what the session is.
func (x *shower) add(r *store.Record) error {
	x.begun()
	if len(r.Session) != len(x.session) || len(r.Own) != len(x.event) {
		return errColumns
	}
	if x.first {
		x.beginApp(r)
	} else {
		x.buf = append(x.buf, ',')
	}
	x.line = x.appendLine(x.line[:0], r)
	x.buf = append(x.buf, x.line[:len(x.line)-1]...) // without its newline
	if len(x.buf) < showChunk {
		return nil
	}
	return x.send()
}

// beginApp writes what a session is, by one of its records.
func (x *shower) beginApp(r *store.Record) {
	x.first = false
	if x.apps++; x.apps > 1 {
		x.buf = append(x.buf, ',')
	}
	x.buf = amplitude.AppendString(append(x.buf, `{"app":`...), x.app.Name)
	x.buf = append(x.buf, `,"session":{`...)
	x.buf = amplitude.AppendString(x.buf, x.app.Plan.Identity)
	x.buf = amplitude.AppendString(append(x.buf, ':'), string(plan.AppendID(nil, r.ID, r.Hyphens)))
	for i := range x.session {
		if f := &x.session[i]; r.Session[i].Set {
			x.buf = amplitude.AppendString(append(x.buf, ','), f.Name)
			x.buf = f.AppendJSON(append(x.buf, ':'), r.Session[i])
		}
	}
	x.buf = append(x.buf, `},"events":[`...)
}

// endApp writes what the sender has said of itself with $identify, if anything is
// kept of that: it is to complete events that have not come yet.
func (x *shower) endApp(said []property) {
	x.buf = append(x.buf, ']')
	for i, p := range said {
		if i == 0 {
			x.buf = append(x.buf, `,"identified":{`...)
		} else {
			x.buf = append(x.buf, ',')
		}
		x.buf = amplitude.AppendString(x.buf, p.field.Name)
		x.buf = p.field.AppendJSON(append(x.buf, ':'), p.value)
	}
	if len(said) > 0 {
		x.buf = append(x.buf, '}')
	}
	x.buf = append(x.buf, '}')
}

// send sends what is gathered. A reader that takes it in too slowly loses the
// connection, so that it does not keep others from their turn.
func (x *shower) send() error {
	if !x.sent {
		x.sent = true
		x.w.Header().Set("Content-Type", "application/json")
	}
	err := x.place.unlessCut(func() {
		_ = x.control.SetWriteDeadline(time.Now().Add(showPatience)) // every connection has one, a test's recorder has not
	})
	if err != nil {
		return err
	}
	_, err = x.w.Write(x.buf)
	x.buf = x.buf[:0]
	return err
}

// end ends the answer. The deadline must not reach into the connection's next
// request.
func (x *shower) end() error {
	x.buf = append(x.buf, "]}\n"...)
	if err := errors.Join(x.send(), x.control.Flush()); err != nil {
		return err
	}
	return x.place.unlessCut(func() { _ = x.control.SetWriteDeadline(time.Time{}) })
}
