package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"path"
	"time"
)

//go:embed page
var pages embed.FS

// dist holds what `make build` made out of web. In a fresh clone it is empty
// but for its .gitignore, so that everything compiles before the first build.
//
//go:embed all:dist
var dist embed.FS

var errNoBundle = errors.New("console bundle is missing: run make build")

// assets are the files of the bundle that are served.
var assets = map[string]string{
	"console.js":   "text/javascript; charset=utf-8",
	"console.css":  "text/css; charset=utf-8",
	"icon.svg":     "image/svg+xml",
	"licences.txt": "text/plain; charset=utf-8",
}

// files are the templates and the bundle: embedded, or in development on disk.
type files struct {
	dev   fs.FS // nil unless in development
	ready *template.Template
	tag   string
	sums  map[string]string
}

func openFiles(dev string) (files, error) {
	f := files{sums: map[string]string{}}
	if dev != "" {
		f.dev = os.DirFS(dev)
	}
	all := sha256.New()
	for _, name := range []string{"console.css", "console.js", "icon.svg", "licences.txt"} {
		b, err := f.asset(name)
		if errors.Is(err, fs.ErrNotExist) {
			return files{}, errNoBundle
		} else if err != nil {
			return files{}, fmt.Errorf("open console bundle: %w", err)
		}
		all.Write(b)
		f.sums[name] = sum(b)
	}
	f.tag = hex.EncodeToString(all.Sum(nil)[:6])
	t, err := parse(pages)
	if f.dev != nil {
		t, err = parse(f.dev)
	}
	if err != nil {
		return files{}, err
	}
	f.ready = t
	return f, nil
}

func parse(from fs.FS) (*template.Template, error) {
	t, err := template.New("console").Funcs(words).ParseFS(from, "page/*.html")
	if err != nil {
		return nil, fmt.Errorf("read console pages: %w", err)
	}
	return t, nil
}

func (f *files) templates() (*template.Template, error) {
	if f.dev != nil {
		return parse(f.dev)
	}
	return f.ready, nil
}

// version changes with the bundle and is part of its URLs, so that browsers may
// keep a file for as long as they like.
func (f *files) version() string {
	if f.dev != nil {
		return "dev"
	}
	return f.tag
}

func (f *files) asset(name string) ([]byte, error) {
	if f.dev != nil {
		return fs.ReadFile(f.dev, path.Join("dist", name))
	}
	return dist.ReadFile(path.Join("dist", name))
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return `"` + hex.EncodeToString(s[:8]) + `"`
}

func (c *console) handleAsset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	kind, ok := assets[name]
	if !ok {
		c.handleElse(w, r)
		return
	}
	b, err := c.files.asset(name)
	if err != nil {
		c.fail(w, r, &problem{Code: http.StatusServiceUnavailable, Text: "A file of the console is missing.", Err: err})
		return
	}
	tag := c.files.sums[name]
	cache := "private, no-cache"
	if c.files.dev != nil {
		tag = sum(b)
	} else if r.URL.Query().Get("v") == c.files.tag {
		cache = "private, max-age=31536000, immutable"
	}
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("Content-Type", kind)
	w.Header().Set("ETag", tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}
