package collector

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// maxForgetBody bounds the small bodies of requests that erase or show: 100 ids of a
// hundred characters fit many times.
const maxForgetBody = 64 << 10

// handleForget erases the session whose secret is shown: that is the proof that
// it was the asker's own. The answer to a secret that fits nothing is a receipt
// for nothing, and it keeps late arrivals out all the same.
func (c *Collector) handleForget(w http.ResponseWriter, r *http.Request) {
	secret, ok := readSecret(w, r)
	if !ok {
		return
	}
	s, err := c.lookUp(r.Context(), secret)
	if err != nil {
		c.later(w, r, "look for a session", err)
		return
	}
	if !c.letIn(w, s, &c.forgets, c.mostTombstones) {
		return
	}
	erased, resumed, err := c.erase(r.Context(), []plan.ID{s.id}, c.folder.stored())
	if err != nil {
		c.later(w, r, "erase a session", err)
		return
	}
	e := Erasure{
		Kind: "erasure", Time: c.now().UTC().Format(time.RFC3339), Session: sessionHash(s.secret),
		Erased: append([]ErasedApp{}, erased[0]...), Recipients: []string{}, Before: len(s.before) > 0 && !resumed,
	}
	// Of what was erased before it is not known any more in which of the apps it was.
	apps := append(slices.Clone(s.stored), s.before...)
	for _, a := range e.Erased {
		apps = append(apps, a.App)
	}
	all, stated := c.recipients(apps)
	for _, p := range all {
		e.Recipients = append(e.Recipients, p.Name)
	}
	e.RecipientsStated = stated
	writeJSON(w, c.folder.signer.sign(&e))
}

// readSmall reads a small JSON body into v, or answers.
func readSmall(w http.ResponseWriter, r *http.Request, v any) bool {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxForgetBody+1))
	if err != nil {
		err = readFault(err)
	}
	switch {
	case errors.Is(err, errSlow):
		writeError(w, &amplitude.Response{Code: http.StatusRequestTimeout, Error: err.Error()})
		return false
	case len(b) > maxForgetBody:
		writeError(w, &amplitude.Response{Code: http.StatusRequestEntityTooLarge, Error: "Payload too large: 64 KiB at most"})
		return false
	case err != nil, json.Unmarshal(b, v) != nil:
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "Invalid JSON request body", MissingField: "body"})
		return false
	}
	return true
}
