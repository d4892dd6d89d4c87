package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// File is a view that is a file and no page. It is written while it is read, so that little of it is held at a time.
type File struct {
	Name  string
	Type  string
	Write func(ctx context.Context, w io.Writer) error // once
}

// filePause is how long it may take until the next part of a file is read and sent. All of a report of a large estate takes longer than an answer else may.
const filePause = 2 * time.Minute

// send sends a file. When it cannot be ended the connection is broken off, so that nobody takes a part for the whole.
func (s *Site) send(w http.ResponseWriter, r *http.Request, f *File) {
	w.Header().Set("Content-Type", f.Type)
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", f.Name))
	if r.Method == http.MethodHead {
		return
	}
	p := &patient{w, http.NewResponseController(w)}
	p.wait()
	if err := f.Write(r.Context(), p); err != nil {
		if r.Context().Err() == nil { // else the client is gone
			s.log.Error("break a file off", "path", r.URL.Path, "request", w.Header().Get("X-Request-Id"), "error", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// patient is an answer that gets more time with each part.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p *patient) wait() { _ = p.control.SetWriteDeadline(time.Now().Add(filePause)) } // where there is any

func (p *patient) Write(b []byte) (int, error) {
	p.wait()
	return p.ResponseWriter.Write(b)
}
