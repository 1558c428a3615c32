package collector

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

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
		if _, err := c.erase(r.Context(), app.Name, id); err != nil {
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
