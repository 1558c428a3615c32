package onnx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// opened is the one engine of this process. ONNX Runtime keeps global state and does not bear
// being unloaded while anything of it is alive, so it stays until the process ends.
var opened struct {
	mu      sync.Mutex // guards what follows
	path    string
	runtime *Runtime
}

// A Runtime is the engine, loaded. It is safe for concurrent use and needs no closing.
type Runtime struct {
	version string
}

// Open loads the library at path. There is one engine in a process: opening the same file again
// returns the same Runtime, and opening another one is an error.
func Open(path string) (*Runtime, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("load ONNX Runtime: %w", err)
	}
	opened.mu.Lock()
	defer opened.mu.Unlock()
	if opened.runtime != nil {
		if opened.path != path {
			return nil, errors.New("load ONNX Runtime: another library file is loaded already, " +
				"and a process can have only one")
		}
		return opened.runtime, nil
	}

	// Before the library is loaded: it reads this once, on its way in. os.Setenv reaches the C
	// library's environment too, because this program is linked with cgo.
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return nil, fmt.Errorf("switch off the telemetry of ONNX Runtime: %w", err)
	}
	ort.SetSharedLibraryPath(path)
	// The engine writes what it logs to standard error, with the names of a model's nodes. Those
	// belong to whoever uploaded it, so only what ends the process is let through.
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return nil, fmt.Errorf("load ONNX Runtime: %w; "+
			"%s has to name a library of release 1.27 or newer", engine(err), LibraryVariable)
	}
	// The environment variable is what newer releases obey; this call is for those that send
	// through the operating system.
	if err := ort.DisableTelemetry(); err != nil {
		return nil, fmt.Errorf("switch off the telemetry of ONNX Runtime: %w", engine(err))
	}
	opened.path = path
	opened.runtime = &Runtime{version: ort.GetVersion()}
	return opened.runtime, nil
}

// Version returns the release of the library, such as 1.27.0.
func (r *Runtime) Version() string { return r.version }

// engine returns the engine's own message without what the binding puts before it.
func engine(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
