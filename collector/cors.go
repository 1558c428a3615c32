package collector

import "net/http"

// cors lets a page of any origin upload, as Amplitude's own hosts do: its
// browser SDK runs in pages whose origins nobody here knows. That gives nothing
// away. The API key is no secret, every copy of the program carries it; no
// cookie and no other credential of the browser is looked at; and the answer
// says what became of the request, and nothing of what is stored.
//
// The headers stand on every answer, refusals too: a page that cannot read why
// it was refused sends again.
func cors(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		next(w, r)
	}
}

// handlePreflight answers what a browser asks before it uploads with a header
// of its own, such as Content-Type: application/json. All headers are allowed,
// because SDKs add some between versions; the first two are named besides, for
// browsers that do not know the star.
func (c *Collector) handlePreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Allow-Headers", "Content-Type, Content-Encoding, *")
	h.Set("Access-Control-Max-Age", "86400")
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		// A collector inside of an organisation's network may take events from
		// the organisation's public pages.
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	w.WriteHeader(http.StatusNoContent)
}
