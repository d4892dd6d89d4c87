package engine

import (
	"compress/gzip"
	"compress/zlib"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
)

// encoding says how an answer is compressed: in ClickHouse's own blocks, or as
// a whole by a method of HTTP, or not at all.
type encoding struct {
	native bool
	method compress.Method
	http   string // Content-Encoding; empty without
}

func replyEncoding(values url.Values, header http.Header) encoding {
	if values.Get("compress") == "1" {
		if strings.EqualFold(values.Get("network_compression_method"), "ZSTD") {
			return encoding{native: true, method: compress.ZSTD}
		}
		return encoding{native: true, method: compress.LZ4}
	}
	for _, name := range strings.Split(header.Get("Accept-Encoding"), ",") {
		name, _, _ = strings.Cut(strings.TrimSpace(name), ";")
		switch name {
		case "gzip", "deflate", "br":
			return encoding{http: name}
		}
	}
	return encoding{}
}

// frameBytes bounds a compressed block, as ClickHouse does.
const frameBytes = 1 << 20

// output writes an answer. The status line goes out with the first byte, so
// that an error before it still has a status of its own.
type output struct {
	w        http.ResponseWriter
	encoding encoding
	started  bool
	tag      string           // marks the frame of an exception in this answer
	frames   *compress.Writer // native compression
	packer   io.WriteCloser   // HTTP compression
}

func (o *output) start() {
	if o.started {
		return
	}
	o.started = true
	header := o.w.Header()
	header.Set("Content-Type", "application/octet-stream")
	o.tag = rand.Text()[:16]
	header.Set("X-ClickHouse-Exception-Tag", o.tag)
	switch o.encoding.http {
	case "gzip":
		o.packer, _ = gzip.NewWriterLevel(o.w, gzip.BestSpeed)
	case "deflate":
		o.packer, _ = zlib.NewWriterLevel(o.w, zlib.BestSpeed)
	case "br":
		o.packer = brotli.NewWriterLevel(o.w, brotli.BestSpeed)
	}
	if o.packer != nil {
		header.Set("Content-Encoding", o.encoding.http)
	}
	if o.encoding.native {
		o.frames = compress.NewWriter(compress.LevelZero, o.encoding.method)
	}
	o.w.WriteHeader(http.StatusOK)
}

// Write sends a part of the answer; the client has stallLimit to take it.
func (o *output) Write(data []byte) (int, error) {
	o.start()
	if err := http.NewResponseController(o.w).SetWriteDeadline(time.Now().Add(stallLimit)); err != nil {
		return 0, fmt.Errorf("set write deadline: %w", err)
	}
	switch {
	case o.frames != nil:
		for rest := data; len(rest) > 0; {
			n := min(len(rest), frameBytes)
			if err := o.frames.Compress(rest[:n]); err != nil {
				return 0, fmt.Errorf("compress answer: %w", err)
			}
			if _, err := o.w.Write(o.frames.Data); err != nil {
				return 0, err
			}
			rest = rest[n:]
		}
		return len(data), nil
	case o.packer != nil:
		return o.packer.Write(data)
	default:
		return o.w.Write(data)
	}
}

// finish ends an answer; one without a byte gets its status here.
func (o *output) finish() error {
	if !o.started {
		o.w.Header().Set("Content-Length", "0")
		o.w.WriteHeader(http.StatusOK)
		return nil
	}
	if o.packer != nil {
		return o.packer.Close()
	}
	return nil
}

// fail ends the answer with an exception: with a status when nothing was sent
// yet, and else in the frame that clients look for. The frame is never
// compressed natively, because clients search the raw bytes for it.
func (o *output) fail(e *exception) {
	message := e.Error()
	if !o.started {
		header := o.w.Header()
		header.Set("X-ClickHouse-Exception-Code", fmt.Sprint(e.code))
		header.Set("Content-Type", "text/plain; charset=UTF-8")
		o.w.WriteHeader(e.status())
		io.WriteString(o.w, message+"\n")
		return
	}
	o.frames = nil
	fmt.Fprintf(o, "\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", o.tag, message, len(message)+1, o.tag)
	o.finish()
}
