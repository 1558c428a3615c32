package amplitude

import (
	"encoding/json"
	"strconv"
)

// A Response is the body of an answer to an upload that was not taken whole. Code repeats the HTTP
// status and is always there: Amplitude's SDKs for Node and Python read it
// before the status line and misbehave without it.
type Response struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`

	// Of a 400: what is missing from the request, or the indexes of the events
	// at fault by field. Of a 429: the indexes of the events that come too fast.
	MissingField     string           `json:"missing_field,omitempty"`
	InvalidFields    map[string][]int `json:"events_with_invalid_fields,omitempty"`
	MissingFields    map[string][]int `json:"events_with_missing_fields,omitempty"`
	InvalidIDLengths map[string][]int `json:"events_with_invalid_id_lengths,omitempty"`
	SilencedEvents   []int            `json:"silenced_events,omitempty"`
	ThrottledEvents  []int            `json:"throttled_events,omitempty"`
	ThrottledDevices map[string]int   `json:"throttled_devices,omitempty"`
	ThrottledUsers   map[string]int   `json:"throttled_users,omitempty"`
	EPSThreshold     int              `json:"eps_threshold,omitempty"`
	OverQuotaDevices map[string]int   `json:"exceeded_daily_quota_devices,omitempty"`
	OverQuotaUsers   map[string]int   `json:"exceeded_daily_quota_users,omitempty"`
}

// AppendOK appends the body of a 200: the number of events taken, the size of
// the request's body in bytes, and the time in milliseconds since 1970 UTC.
func AppendOK(dst []byte, events, size int, now int64) []byte {
	dst = append(dst, `{"code":200,"events_ingested":`...)
	dst = strconv.AppendInt(dst, int64(events), 10)
	dst = append(dst, `,"payload_size_bytes":`...)
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, `,"server_upload_time":`...)
	dst = strconv.AppendInt(dst, now, 10)
	return append(dst, '}')
}

// ParseResponse reads the body of an answer. Garbage gives the zero Response:
// whoever decides, decides on the HTTP status.
func ParseResponse(body []byte) Response {
	var r Response
	if json.Unmarshal(body, &r) != nil {
		return Response{}
	}
	return r
}

// Named returns the indexes below n of the events that a 400 refuses, each once
// and in order. Indexes out of range are left out.
func (r *Response) Named(n int) []int {
	named := make(map[int]bool)
	for _, m := range []map[string][]int{r.InvalidFields, r.MissingFields, r.InvalidIDLengths} {
		for _, indexes := range m {
			for _, i := range indexes {
				named[i] = true
			}
		}
	}
	for _, i := range r.SilencedEvents {
		named[i] = true
	}
	var out []int
	for i := range n {
		if named[i] {
			out = append(out, i)
		}
	}
	return out
}
