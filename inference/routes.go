package inference

import (
	"net/http"
	"time"
)

// answerTime is how long a client may take to read its answer, which stays in memory until then.
const answerTime = 10 * time.Minute

// A handler returns what to reply. Only the functions below write replies.
type handler func(http.ResponseWriter, *http.Request) (any, error)

// routeUnattested serves the listener that needs no trust: whoever asks gets the certificate. A
// hardware platform will have its quote and collateral here; in software mode both are 404.
func (s *Server) routeUnattested(w http.ResponseWriter, r *http.Request) {
	switch {
	case is(r, http.MethodGet, "/"):
		w.Header().Set("Server", s.config.Platform.Banner())
		answer(w, r, s.handleCertificate)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// routeRun serves the listener for inference. Clients ask it for GET / once they have the
// certificate, to see whether the handshake succeeds; what they get then is 404.
func (s *Server) routeRun(w http.ResponseWriter, r *http.Request) {
	switch {
	case is(r, http.MethodPost, "/run"):
		answer(w, r, s.handleRun)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// routeManage serves the listener for uploads and deletes.
func (s *Server) routeManage(w http.ResponseWriter, r *http.Request) {
	switch {
	case is(r, http.MethodPost, "/upload"):
		answer(w, r, s.handleUpload)
	case is(r, http.MethodPost, "/delete"):
		answer(w, r, s.handleDelete)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// is reports whether a request is for exactly this method and path. The library's own router would
// redirect and answer 405 where the protocol has 404.
func is(r *http.Request, method, path string) bool {
	return r.Method == method && r.URL.Path == path
}

// answer writes the reply of a handler.
func answer(w http.ResponseWriter, r *http.Request, handle handler) {
	value, err := handle(w, r)
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
	reply(w, value, err)
}

// handleCertificate answers GET / of the unattested listener: the certificate's DER as a CBOR byte
// string.
func (s *Server) handleCertificate(http.ResponseWriter, *http.Request) (any, error) {
	return s.certificate.Leaf.Raw, nil
}
