package engine

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
)

const (
	maxQueryBytes  = 16 << 20 // of a query's text
	maxInsertBytes = 1 << 30  // of an INSERT's rows, unpacked
	// headBytes of a body are read to see whether it is an INSERT with rows.
	headBytes = 64 << 10
	// stallLimit is how long one read or write may wait for the client.
	stallLimit = time.Minute
)

// request is one query, as ClickHouse's HTTP interface carries it.
type request struct {
	statement
	rows     io.Reader // the rows of an INSERT; nil without
	output   string    // format of the answer
	database string
	settings []string // name='value'
	params   map[string]string
	protocol int // revision the client reads the hello with
	encoding encoding
}

// control are the URL parameters that are not settings. Those that the engine
// cannot honour are refused in parseRequest.
var control = map[string]bool{
	"query": true, "database": true, "default_format": true, "query_id": true, "quota_key": true, "role": true,
	"client_protocol_version": true, "compress": true, "decompress": true, "user": true, "password": true,
	"stacktrace": true, "wait_end_of_query": true, "buffer_size": true, "close_session": true,
	"session_timeout": true, "session_check": true, "network_compression_method": true,
	"network_zstd_compression_level": true, "http_write_exception_in_output_format": true,
	"enable_http_compression": true, "send_progress_in_http_headers": true,
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// parseRequest reads a request up to, but without, the rows of an INSERT.
func parseRequest(w http.ResponseWriter, r *http.Request) (*request, error) {
	values := r.URL.Query()
	req := &request{
		output:   firstOf(r.Header.Get("X-ClickHouse-Format"), values.Get("default_format"), "TabSeparated"),
		database: firstOf(r.Header.Get("X-ClickHouse-Database"), values.Get("database")),
		encoding: replyEncoding(values, r.Header),
		params:   map[string]string{},
	}
	req.protocol, _ = strconv.Atoi(values.Get("client_protocol_version"))
	if values.Get("session_id") != "" {
		return nil, refuse(codeNotImplemented, "NOT_IMPLEMENTED", "sessions are not supported by the embedded engine")
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return nil, refuse(codeNotImplemented, "NOT_IMPLEMENTED", "external tables are not supported by the embedded engine")
	}
	for name, value := range values {
		last := value[len(value)-1]
		if param, ok := strings.CutPrefix(name, "param_"); ok {
			req.params[param] = last
			continue
		}
		if control[name] {
			continue
		}
		if !settingName.MatchString(name) {
			return nil, refuse(codeUnknownSetting, "UNKNOWN_SETTING", "unknown setting %q", name)
		}
		req.settings = append(req.settings, name+"="+quote(last))
	}
	sort.Strings(req.settings)

	body, err := requestBody(w, r, values)
	if err != nil {
		return nil, err
	}
	// As in ClickHouse, the body holds the rows of an INSERT in the URL, and
	// else continues the URL's query.
	inURL := values.Get("query")
	if req.statement = parseStatement([]byte(inURL)); req.format != "" {
		req.rows = io.MultiReader(bytes.NewReader(req.inline), body)
		return req, nil
	}
	if inURL != "" {
		inURL += "\n"
	}
	head := make([]byte, len(inURL)+headBytes)
	n, err := io.ReadFull(body, head[copy(head, inURL):])
	whole := err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !whole {
		return nil, bodyError(err)
	}
	head = head[:len(inURL)+n]
	req.statement = parseStatement(head)
	if req.format != "" && (whole || len(req.inline) > 0) {
		req.rows = io.MultiReader(bytes.NewReader(req.inline), body)
		return req, nil
	}
	rest, err := io.ReadAll(io.LimitReader(body, maxQueryBytes))
	if err != nil {
		return nil, bodyError(err)
	}
	if head = append(head, rest...); len(head) > maxQueryBytes {
		return nil, refuse(codeTooManyBytes, "TOO_MANY_BYTES", "query is longer than %d bytes", maxQueryBytes)
	}
	if req.statement = parseStatement(head); req.format != "" {
		req.rows = bytes.NewReader(req.inline)
	}
	return req, nil
}

// requestBody undoes the request's compression and bounds it in size and in
// the time that the client may stall.
func requestBody(w http.ResponseWriter, r *http.Request, values url.Values) (io.Reader, error) {
	var body io.Reader = &patientReader{http.NewResponseController(w), r.Body}
	var err error
	switch name := r.Header.Get("Content-Encoding"); name {
	case "", "identity":
	case "gzip":
		body, err = gzip.NewReader(body)
	case "deflate":
		body, err = zlib.NewReader(body)
	case "br":
		body = brotli.NewReader(body)
	default:
		return nil, refuse(codeUnknownPacketEncoding, "UNKNOWN_COMPRESSION_METHOD", "unknown Content-Encoding %q", name)
	}
	if err != nil {
		return nil, bodyError(err)
	}
	if values.Get("decompress") == "1" {
		body = nativeReader{compress.NewReader(body)}
	}
	return &cappedReader{body, maxInsertBytes}, nil
}

func bodyError(err error) error {
	var known *exception
	if errors.As(err, &known) {
		return known
	}
	return refuse(codeCannotReadAllData, "CANNOT_READ_ALL_DATA", "cannot read request body: %v", err)
}

// patientReader gives the client stallLimit for each read. The limit is lifted
// in between, because net/http takes a timeout then for a client that left.
type patientReader struct {
	control *http.ResponseController
	body    io.Reader
}

func (p *patientReader) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(time.Now().Add(stallLimit)); err != nil {
		return 0, fmt.Errorf("set read deadline: %w", err)
	}
	n, err := p.body.Read(b)
	if clear := p.control.SetReadDeadline(time.Time{}); clear != nil && err == nil {
		err = fmt.Errorf("clear read deadline: %w", clear)
	}
	return n, err
}

// nativeReader gives io.EOF as such, which ch-go wraps.
type nativeReader struct{ r io.Reader }

func (n nativeReader) Read(b []byte) (int, error) {
	c, err := n.r.Read(b)
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return c, err
}

// cappedReader refuses to read more than left bytes.
type cappedReader struct {
	r    io.Reader
	left int64
}

func (c *cappedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.left -= int64(n); c.left < 0 {
		return 0, refuse(codeTooManyBytes, "TOO_MANY_BYTES", "request body is larger than %d bytes; insert smaller batches", maxInsertBytes)
	}
	return n, err
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

var quoter = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

func quote(s string) string { return "'" + quoter.Replace(s) + "'" }

func identifier(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}
