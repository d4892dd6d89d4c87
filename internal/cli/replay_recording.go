package cli

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// maxLine is the longest line of a recording, bytes. An observation is some hundred bytes.
const maxLine = 1 << 20

var errLongLine = fmt.Errorf("the line is longer than %d bytes", maxLine)

// recording reads the lines of a file.
type recording struct {
	name string
	path string // as it was given
	line int    // number of the line that was read last
	size int64  // of the file, 0 where it is not known

	watched map[string]*detector.Span // by node
	zipped  bool

	file  io.Closer
	raw   *countingReader
	lines *bufio.Reader
	buf   []byte
}

// countingReader counts and hashes what is read through it.
type countingReader struct {
	io.Reader
	n    int64
	hash hash.Hash
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	c.hash.Write(p[:n])
	return n, err
}

// open opens a file, or standard input for "-". The caller closes it.
func (r *replay) open(path string) (*recording, error) {
	rec := &recording{name: path, path: path, watched: map[string]*detector.Span{}, raw: &countingReader{hash: sha256.New()}}
	if path == "-" {
		rec.name, rec.raw.Reader, rec.file = "standard input", r.input, io.NopCloser(nil)
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("%w; name a recording, or - for standard input", err)
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			rec.size = info.Size()
		}
		rec.raw.Reader, rec.file = f, f
	}
	rec.lines = bufio.NewReaderSize(rec.raw, 64<<10)
	magic, err := rec.lines.Peek(2)
	if err != nil && err != io.EOF {
		return nil, errors.Join(fmt.Errorf("read %s: %w", rec.name, err), rec.close())
	}
	if bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(rec.lines)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read %s: %w", rec.name, damaged(err)), rec.close())
		}
		rec.lines, rec.zipped = bufio.NewReaderSize(z, 64<<10), true
	}
	return rec, nil
}

func (rec *recording) close() error { return rec.file.Close() }

// damaged explains errors of decompressing.
func damaged(err error) error {
	return fmt.Errorf("the gzip data is damaged or cut short (%w); make the copy anew", err)
}

// next gives the next line that is not blank, valid until the next call: io.EOF at the end, errLongLine for one that is skipped, or the error
// that ends the reading.
func (rec *recording) next() ([]byte, error) {
	for {
		rec.buf = rec.buf[:0]
		rec.line++
		length := 0
		for more := true; more; {
			part, err := rec.lines.ReadSlice('\n')
			if length += len(part); length <= maxLine {
				rec.buf = append(rec.buf, part...)
			}
			switch {
			case err == nil, err == io.EOF && length > 0: // the last line may end without a newline
				more = false
			case err == io.EOF:
				return nil, io.EOF
			case errors.Is(err, bufio.ErrBufferFull):
			case rec.zipped:
				return nil, damaged(err)
			default:
				return nil, err
			}
		}
		if length > maxLine {
			return nil, errLongLine
		}
		if len(bytes.TrimSpace(rec.buf)) > 0 {
			return rec.buf, nil
		}
	}
}

// watch notes that the node of an observation was watched until then, and gives the whole span. It never goes back.
func (rec *recording) watch(o *event.Observation) detector.Span {
	s := rec.watched[o.Node]
	if s == nil {
		s = &detector.Span{From: o.First(), Until: o.Time}
		rec.watched[o.Node] = s
	}
	if o.First().Before(s.From) {
		s.From = o.First()
	}
	if o.Time.After(s.Until) {
		s.Until = o.Time
	}
	return *s
}

// fingerprint names the content of a recording that was read to its end.
func (rec *recording) fingerprint() string { return hex.EncodeToString(rec.raw.hash.Sum(nil)[:12]) }

// progress shows how far the reading is, on a terminal only.
type progress struct {
	w    io.Writer // nil where it is no terminal
	last time.Time
}

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); ok {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			return &progress{w: f}
		}
	}
	return &progress{}
}

func (p *progress) show(rec *recording) {
	if p.w == nil || rec.line%256 != 0 || time.Since(p.last) < 200*time.Millisecond {
		return
	}
	p.last = time.Now()
	part := ""
	if rec.size > 0 {
		part = fmt.Sprintf(", %d %%", 100*rec.raw.n/rec.size)
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s: %d lines%s", oneLineText(rec.name), rec.line, part)
}

// note shows a text, now and then.
func (p *progress) note(text string) {
	if p.w == nil || time.Since(p.last) < 200*time.Millisecond {
		return
	}
	p.last = time.Now()
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
}

func (p *progress) clear() {
	if p.w != nil && !p.last.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
