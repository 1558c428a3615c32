package collector

import (
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/blindai-go/blindai/store"
	"github.com/blindai-go/blindai/telemetry/amplitude"
	"github.com/blindai-go/blindai/telemetry/plan"
)

// hourForm is how Amplitude's export writes an hour: 20261123T14.
const hourForm = "20060102T15"

// maxExport is the longest range of one export, as Amplitude has it.
const maxExport = 365 * 24 * time.Hour

// handleExport answers GET /api/2/export: a zip archive with a gzip member for
// each hour in which events were received, one JSON object a line. No data is
// a 404, as readers of Amplitude's export expect.
func (c *Collector) handleExport(w http.ResponseWriter, r *http.Request) {
	c.reading.RLock()
	begun := sync.OnceFunc(c.reading.RUnlock)
	defer begun()
	app := c.authorize(w, r)
	if app == nil {
		return
	}
	from, err1 := time.Parse(hourForm, r.URL.Query().Get("start"))
	last, err2 := time.Parse(hourForm, r.URL.Query().Get("end"))
	if err1 != nil || err2 != nil || last.Before(from) || last.Sub(from) > maxExport {
		writeError(w, &amplitude.Response{
			Code: http.StatusBadRequest, Error: "start and end must be hours of the form YYYYMMDDTHH in UTC, both included, end not before start, a year apart at most",
		})
		return
	}
	x := exporter{app: app, w: w, begun: begun}
	x.compile()
	err := c.store.List(r.Context(), store.Listing{App: app.Name, From: from, To: last.Add(time.Hour)}, x.add)
	switch err = errors.Join(err, x.close()); {
	case err != nil && x.zip == nil:
		c.unavailable(w, "export", err)
	case err != nil:
		// The answer has begun; cutting the connection shows that it is not whole.
		if r.Context().Err() == nil {
			c.log.Error("export", "err", err)
		}
		panic(http.ErrAbortHandler)
	case x.zip == nil:
		writeError(w, &amplitude.Response{Code: http.StatusNotFound, Error: "no events were received in that range"})
	}
}

// An exporter writes records as the lines of an export.
type exporter struct {
	app   *App
	w     http.ResponseWriter
	begun func() // called when the store has begun to answer

	session, event []plan.Field

	zip  *zip.Writer
	gzip *gzip.Writer
	hour int64 // since 1970
	line []byte
}

func (x *exporter) compile() {
	x.session, x.event = x.app.Plan.SessionColumns(), x.app.Plan.EventColumns()
}

// add writes one record. Records come in the order of their time received.
func (x *exporter) add(r *store.Record) error {
	x.begun()
	hour := r.Received / time.Hour.Milliseconds()
	if x.zip == nil || hour != x.hour {
		if err := x.member(hour); err != nil {
			return err
		}
	}
	x.line = x.appendLine(x.line[:0], r)
	_, err := x.gzip.Write(x.line)
	return err
}

// member begins the file of an hour, named as Amplitude names its own:
// app_date_hour#number.
func (x *exporter) member(hour int64) error {
	if x.zip == nil {
		x.w.Header().Set("Content-Type", "application/zip")
		x.w.Header().Set("Content-Disposition", `attachment; filename="export.zip"`)
		x.zip = zip.NewWriter(x.w)
	} else if err := x.gzip.Close(); err != nil {
		return err
	}
	at := time.UnixMilli(hour * time.Hour.Milliseconds()).UTC()
	f, err := x.zip.CreateHeader(&zip.FileHeader{
		Name:   fmt.Sprintf("%s_%s_%d#0.json.gz", x.app.Name, at.Format(time.DateOnly), at.Hour()),
		Method: zip.Store, // it is compressed already
	})
	if err != nil {
		return err
	}
	x.hour = hour
	if x.gzip == nil {
		x.gzip = gzip.NewWriter(f)
	} else {
		x.gzip.Reset(f)
	}
	return nil
}

func (x *exporter) close() error {
	if x.zip == nil {
		return nil
	}
	return errors.Join(x.gzip.Close(), x.zip.Close())
}

// exportTime is how Amplitude's export prints a time: no zone, UTC is meant.
const exportTime = "2006-01-02 15:04:05.000000"

// appendLine appends one event. It carries Amplitude's export names, and beside
// them insert_id, time and app_version as they came. A field that the event did
// not have is left out: a null would look like something that is collected.
func (x *exporter) appendLine(dst []byte, r *store.Record) []byte {
	received := time.UnixMilli(r.Received).UTC().Format(exportTime)
	happened := time.UnixMilli(r.Time).UTC().Format(exportTime)
	insert := string(appendInsertID(nil, r))

	dst = append(dst, '{')
	text := func(name, value string) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(amplitude.AppendString(dst, name), ':')
		dst = amplitude.AppendString(dst, value)
	}
	text("event_type", x.app.Plan.Events[r.Event].Name)
	text("$insert_id", insert)
	text("insert_id", insert)
	text(x.app.Plan.Identity, string(plan.AppendID(nil, r.ID, r.Hyphens)))
	text("event_time", happened)
	text("client_event_time", happened)
	text("server_received_time", received)
	text("server_upload_time", received)
	dst = strconv.AppendInt(append(dst, `,"time":`...), r.Time, 10)
	dst = x.appendFields(dst, plan.Top, r)
	if i := x.sessionIndex("app_version"); i >= 0 && r.Session[i].Set {
		dst = append(dst, `,"version_name":`...)
		dst = x.session[i].AppendJSON(dst, r.Session[i])
	}
	dst = append(dst, `,"user_properties":{`...)
	dst = x.appendFields(dst, plan.UserProperties, r)
	dst = append(dst, `},"event_properties":{`...)
	dst = x.appendFields(dst, plan.EventProperties, r)
	return append(dst, "}}\n"...)
}

// appendFields appends the members of one part of the event.
func (x *exporter) appendFields(dst []byte, in plan.Place, r *store.Record) []byte {
	for _, part := range []struct {
		fields []plan.Field
		values []plan.Value
	}{{x.session, r.Session}, {x.event, r.Own}} {
		for i := range part.fields {
			f := &part.fields[i]
			if f.In != in || !part.values[i].Set {
				continue
			}
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = append(amplitude.AppendString(dst, f.Name), ':')
			dst = f.AppendJSON(dst, part.values[i])
		}
	}
	return dst
}

func (x *exporter) sessionIndex(name string) int {
	for i := range x.session {
		if x.session[i].Name == name {
			return i
		}
	}
	return -1
}

// appendInsertID writes an idempotency key as its sender did, except that a
// foreign one that was no UUID is shown as the hash that stands for it.
func appendInsertID(dst []byte, r *store.Record) []byte {
	if r.Insert.Own {
		dst = append(plan.AppendID(dst, r.ID, r.Hyphens), '-')
		return strconv.AppendInt(dst, r.Insert.Seq, 10)
	}
	return plan.AppendID(dst, r.Insert.Foreign, true)
}
