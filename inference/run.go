package inference

import (
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/blindai-go/blindai/inference/onnx"
)

// handleRun answers POST /run: it runs a model once.
func (s *Server) handleRun(w http.ResponseWriter, r *http.Request) (any, error) {
	limits := s.config.Limits
	body, release, err := s.runs.read(w, r, limits.RunBytes,
		refuse("The request is larger than %d bytes; send fewer or smaller inputs", limits.RunBytes))
	if err != nil {
		return nil, err
	}
	defer release()
	request, err := readRun(body, limits.Inputs)
	if err != nil {
		return nil, err
	}
	model, err := s.choose(request)
	if err != nil {
		return nil, err
	}

	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	outputs, err := model.Run(r.Context(), request.inputs)
	switch {
	case errors.Is(err, onnx.ErrClosed): // deleted since choose
		return nil, noModel
	case err != nil:
		// The original says nothing but the first two words.
		return nil, refuse("%s: %v", string(unknownError), err)
	}
	s.events.RunModel()
	return newRunReply(outputs), nil
}

// choose finds the model that a run is for.
func (s *Server) choose(r runRequest) (*onnx.Model, error) {
	switch {
	case r.modelID == "" && r.modelHash == "":
		return nil, neitherGiven
	case r.modelID != "" && r.modelHash != "":
		return nil, bothGiven
	case r.modelID != "":
		if id, err := uuid.Parse(r.modelID); err == nil {
			if model, ok := s.models.find(id); ok {
				return model, nil
			}
		}
	default:
		if sum, err := hex.DecodeString(r.modelHash); err == nil && len(sum) == len(hash{}) {
			if model, ok := s.models.findHash(hash(sum)); ok {
				return model, nil
			}
		}
	}
	return nil, noModel
}
