package collector

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/blindai-go/blindai/telemetry/amplitude"
)

// Limits on the size of a body, in bytes after decompression, as Amplitude
// documents them. They hold for the compressed body too.
const (
	maxHTTPBody  = amplitude.MaxBody
	maxBatchBody = 20 << 20
)

// An upload is what one request needs to be read. It is reused.
type upload struct {
	body    []byte
	decoder amplitude.Decoder
	intake  intake
}

// keepBody is the largest buffer that is reused; larger ones are rare.
const keepBody = 2 << 20

var (
	errTooLarge = errors.New("payload too large")
	errSlow     = errors.New("the body came too slowly")
	errBody     = errors.New("the body cannot be read")
)

func (c *Collector) handleUpload(w http.ResponseWriter, r *http.Request, limit int64) {
	u := c.uploads.Get().(*upload)
	defer func() {
		if cap(u.body) <= keepBody {
			c.uploads.Put(u)
		}
	}()
	if !isJSON(r.Header.Get("Content-Type")) {
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "Invalid JSON request body: the content type must be application/json", MissingField: "events"})
		return
	}
	var err error
	if u.body, err = readBody(u.body[:0], r, limit); err != nil {
		refuseBody(w, err)
		return
	}
	in := &u.intake
	for {
		if err := in.decode(&u.decoder, u.body, c.now().UnixMilli()); err != nil {
			refuseBody(w, err)
			return
		}
		if in.bad.answer != nil {
			writeError(w, in.bad.answer)
			return
		}
		if !c.limiter.allow(in.app.Name, in.index, in.records) {
			c.tooFast(w, in.app)
			return
		}
		err := c.writer.append(in.app, in.guard, in.records, in.said)
		if errors.Is(err, errStale) {
			continue // the folder has the app as it is now
		}
		if err != nil {
			c.unavailable(w, "store events", err)
			return
		}
		break
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(amplitude.AppendOK(nil, in.index, len(u.body), in.received))
}

// newUpload makes an upload that finds apps in the collector's folder.
func (c *Collector) newUpload() any {
	return &upload{intake: intake{find: c.find, refused: c.refuse}}
}

// find returns the app of an API key and its guard, or nil.
func (c *Collector) find(key []byte) (*App, *guard) {
	app := c.folder.appByKey(key)
	if app == nil {
		return nil, nil
	}
	return app, c.guard(app)
}

// refuseBody answers a body that cannot be taken. It names a missing field in
// every 400, because SDKs send a bare one again for ever.
func refuseBody(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, amplitude.ErrNoKey):
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "Request missing required field", MissingField: "api_key"})
	case errors.Is(err, amplitude.ErrNoEvents):
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "Request missing required field", MissingField: "events"})
	case errors.Is(err, errKey):
		// The words before the colon, and the colon, are what SDKs look for.
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "Invalid API key: no app here has it; see `blindai-collector app list`"})
	case errors.Is(err, errTooLarge), errors.Is(err, amplitude.ErrTooMany):
		writeError(w, &amplitude.Response{Code: http.StatusRequestEntityTooLarge, Error: "Payload too large: send fewer events in a request"})
	case errors.Is(err, amplitude.ErrJSON):
		// The error names a position and no part of the body.
		where := strings.TrimPrefix(err.Error(), amplitude.ErrJSON.Error())
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "Invalid JSON request body" + where, MissingField: "events"})
	case errors.Is(err, errSlow):
		// Of what comes too late nothing is wrong: every SDK waits and sends it again.
		writeError(w, &amplitude.Response{Code: http.StatusRequestTimeout, Error: "the body came too slowly; send again later"})
	default:
		writeError(w, &amplitude.Response{Code: http.StatusBadRequest, Error: "Missing request body: it did not arrive whole", MissingField: "events"})
	}
}

// refusals gathers the answer to a request in which some events are refused.
type refusals struct {
	answer *amplitude.Response // nil if none is
}

func (b *refusals) add(refused *refusal, index int) {
	if b.answer == nil {
		b.answer = &amplitude.Response{Code: http.StatusBadRequest, Error: "Invalid field values on some events"}
	}
	list := &b.answer.InvalidFields
	if refused.missing {
		list = &b.answer.MissingFields
	}
	if *list == nil {
		*list = map[string][]int{}
	}
	(*list)[refused.field] = append((*list)[refused.field], index)
}

// readBody reads a body into buf, decompressed, up to limit bytes.
func readBody(buf []byte, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return buf, errTooLarge
	}
	sent := &io.LimitedReader{R: r.Body, N: limit + 1}
	var in io.Reader = sent
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(sent)
		if err != nil {
			return buf, readFault(err)
		}
		in = io.LimitReader(z, limit+1)
	default:
		return buf, errBody
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit || sent.N <= 0 {
			return buf, errTooLarge
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, readFault(err)
		}
	}
}

// readFault tells a sender that is too slow from one that sends what cannot be read.
func readFault(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errSlow
	}
	return errBody
}
