package onnx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// LibraryVariable is the environment variable that names the library file.
const LibraryVariable = "BLINDAI_ONNXRUNTIME"

// libraryName is the file that Find looks for beside the program.
const libraryName = "libonnxruntime.so"

// Find returns the path of the ONNX Runtime library: the file that BLINDAI_ONNXRUNTIME names, or
// else libonnxruntime.so beside the program. The system's own library folders are left out, so
// that an operator knows which release runs without asking the dynamic linker.
func Find() (string, error) {
	if path := os.Getenv(LibraryVariable); path != "" {
		if err := readable(path); err != nil {
			return "", fmt.Errorf("%s does not name a library that can be read (%w); "+
				"set it to the path of %s, or unset it to use the one beside the program",
				LibraryVariable, err, libraryName)
		}
		return path, nil
	}
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the folder of this program to look for %s: %w; set %s instead",
			libraryName, err, LibraryVariable)
	}
	if real, err := filepath.EvalSymlinks(program); err == nil {
		program = real
	}
	path := filepath.Join(filepath.Dir(program), libraryName)
	if err := readable(path); err != nil {
		return "", fmt.Errorf("%s is not beside the program (%w); "+
			"run `make build` to put it there, or set %s to its path",
			libraryName, err, LibraryVariable)
	}
	return path, nil
}

// readable reports whether path is a file that can be opened, with a cause that leaves out the
// path: an environment variable may hold anything.
func readable(path string) error {
	file, err := os.Open(path)
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			return cause.Err
		}
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	return nil
}
