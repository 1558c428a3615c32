package inference

import (
	"net/http"

	"github.com/google/uuid"
)

// maxDeleteBytes is the largest body of a delete, which holds an id and nothing else.
const maxDeleteBytes = 64 << 10

// handleDelete answers POST /delete: it forgets an id.
func (s *Server) handleDelete(w http.ResponseWriter, r *http.Request) (any, error) {
	body, release, err := s.uploads.read(w, r, maxDeleteBytes, refuse("The request is larger than a delete can be"))
	if err != nil {
		return nil, err
	}
	defer release()
	request, err := readDelete(body)
	if err != nil {
		return nil, err
	}
	if request.modelID == "" {
		return nil, noModel
	}
	id, err := uuid.Parse(request.modelID)
	if err != nil {
		return nil, refuse("The model_id is not a UUID; give the id that upload returned")
	}
	if !s.models.remove(id) {
		return nil, noModel
	}
	s.config.Logger.Info("model deleted")
	return nil, nil
}
