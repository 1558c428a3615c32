package collector

import (
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"strings"

	"github.com/blindai-go/blindai/telemetry/amplitude"
)

// routes says who answers what. The console is mounted beside it by the program.
func (c *Collector) routes() {
	for path, limit := range map[string]int64{"/2/httpapi": maxHTTPBody, "/batch": maxBatchBody} {
		c.mux.HandleFunc("POST "+path, c.keyed(cors(c.bounded(func(w http.ResponseWriter, r *http.Request) { c.handleUpload(w, r, limit) }))))
		c.mux.HandleFunc("OPTIONS "+path, cors(c.handlePreflight))
	}
	c.mux.HandleFunc("GET /identify", cors(c.handleIdentify))
	c.mux.HandleFunc("POST /identify", cors(c.bounded(c.handleIdentify)))
	c.mux.HandleFunc("OPTIONS /identify", cors(c.handlePreflight))
	c.mux.HandleFunc("GET /groupidentify", cors(c.handleGroupIdentify))
	c.mux.HandleFunc("POST /groupidentify", cors(c.bounded(c.handleGroupIdentify)))
	c.mux.HandleFunc("OPTIONS /groupidentify", cors(c.handlePreflight))
	c.mux.HandleFunc("POST /v1/forget", unkept(c.keyed(c.handleForget)))
	c.mux.HandleFunc("POST /v1/show", unkept(c.keyed(c.handleShow)))
	c.mux.HandleFunc("GET /v1/key", c.keyed(c.handleKey))
	c.mux.HandleFunc("GET /v1/plan/{app}", c.handlePlan)
	c.mux.HandleFunc("GET /privacy/{app}", c.handlePrivacy)
	c.mux.HandleFunc("GET /figures/{app}", c.handleFigures)
	c.mux.HandleFunc("POST /api/2/deletions/users", unkept(c.handleDeletion))
	c.mux.HandleFunc("GET /api/2/deletions/users", unkept(c.handleDeletions))
	c.mux.HandleFunc("DELETE /api/2/deletions/users/{amplitude_id}/{start_day}", c.handleUndelete)
	c.mux.HandleFunc("GET /api/2/export", unkept(c.handleExport))
	c.mux.HandleFunc("GET /healthz", c.handleHealth)
	c.mux.HandleFunc("GET /readyz", c.handleHealth)
	c.mux.HandleFunc("/", c.handleUnknown)
}

// unkept keeps answers that tell of senders out of caches: what is erased must not
// come back from there.
func unkept(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		next(w, r)
	}
}

// Handler returns the collector's routes. A panic in one of them is answered
// 500 and logged without anything of the request.
func (c *Collector) Handler() http.Handler {
	return c.metrics.counted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				c.log.Error("a request ended in a panic", "route", r.Pattern)
				writeError(w, &amplitude.Response{Code: http.StatusInternalServerError, Error: "internal error; it is in the collector's log"})
			}
		}()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !clean(r.URL.Path) {
			c.handleUnknown(w, r) // ServeMux would redirect, and a client would come back without its body
			return
		}
		c.mux.ServeHTTP(w, r)
	}))
}

// clean reports whether a path is written in the one way that routes have.
func clean(p string) bool {
	return p == "/" || strings.HasPrefix(p, "/") && path.Clean(p) == strings.TrimSuffix(p, "/")
}

// handleUnknown answers a path that does not exist. An upload to a wrong path
// gets a 400 that names what is missing: Amplitude's Go SDK sends again for
// ever, without a pause, at a bare 400, 401, 403 or 404. A page may read it, and
// so is let through to it: the browser SDK takes a refused preflight for a fault
// of the network and tries again.
func (c *Collector) handleUnknown(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost && c.known(r):
		writeUnknown(w, r)
	case r.Method == http.MethodPost:
		cors(writeUnknown)(w, r)
	case r.Method == http.MethodOptions && !c.known(r):
		cors(c.handlePreflight)(w, r)
	case r.Method != http.MethodOptions && len(c.methods(r)) > 0:
		w.Header().Set("Allow", strings.Join(c.methods(r), ", "))
		writeError(w, &amplitude.Response{Code: http.StatusMethodNotAllowed, Error: "this path does not answer this method; see docs/architecture.md for the paths"})
	default:
		writeError(w, &amplitude.Response{Code: http.StatusNotFound, Error: "there is nothing here; see docs/architecture.md for the paths"})
	}
}

func writeUnknown(w http.ResponseWriter, _ *http.Request) {
	writeError(w, &amplitude.Response{
		Code: http.StatusBadRequest, Error: "Invalid request path: upload to /2/httpapi or /batch", MissingField: "path",
	})
}

// known reports whether a request's path is there by some method. What is not
// for pages stays closed to them, whatever method they ask for.
func (c *Collector) known(r *http.Request) bool { return len(c.methods(r)) > 0 }

// methods returns those that a request's path answers.
func (c *Collector) methods(r *http.Request) (methods []string) {
	if !clean(r.URL.Path) {
		return nil
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		probe := r.WithContext(r.Context())
		probe.Method = method
		if _, pattern := c.mux.Handler(probe); pattern != "/" {
			methods = append(methods, method)
		}
	}
	return methods
}

// writeError is the one place that turns a fault into an answer. Code is always
// in the body, because SDKs read it before the status line.
func writeError(w http.ResponseWriter, r *amplitude.Response) {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // a Response has only numbers, texts and maps of them
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.Code)
	w.Write(append(b, '\n'))
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(b, '\n'))
}

// unavailable answers a fault of the store: 503 lets every SDK come back later.
// The cause is for the log.
func (c *Collector) unavailable(w http.ResponseWriter, doing string, err error) {
	message := "the store cannot take events now; send again later"
	switch {
	case errors.Is(err, errBusy), errors.Is(err, errEnding):
		message = err.Error()
	default:
		c.log.Error(doing, "err", err)
	}
	writeError(w, &amplitude.Response{Code: http.StatusServiceUnavailable, Error: message})
}

// tooFast answers what Limits does not let in.
func (c *Collector) tooFast(w http.ResponseWriter, app *App) {
	c.metrics.limited.WithLabelValues(app.Name).Inc()
	writeError(w, &amplitude.Response{
		Code: http.StatusServiceUnavailable, Error: "events come faster than this collector takes them; send again later",
	})
}

// authorize checks HTTP Basic: API key and secret key. It answers and returns
// nil if they are not right, without telling which of the two.
func (c *Collector) authorize(w http.ResponseWriter, r *http.Request) *App {
	key, secret, _ := r.BasicAuth()
	if a := c.Authenticate(key, secret); a != nil {
		return a
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="blindai-collector", charset="UTF-8"`)
	writeError(w, &amplitude.Response{
		Code: http.StatusUnauthorized, Error: "the API key and secret key are not right; send them as HTTP Basic, user name and password",
	})
	return nil
}

// Authenticate returns the app that has these two keys, or nil.
func (c *Collector) Authenticate(apiKey, secretKey string) *App {
	a := c.folder.appByKey([]byte(apiKey))
	if a == nil || !a.checkSecret(secretKey) {
		return nil
	}
	return a
}

func (c *Collector) handleHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n"))
}

// handlePlan publishes an app's plan: what may be collected is for everyone to see.
func (c *Collector) handlePlan(w http.ResponseWriter, r *http.Request) {
	a := c.folder.App(r.PathValue("app"))
	if a == nil {
		writeError(w, &amplitude.Response{Code: http.StatusNotFound, Error: "there is no app of that name here"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(a.Plan.JSON())
}

// isJSON accepts a missing content type and, for sendBeacon, text/plain.
func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "", "application/json", "text/plain":
		return true
	}
	return false
}
