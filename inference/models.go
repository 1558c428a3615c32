package inference

import (
	"context"
	"crypto/sha256"
	"sync"

	"github.com/google/uuid"

	"github.com/blindai-go/blindai/inference/onnx"
)

// hash is the SHA-256 of a model's bytes.
type hash [sha256.Size]byte

// models holds what was uploaded. Uploading the same bytes twice gives two ids for one graph,
// which goes with the last of them.
type models struct {
	runtime *onnx.Runtime

	// preparing is held while the engine prepares a graph: one at a time, because each takes
	// several times the memory of its model. Runs and deletes go on meanwhile.
	preparing sync.Mutex

	mu     sync.RWMutex // guards what follows
	byID   map[uuid.UUID]*graph
	byHash map[hash]*graph
}

// A graph is a prepared model and the number of ids that it has.
type graph struct {
	model *onnx.Model
	hash  hash
	ids   int
}

func newModels(runtime *onnx.Runtime) *models {
	return &models{
		runtime: runtime,
		byID:    make(map[uuid.UUID]*graph),
		byHash:  make(map[hash]*graph),
	}
}

// add prepares a model, unless the same bytes are there already, and returns a new id for it. With
// bytes that are there already, optimize has no effect.
func (m *models) add(ctx context.Context, file []byte, optimize bool) (uuid.UUID, hash, error) {
	sum := hash(sha256.Sum256(file))
	id, err := uuid.NewRandom()
	if err != nil {
		return id, sum, err
	}
	if m.share(id, sum) {
		return id, sum, nil
	}
	m.preparing.Lock()
	defer m.preparing.Unlock()
	if m.share(id, sum) { // came in meanwhile
		return id, sum, nil
	}
	model, err := m.runtime.Load(file, optimize)
	if err != nil {
		return id, sum, refuse("The model cannot be used: %v", err)
	}
	if ctx.Err() != nil { // nobody is left to tell the id to
		model.Close()
		return id, sum, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	g := &graph{model: model, hash: sum, ids: 1}
	m.byID[id], m.byHash[sum] = g, g
	return id, sum, nil
}

// share gives the graph with this hash another id, if there is one.
func (m *models) share(id uuid.UUID, sum hash) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.byHash[sum]
	if ok {
		g.ids++
		m.byID[id] = g
	}
	return ok
}

// find returns the model with an id. It may be closed at any time.
func (m *models) find(id uuid.UUID) (*onnx.Model, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	g, ok := m.byID[id]
	if !ok {
		return nil, false
	}
	return g.model, true
}

// findHash returns the model with a hash. It may be closed at any time.
func (m *models) findHash(sum hash) (*onnx.Model, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	g, ok := m.byHash[sum]
	if !ok {
		return nil, false
	}
	return g.model, true
}

// remove forgets an id, and its graph if that was the last. Runs under way go on to their end.
func (m *models) remove(id uuid.UUID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.byID[id]
	if !ok {
		return false
	}
	delete(m.byID, id)
	if g.ids--; g.ids == 0 {
		delete(m.byHash, g.hash)
		g.model.Close()
	}
	return true
}

// clear forgets everything.
func (m *models) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.byHash {
		g.model.Close()
	}
	clear(m.byID)
	clear(m.byHash)
}
