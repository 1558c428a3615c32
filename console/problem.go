package console

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/blindai-go/blindai/store"
)

// A problem is an error that a visitor may read. Text is one sentence and never
// repeats what the visitor sent; Err is the cause, for the log only.
type problem struct {
	Code int
	Text string
	Err  error
}

func (p *problem) Error() string {
	if p.Err != nil {
		return p.Err.Error()
	}
	return p.Text
}

func (p *problem) Unwrap() error { return p.Err }

// Status is the code with its name, the small print of a problem's page.
func (p *problem) Status() string { return http.StatusText(p.Code) }

// problemOf turns any error into one that a visitor may read.
func problemOf(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, store.ErrUnknownApp):
		return &problem{Code: http.StatusNotFound, Text: "The collector has no such app.", Err: err}
	case errors.Is(err, store.ErrQuestion):
		return &problem{Code: http.StatusBadRequest, Text: "The collector cannot answer this question; start again from the first page.", Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{Code: http.StatusServiceUnavailable, Text: "The store took too long to answer; try a shorter range, or try again.", Err: err}
	}
	return &problem{Code: http.StatusServiceUnavailable, Text: "The store cannot answer right now; the collector's log says why.", Err: err}
}

// fail is the one place where an error becomes an answer. Parts that the page
// polls get the problem as a part, everything else as a page.
func (c *console) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	// A visitor who left has nothing to be told and is no fault of the store.
	if p.Code >= 500 && r.Context().Err() == nil {
		c.Logger.Error("console", "path", r.URL.Path, "err", p.Error())
	}
	if r.URL.Path == "/console/live" {
		// A part that cannot be made leaves the last one standing: the page
		// says that it is behind, and asks again.
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, p.Text, p.Code)
		return
	}
	c.render(w, p.Code, "page", &page{Title: p.Status(), Problem: p})
}

// render writes a template, whole or not at all.
func (c *console) render(w http.ResponseWriter, code int, name string, data any) {
	t, err := c.files.templates()
	if err == nil {
		if p, ok := data.(*page); ok {
			p.Version = c.files.version()
		}
		var b bytes.Buffer
		if err = t.ExecuteTemplate(&b, name, data); err == nil {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store") // what is erased must not come back from a cache
			w.WriteHeader(code)
			_, _ = w.Write(b.Bytes()) // the visitor left: nobody to tell
			return
		}
	}
	c.Logger.Error("console", "template", name, "err", err.Error())
	http.Error(w, "The page could not be made; the collector's log says why.", http.StatusInternalServerError)
}
