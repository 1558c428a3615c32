package collector

import (
	"encoding/json"
	"net/http"
	"strconv"
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

// A deletionJob is what was erased of an app in a day. Erasing is immediate
// here, so every job is done.
type deletionJob struct {
	Day          string        `json:"day"`
	Status       string        `json:"status"`
	AmplitudeIDs []deletedUser `json:"amplitude_ids"`
	App          string        `json:"app"`
	Scrubbed     string        `json:"active_scrub_done_date"` // the same day
	InvalidIDs   []int         `json:"invalid_ids,omitempty"`  // indexes, so that no id is repeated
}

// A deletedUser is one sender of a job. Requester is whoever the request says
// has asked, in free words: often somebody's name. So it is in the answer to that
// request and kept nowhere, and empty in every list.
type deletedUser struct {
	AmplitudeID    int64  `json:"amplitude_id"`
	RequestedOnDay string `json:"requested_on_day"`
	Requester      string `json:"requester"`
}

// maxDeletions is Amplitude's limit of users in one request, and maxListed that
// of the days in one list: six months.
const (
	maxDeletions = 100
	maxListed    = 184 * 24 * time.Hour
)

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
	job := newDeletionJob(app.Name, day)
	job.InvalidIDs = invalid
	var done []deletion
	if _, _, err := c.erase(r.Context(), ids, []string{app.Name}); err != nil {
		c.later(w, r, "erase senders", err)
		return
	}
	for _, id := range ids {
		d := deletion{day, app.Name, c.folder.tombstones.of(app.Name, id).number()}
		done = append(done, d)
		job.AmplitudeIDs = append(job.AmplitudeIDs, deletedUser{AmplitudeID: d.number, RequestedOnDay: day, Requester: body.Requester})
	}
	if err := c.folder.deletions.add(done); err != nil {
		c.later(w, r, "note what was erased", err)
		return
	}
	writeJSON(w, []deletionJob{job})
}

func newDeletionJob(app, day string) deletionJob {
	return deletionJob{Day: day, Status: "done", App: app, Scrubbed: day, AmplitudeIDs: []deletedUser{}}
}

// handleDeletions lists the jobs of a range of days, both included.
func (c *Collector) handleDeletions(w http.ResponseWriter, r *http.Request) {
	app := c.authorize(w, r)
	if app == nil {
		return
	}
	q := r.URL.Query()
	first, err1 := time.Parse(time.DateOnly, q.Get("start_day"))
	last, err2 := time.Parse(time.DateOnly, q.Get("end_day"))
	if err1 != nil || err2 != nil || last.Before(first) || last.Sub(first) > maxListed {
		writeError(w, &amplitude.Response{
			Code: http.StatusBadRequest, Error: "start_day and end_day must be days of the form YYYY-MM-DD, both included, end_day not before start_day, six months apart at most",
		})
		return
	}
	jobs := []deletionJob{}
	for _, d := range c.folder.deletions.of(app.Name, q.Get("start_day"), q.Get("end_day")) {
		if len(jobs) == 0 || jobs[len(jobs)-1].Day != d.day {
			jobs = append(jobs, newDeletionJob(app.Name, d.day))
		}
		job := &jobs[len(jobs)-1]
		job.AmplitudeIDs = append(job.AmplitudeIDs, deletedUser{AmplitudeID: d.number, RequestedOnDay: d.day})
	}
	writeJSON(w, jobs)
}

// handleUndelete answers who wants to take a sender out of a job. Amplitude lets
// one until the job runs; here it has.
func (c *Collector) handleUndelete(w http.ResponseWriter, r *http.Request) {
	app := c.authorize(w, r)
	if app == nil {
		return
	}
	answer := &amplitude.Response{Code: http.StatusBadRequest, Error: "there is no deletion job of that amplitude_id and day; GET /api/2/deletions/users lists them"}
	number, err := strconv.ParseInt(r.PathValue("amplitude_id"), 10, 64)
	if err == nil && c.folder.deletions.has(deletion{r.PathValue("start_day"), app.Name, number}) {
		answer.Error = "the deletion is done: everything of this sender was erased at once, and cannot be brought back"
	}
	writeError(w, answer)
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
