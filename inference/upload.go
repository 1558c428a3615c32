package inference

import (
	"net/http"
)

// handleUpload answers POST /upload: it prepares a model and hands out an id for it.
func (s *Server) handleUpload(w http.ResponseWriter, r *http.Request) (any, error) {
	limits := s.config.Limits
	body, release, err := s.uploads.read(w, r, uploadBytes(limits), tooBig)
	if err != nil {
		return nil, err
	}
	defer release()
	request, err := readUpload(body)
	if err != nil {
		return nil, err
	}
	size := len(request.model)
	switch {
	case request.length > uint64(limits.ModelBytes) || int64(size) > limits.ModelBytes:
		return nil, tooBig
	case request.length == 0 || size == 0:
		return nil, noData
	}
	id, sum, err := s.models.add(r.Context(), request.model, request.optimize)
	if err != nil {
		return nil, err
	}
	s.events.SendModel(int64(size))
	s.config.Logger.Info("model uploaded", "bytes", size)
	return uploadReply{Hash: sum[:], ModelID: id.String()}, nil
}

// uploadBytes is the largest body of an upload: an array of integers takes up to two bytes for one
// of the model, and the rest of the request is small.
func uploadBytes(l Limits) int64 { return 2*l.ModelBytes + 1<<20 }
