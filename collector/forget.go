package collector

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// maxForgetBody bounds the small bodies of erasure requests: 100 ids of a
// hundred characters fit many times.
const maxForgetBody = 64 << 10

// handleForget erases the session whose secret is shown: that is the proof that
// it was the asker's own. The answer to a secret that fits nothing is a receipt
// for nothing, and it keeps late arrivals out all the same.
func (c *Collector) handleForget(w http.ResponseWriter, r *http.Request) {
	s, ok := c.readSecret(w, r, &c.forgets)
	if !ok {
		return
	}
	e := Erasure{Kind: "erasure", Session: sessionHash(s.secret), Erased: []ErasedApp{}, Recipients: []string{}, Before: s.before}
	for _, app := range c.folder.stored() {
		n, err := c.erase(r.Context(), app, s.id)
		if err != nil {
			c.later(w, "erase a session", err)
			return
		}
		if !n.empty() {
			e.Erased = append(e.Erased, n)
		}
	}
	// An erasure that had failed before may have ended by now, so that the app is
	// not among those in which something is stored.
	apps := slices.Clone(s.stored)
	for _, a := range e.Erased {
		if !slices.Contains(apps, a.App) {
			apps = append(apps, a.App)
		}
	}
	for _, p := range c.recipients(apps) {
		e.Recipients = append(e.Recipients, p.Name)
	}
	e.Time = c.now().UTC().Format(time.RFC3339)
	writeJSON(w, c.folder.signer.sign(&e))
}

// erasures are those of all apps, one at a time: who asks for one that is under
// way is answered when it has ended.
type erasures struct {
	mu sync.Mutex // guards unfinished

	// unfinished are those that failed half way. The store answers nothing about
	// them any more, and has yet to end them.
	unfinished map[sender]bool
}

// erase erases a sender from one app. One that was erased before and has nothing
// stored does not trouble the writer, who would end a commit for it.
func (c *Collector) erase(ctx context.Context, app string, id plan.ID) (ErasedApp, error) {
	c.erasures.mu.Lock()
	defer c.erasures.mu.Unlock()
	who := sender{app, id}
	if c.folder.tombstones.has(app, id) && !c.erasures.unfinished[who] {
		if has, err := c.stores(ctx, app, id); err != nil || !has {
			return ErasedApp{}, err
		}
	}
	n, err := c.writer.erase(ctx, app, id)
	if err != nil {
		c.erasures.unfinished[who] = true
		return ErasedApp{}, err
	}
	if !n.empty() || c.erasures.unfinished[who] {
		c.figures.erased.Add(1)
	}
	delete(c.erasures.unfinished, who)
	c.metrics.countErased(n)
	return n, nil
}

// readSmall reads a small JSON body into v, or answers.
func readSmall(w http.ResponseWriter, r *http.Request, v any) bool {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxForgetBody+1))
	if err != nil || len(b) > maxForgetBody {
		writeError(w, &amplitude.Response{Code: http.StatusRequestEntityTooLarge, Error: "Payload too large: 64 KiB at most"})
		return false
	}
	if json.Unmarshal(b, v) != nil {
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "Invalid JSON request body", MissingField: "body"})
		return false
	}
	return true
}
