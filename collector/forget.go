package collector

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// A Receipt says what an erasure removed. It names the session by a keyed hash,
// so that it can be kept and shown without keeping the id.
type Receipt struct {
	Erased []ErasedApp `json:"erased"`
	Time   string      `json:"time"` // when, RFC 3339, UTC
}

// ErasedApp is what was removed from one app.
type ErasedApp struct {
	App      string `json:"app"`
	Session  string `json:"session"` // keyed hash, hex
	Events   int64  `json:"events"`
	Sessions int64  `json:"sessions"`
}

// maxForgetBody bounds the small bodies of erasure requests: 100 ids of a
// hundred characters fit many times.
const maxForgetBody = 64 << 10

// handleForget erases the session whose secret is shown: that is the proof that
// it was the asker's own. The answer to a secret that fits nothing is a receipt
// for nothing, and it keeps late arrivals out all the same.
func (c *Collector) handleForget(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Secret string `json:"secret"`
	}
	if !readSmall(w, r, &body) {
		return
	}
	secret, err := plan.ParseSecret(body.Secret)
	if err != nil {
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: err.Error(), MissingField: "secret"})
		return
	}
	receipt := Receipt{Erased: []ErasedApp{}, Time: c.now().UTC().Format(time.RFC3339)}
	for _, app := range c.folder.stored() {
		erased, err := c.erase(r, app, secret.ID())
		if err != nil {
			c.unavailable(w, "erase a session", err)
			return
		}
		receipt.Erased = append(receipt.Erased, erased)
	}
	writeJSON(w, receipt)
}

func (c *Collector) erase(r *http.Request, app string, id plan.ID) (ErasedApp, error) {
	n, err := c.writer.erase(r.Context(), app, id)
	c.identities.forget(app, id) // after the tombstone
	c.metrics.erased.WithLabelValues(app, "events").Add(float64(n.Events))
	c.metrics.erased.WithLabelValues(app, "sessions").Add(float64(n.Sessions))
	ts := c.folder.tombstones.of(app, id)
	return ErasedApp{App: app, Session: hex.EncodeToString(ts[:]), Events: n.Events, Sessions: n.Sessions}, err
}

// flexBool reads true, "true" and "True": Amplitude's documentation and its
// integrations write a flag in all three ways.
type flexBool bool

func (b *flexBool) UnmarshalJSON(j []byte) error {
	*b = flexBool(strings.EqualFold(strings.Trim(string(j), `"`), "true"))
	return nil
}

// deletionRequest is the body of Amplitude's user privacy API.
type deletionRequest struct {
	UserIDs          []json.RawMessage `json:"user_ids"`
	AmplitudeIDs     []json.RawMessage `json:"amplitude_ids"`
	Requester        string            `json:"requester"`
	IgnoreInvalidID  flexBool          `json:"ignore_invalid_id"`
	IgnoreInvalidIDs flexBool          `json:"ignore_invalid_ids"`
}

// A deletionJob is what the API answers for each request. Erasing is immediate
// here, so every job is done.
type deletionJob struct {
	Day          string        `json:"day"`
	Status       string        `json:"status"`
	AmplitudeIDs []deletedUser `json:"amplitude_ids"`
	App          string        `json:"app"`
	InvalidIDs   []int         `json:"invalid_ids,omitempty"` // indexes, so that no id is repeated
}

type deletedUser struct {
	AmplitudeID    int64  `json:"amplitude_id"`
	RequestedOnDay string `json:"requested_on_day"`
	Requester      string `json:"requester"`
}

// maxDeletions is Amplitude's limit of users in one request.
const maxDeletions = 100

// handleDeletion erases senders by their ids, for whoever has the secret key.
func (c *Collector) handleDeletion(w http.ResponseWriter, r *http.Request) {
	app := c.authorize(w, r)
	if app == nil {
		return
	}
	var body deletionRequest
	if !readSmall(w, r, &body) {
		return
	}
	total := len(body.UserIDs) + len(body.AmplitudeIDs)
	if total == 0 || total > maxDeletions {
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "user_ids must hold 1 to 100 ids", MissingField: "user_ids"})
		return
	}
	// Amplitude ids are numbers of Amplitude's own; none exists here.
	var ids []plan.ID
	var invalid []int
	for i, raw := range body.UserIDs {
		var s string
		id, ok := plan.ID{}, json.Unmarshal(raw, &s) == nil
		if ok {
			id, _, ok = plan.ParseID([]byte(s))
		}
		if !ok {
			invalid = append(invalid, i)
			continue
		}
		ids = append(ids, id)
	}
	for i := range body.AmplitudeIDs {
		invalid = append(invalid, len(body.UserIDs)+i)
	}
	if len(invalid) > 0 && !body.IgnoreInvalidID && !body.IgnoreInvalidIDs {
		writeError(w, &amplitude.Response{
			Code: http.StatusBadRequest, Error: "some ids are not of the right form, so nothing was erased; send user_ids only, or set ignore_invalid_id",
			InvalidFields: map[string][]int{"user_ids": invalid},
		})
		return
	}
	day := c.now().UTC().Format(time.DateOnly)
	job := deletionJob{Day: day, Status: "done", App: app.Name, AmplitudeIDs: []deletedUser{}, InvalidIDs: invalid}
	for _, id := range ids {
		if _, err := c.erase(r, app.Name, id); err != nil {
			c.unavailable(w, "erase a sender", err)
			return
		}
		job.AmplitudeIDs = append(job.AmplitudeIDs, deletedUser{
			AmplitudeID: c.folder.tombstones.of(app.Name, id).number(), RequestedOnDay: day, Requester: body.Requester,
		})
	}
	writeJSON(w, []deletionJob{job})
}

// number stands in for Amplitude's numeric id of a user, which does not exist
// here: 48 bits of the keyed hash, which every JSON reader keeps exactly.
func (ts tombstone) number() int64 {
	n := int64(0)
	for _, b := range ts[:6] {
		n = n<<8 | int64(b)
	}
	return n
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
