package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
)

// file appends one document a line. A batch is on the disk before it counts as taken. Of a line that a crash cut off, nothing stays.
type file struct {
	o *opening
	f *os.File
}

func checkFile(c *Config) error {
	if c.MaxBytes < 1<<20 || c.Keep < 1 || c.Keep > 1000 {
		return errors.New("max_bytes is below 1 MiB, or keep not from 1 to 1000")
	}
	return checkPath(c.Path, "path")
}

func openFile(o *opening) (sender, error) {
	f := &file{o: o}
	return f, f.open()
}

func (f *file) open() error {
	out, err := os.OpenFile(f.o.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open the file: %w", err)
	}
	if !f.o.test { // who works the feed may be writing
		if _, err := wholeLines(out); err != nil {
			out.Close()
			return fmt.Errorf("open the file: %w", err)
		}
	}
	f.f = out
	return nil
}

// wholeLines cuts off what follows the last end of a line, and gives the length.
func wholeLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, nil
	}
	const step = 64 << 10
	buf := make([]byte, step)
	for end := info.Size(); end > 0; {
		from := max(0, end-step)
		n, err := f.ReadAt(buf[:end-from], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] == '\n' {
				size := from + int64(i) + 1
				if size == info.Size() {
					return size, nil
				}
				return size, f.Truncate(size)
			}
		}
		end = from
	}
	return 0, f.Truncate(0)
}

func (f *file) close() {
	if f.f != nil {
		f.f.Close()
		f.f = nil
	}
}

func (f *file) send(_ context.Context, docs []Document) (receipt, error) {
	size, err := f.current()
	if err != nil {
		return receipt{}, err
	}
	var lines []byte
	for i := range docs {
		lines = append(append(lines, docs[i].Body...), '\n')
	}
	_, err = f.f.Write(lines) // at once: a test must not come between
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		if !f.o.test {
			_ = f.f.Truncate(size)
		}
		return receipt{}, fmt.Errorf("write the file: %w", err)
	}
	return receipt{len(docs), "written to " + f.o.Path}, nil
}

// current gives the length of the file, which is opened anew where somebody has moved it away, and rotated where it is long enough.
func (f *file) current() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, fmt.Errorf("look at the file: %w", err)
	}
	there, err := os.Stat(f.o.Path)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return 0, fmt.Errorf("look at the file: %w", err)
	case err != nil || !os.SameFile(info, there):
		f.close()
		err = f.open()
	case info.Size() >= f.o.MaxBytes && info.Mode().IsRegular() && !f.o.test:
		err = f.rotate()
	default:
		return info.Size(), nil
	}
	if err != nil {
		return 0, err
	}
	if info, err = f.f.Stat(); err != nil {
		return 0, fmt.Errorf("look at the file: %w", err)
	}
	return info.Size(), nil
}

// rotate renames path to path.1, path.1 to path.2 and so on; the last one goes.
func (f *file) rotate() error {
	f.close()
	name := func(n int) string { return f.o.Path + "." + strconv.Itoa(n) }
	for n := f.o.Keep - 1; n >= 1; n-- {
		if err := os.Rename(name(n), name(n+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rotate the file: %w", err)
		}
	}
	if err := os.Rename(f.o.Path, name(1)); err != nil {
		return fmt.Errorf("rotate the file: %w", err)
	}
	return f.open()
}

// stdout writes one document a line.
type stdout struct{ out io.Writer }

var stdoutLock sync.Mutex // feeds share it

func openStdout(*opening) (sender, error) { return &stdout{os.Stdout}, nil }

func (s *stdout) send(_ context.Context, docs []Document) (receipt, error) {
	stdoutLock.Lock()
	defer stdoutLock.Unlock()
	for i := range docs {
		if _, err := s.out.Write(append(append([]byte(nil), docs[i].Body...), '\n')); err != nil {
			return receipt{taken: i}, fmt.Errorf("write to standard output: %w", err)
		}
	}
	return receipt{len(docs), "written to standard output"}, nil
}

func (s *stdout) close() {}
