package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// How a collector is asked for what is its own: to forget and to show a session.
// Whoever asks to erase must know where they stand, so an error says whether the
// request can have been carried out.

// A laterError is an answer, or the lack of one, that may be another one later.
type laterError struct {
	err      error
	answered bool
	wait     time.Duration // that the collector asks for
	unsure   bool          // the request may have been carried out all the same
}

func (e *laterError) Error() string { return e.err.Error() }
func (e *laterError) Unwrap() error { return e.err }

// A statusError is an answer that is no collector's.
type statusError struct{ status int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the destination answered %d; check that its URL is a collector's", e.status)
}

// ask shows the secret to one of the collector's own routes, and returns the body of
// a 200, which the caller closes. The answer, and then each part of the body, must come
// within Config.Timeout.
func (c Config) ask(ctx context.Context, endpoint, route string, secret plan.Secret) (io.ReadCloser, error) {
	c = c.withDefaults()
	if amplitudeHost(endpoint) {
		return nil, fmt.Errorf("%w; the owner needs the user_id %s", ErrAmplitude, secret.ID())
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err // parseEndpoint has made it
	}
	u.Path, u.RawPath, u.RawQuery = route, "", ""
	d, err := newSender(endpoint, c)
	if err != nil {
		return nil, err
	}
	d.client.Timeout = 0 // it would bound the whole answer; see patience
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patience{most: c.Timeout, ctx: ctx, end: func() { cancel(nil); d.close() }}
	p.watch = time.AfterFunc(p.most, func() { cancel(context.DeadlineExceeded) })

	// A transport that says nothing of its connections may have sent the request.
	var looks, sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { looks.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	text := append(append([]byte(`{"secret":"`), secret.Reveal()...), `"}`...)
	req, err := http.NewRequestWithContext(traced, http.MethodPost, u.String(), bytes.NewReader(text))
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("ask the collector: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["User-Agent"] = []string{""} // net/http then sends none
	resp, err := d.client.Do(req)
	if err != nil {
		err = p.cause(err)
		p.Close()
		if looks.Load() && !sent.Load() {
			return nil, &laterError{err: fmt.Errorf("the collector cannot be reached, so nothing was done: %w", err)}
		}
		return nil, &laterError{err: fmt.Errorf("the collector was asked, and did not answer: %w", err), unsure: true}
	}
	p.body = resp.Body
	if resp.StatusCode == http.StatusOK {
		return p, nil
	}
	p.Close()
	if isLater(resp.StatusCode) {
		return nil, &laterError{err: fmt.Errorf("the collector answered %d", resp.StatusCode), answered: true, wait: retryAfter(resp.Header)}
	}
	return nil, &statusError{resp.StatusCode}
}

// askToForget asks for the erasure of a session, and returns the body of a 200, which
// ought to be a receipt.
func (c Config) askToForget(ctx context.Context, endpoint string, secret plan.Secret) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.withDefaults().Timeout)
	defer cancel()
	body, err := c.ask(ctx, endpoint, "/v1/forget", secret)
	if err != nil {
		var later *laterError
		var status *statusError
		switch {
		case errors.As(err, &status):
			return nil, errNotErased(status.status)
		case errors.As(err, &later) && later.unsure:
			later.err = fmt.Errorf("%w, so the session may have been erased or not; it can be asked for again", later.err)
		case errors.As(err, &later) && later.answered:
			later.err = fmt.Errorf("%w and gave no receipt, so count on nothing being erased; try again later", later.err)
		}
		return nil, err
	}
	defer body.Close()
	answer, err := io.ReadAll(io.LimitReader(body, maxReceipt+1))
	if err != nil {
		return nil, &laterError{err: fmt.Errorf("the collector's answer was cut off (%w), so the session may have been erased or not; it can be asked for again", err), unsure: true}
	}
	if len(answer) > maxReceipt {
		return nil, errors.New("the destination's answer is too large for a receipt, so count on nothing being erased; check that its URL is a collector's")
	}
	return answer, nil
}

// patience is the body of an answer, of which each part has its own time to come.
type patience struct {
	ctx   context.Context
	body  io.ReadCloser // nil before the answer
	watch *time.Timer
	most  time.Duration
	end   func()
}

func (p *patience) Read(b []byte) (int, error) {
	p.watch.Reset(p.most)
	n, err := p.body.Read(b)
	p.watch.Stop() // whoever reads may take their time
	if err != nil && err != io.EOF {
		err = p.cause(err)
	}
	return n, err
}

func (p *patience) Close() error {
	p.watch.Stop()
	if p.body != nil {
		p.body.Close()
	}
	p.end()
	return nil
}

// cause says in our words why an answer did not come.
func (p *patience) cause(err error) error {
	if gone := context.Cause(p.ctx); gone != nil {
		err = gone
	}
	return cause(err)
}

// The reasons that are said in our own words: what net/http says of them speaks of
// its own parts.
var (
	errSlow        = errors.New("no answer came in time")
	errInterrupted = errors.New("it was interrupted")
	errHungUp      = errors.New("the connection was closed")
)

// cause says why a request was not answered. The URL is left out: it is said
// elsewhere.
func cause(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	var slow net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return errInterrupted
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return errSlow
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.HasSuffix(err.Error(), "server closed idle connection"): // net/http keeps that one to itself
		return errHungUp
	}
	return err
}

func errNotErased(status int) error {
	return fmt.Errorf("the destination answered %d and gave no receipt, so count on nothing being erased; check that its URL is a collector's", status)
}

// isLater reports whether a status says that the same may go well later.
func isLater(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// retryAfter reads the header of that name, in seconds, an hour at most.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(h.Get("Retry-After"), 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, time.Hour)
}
