package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// killPeriod is how often a query whose client left is killed again: a KILL
// that comes before the query is listed hits nothing.
const killPeriod = 100 * time.Millisecond

// ServeHTTP answers one query on a connection of its own, so that settings
// never leak into another request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" && r.URL.Path != "/ping" {
		http.Error(w, "not found: the embedded engine serves / and /ping", http.StatusNotFound)
		return
	}
	if r.URL.Path == "/ping" || r.Method == http.MethodGet && r.URL.RawQuery == "" {
		io.WriteString(w, "Ok.\n")
		return
	}
	if s.waiting.Add(1) > int64(s.config.MaxWaiting+s.config.MaxQueries) {
		s.waiting.Add(-1)
		(&output{w: w}).fail(refuse(codeTooManyQueries, "TOO_MANY_SIMULTANEOUS_QUERIES", "more than %d queries are waiting", s.config.MaxWaiting))
		return
	}
	defer s.waiting.Add(-1)
	req, err := parseRequest(w, r)
	if err != nil {
		s.fail(&output{w: w}, err)
		return
	}
	header := w.Header()
	tag := "ambit-" + strconv.FormatUint(s.sequence.Add(1), 10)
	header.Set("X-ClickHouse-Query-Id", firstOf(r.URL.Query().Get("query_id"), tag))
	header.Set("X-ClickHouse-Server-Display-Name", s.hello.name)
	header.Set("X-ClickHouse-Timezone", s.hello.timezone)
	header.Set("X-ClickHouse-Format", req.output)
	out := &output{w: w, encoding: req.encoding}
	if req.isHello() {
		if _, err := out.Write(s.hello.encode(req.protocol)); err == nil {
			out.finish()
		}
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-r.Context().Done():
		return
	}
	if err := s.serve(r.Context(), out, req, tag); err != nil {
		s.fail(out, err)
	}
}

// fail ends an answer with err. If the client is gone, nobody hears it.
func (s *Server) fail(out *output, err error) {
	var e *exception
	if !errors.As(err, &e) {
		e = refuse(codeUnknownException, "UNKNOWN_EXCEPTION", "%v", err)
	}
	out.fail(e)
}

func (s *Server) serve(ctx context.Context, out *output, req *request, tag string) error {
	c, err := s.library.open(s.config.engineArgs())
	if err != nil {
		return err
	}
	defer c.close()
	// The tag comes last, so that the client cannot replace it.
	prepare := "SET " + strings.Join(append(req.settings, "log_comment="+quote(tag)), ", ")
	if req.database != "" {
		prepare = "USE " + identifier(req.database) + "; " + prepare
	}
	if err := c.run(prepare); err != nil {
		return err
	}
	defer s.killWhenDone(ctx, tag)()

	switch {
	case req.rows != nil:
		return s.serveInsert(c, out, req)
	case req.stream:
		if err := c.rows(req.text, req.output, req.params, func(block []byte) error {
			_, err := out.Write(block)
			return err
		}); err != nil {
			return err
		}
		return out.finish()
	}
	r, err := c.exec(req.text, req.output, req.params)
	if err != nil {
		return err
	}
	defer r.free()
	out.w.Header().Set("X-ClickHouse-Summary", r.summary())
	if data := r.bytes(); len(data) > 0 {
		if _, err := out.Write(data); err != nil {
			return err
		}
	}
	return out.finish()
}

var insertBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// serveInsert hands the rows to the engine as they come. A client that goes
// away before its last byte inserts nothing.
func (s *Server) serveInsert(c *conn, out *output, req *request) error {
	into, err := c.insert(req.text, req.format, req.params)
	if err != nil {
		return err
	}
	defer into.close()
	buf := insertBuffers.Get().(*[256 << 10]byte)
	defer insertBuffers.Put(buf)
	for {
		n, err := req.rows.Read(buf[:])
		if n > 0 {
			if _, err := into.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return bodyError(err)
		}
	}
	r, err := into.commit()
	if err != nil {
		return err
	}
	defer r.free()
	out.w.Header().Set("X-ClickHouse-Summary", r.summary())
	return out.finish()
}

// killWhenDone kills the query with this tag when ctx ends. The function that
// it returns stops the watch, and waits for it.
func (s *Server) killWhenDone(ctx context.Context, tag string) (stop func()) {
	finished, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-finished:
			return
		case <-ctx.Done():
		}
		again := time.NewTicker(killPeriod)
		defer again.Stop()
		for {
			if err := s.kill(tag); err != nil {
				s.log.Warn("kill query of a client that left", "error", err)
			}
			select {
			case <-finished:
				return
			case <-again.C:
			}
		}
	}()
	return func() { close(finished); <-stopped }
}

func (s *Server) kill(tag string) error {
	s.controlLock.Lock()
	defer s.controlLock.Unlock()
	return s.control.run(fmt.Sprintf("KILL QUERY WHERE Settings['log_comment'] = %s ASYNC", quote(tag)))
}

// summary is the X-ClickHouse-Summary header; its numbers are strings.
func (r *result) summary() string {
	text, err := json.Marshal(map[string]string{
		"read_rows":     strconv.FormatUint(r.lib.readRows(r.ptr), 10),
		"read_bytes":    strconv.FormatUint(r.lib.readBytes(r.ptr), 10),
		"written_rows":  strconv.FormatUint(r.lib.writtenRows(r.ptr), 10),
		"written_bytes": strconv.FormatUint(r.lib.writtenBytes(r.ptr), 10),
		"elapsed_ns":    strconv.FormatInt(int64(r.lib.resultElapsed(r.ptr)*1e9), 10),
	})
	if err != nil {
		panic(err) // a map of strings always encodes
	}
	return string(text)
}
