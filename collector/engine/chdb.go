package engine

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"
)

// library is libchdb's C interface, called without cgo. Every function takes
// and returns scalars and pointers only; no structure crosses by value.
//
// A process holds one library and one data folder. Connections are cheap and
// independent; each runs one statement at a time.
type library struct {
	connect func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	close   func(handle unsafe.Pointer)

	query       func(conn, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	stream      func(conn, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	insert      func(conn, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	streamFetch func(conn, stream unsafe.Pointer) unsafe.Pointer
	streamStop  func(conn, stream unsafe.Pointer)

	insertAppend func(insert, data unsafe.Pointer, n uintptr) int32
	insertDone   func(insert unsafe.Pointer) unsafe.Pointer
	insertError  func(insert unsafe.Pointer) unsafe.Pointer
	insertFree   func(insert unsafe.Pointer)

	resultFree    func(result unsafe.Pointer)
	resultBuffer  func(result unsafe.Pointer) unsafe.Pointer
	resultLength  func(result unsafe.Pointer) uintptr
	resultError   func(result unsafe.Pointer) unsafe.Pointer
	resultElapsed func(result unsafe.Pointer) float64
	readRows      func(result unsafe.Pointer) uint64
	readBytes     func(result unsafe.Pointer) uint64
	writtenRows   func(result unsafe.Pointer) uint64
	writtenBytes  func(result unsafe.Pointer) uint64

	setSignalHandlers func(enabled int32)
	sigaction         func(signal int32, action, old unsafe.Pointer) int32
}

// crashSignals are those that libchdb would handle. Told not to, it resets
// them, and leaves them alone from then on.
var crashSignals = []syscall.Signal{syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGILL, syscall.SIGBUS,
	syscall.SIGSYS, syscall.SIGFPE, syscall.SIGTSTP, syscall.SIGTRAP}

// keepSignals puts Go's signal handlers back after fn. Without them a nil
// dereference in Go would kill the process without a trace.
func (l *library) keepSignals(fn func()) {
	var saved [16][256]byte // one struct sigaction each, with room to spare
	for i, s := range crashSignals {
		l.sigaction(int32(s), nil, unsafe.Pointer(&saved[i][0]))
	}
	fn()
	for i, s := range crashSignals {
		l.sigaction(int32(s), unsafe.Pointer(&saved[i][0]), nil)
	}
}

// conn is one connection to the engine; not safe for concurrent use. Settings
// set on it end with it.
type conn struct {
	lib    *library
	handle unsafe.Pointer // chdb_connection *
	conn   unsafe.Pointer // chdb_connection
}

// open connects. The first connection of the process starts the engine with
// args; later ones share it and must name the same data folder.
func (l *library) open(args []string) (*conn, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	argv := make([]unsafe.Pointer, 0, len(args)+2)
	for _, arg := range append([]string{"clickhouse"}, args...) {
		text := append([]byte(arg), 0)
		pin.Pin(&text[0])
		argv = append(argv, unsafe.Pointer(&text[0]))
	}
	argc := int32(len(argv))
	argv = append(argv, nil)
	pin.Pin(&argv[0])
	handle := l.connect(argc, unsafe.Pointer(&argv[0]))
	if handle == nil {
		return nil, errors.New("connect to ClickHouse engine: refused")
	}
	return &conn{lib: l, handle: handle, conn: *(*unsafe.Pointer)(handle)}, nil
}

func (c *conn) close() { c.lib.close(c.handle) }

// exec runs query and returns its whole output, which the caller frees.
func (c *conn) exec(query []byte, format string, params map[string]string) (*result, error) {
	a := newArguments(query, format, params)
	defer a.release()
	return c.lib.result(c.lib.query(c.conn, a.query, a.queryLen, a.format, a.formatLen, a.names, a.nameLens, a.values, a.valueLens, a.count))
}

// run is exec for statements without output.
func (c *conn) run(query string) error {
	r, err := c.exec([]byte(query), "Null", nil)
	if err != nil {
		return err
	}
	r.free()
	return nil
}

// rows runs query and hands its output to emit, block by block; a block is
// valid during the call only. An error of emit stops the query and is returned.
func (c *conn) rows(query []byte, format string, params map[string]string, emit func([]byte) error) error {
	a := newArguments(query, format, params)
	defer a.release()
	stream, err := c.lib.result(c.lib.stream(c.conn, a.query, a.queryLen, a.format, a.formatLen, a.names, a.nameLens, a.values, a.valueLens, a.count))
	if err != nil {
		return err
	}
	defer stream.free()
	for {
		block, err := c.lib.result(c.lib.streamFetch(c.conn, stream.ptr))
		if err != nil {
			return err
		}
		data := block.bytes()
		if len(data) == 0 {
			block.free()
			return nil
		}
		err = emit(data)
		block.free()
		if err != nil {
			c.lib.streamStop(c.conn, stream.ptr)
			return err
		}
	}
}

// inserter takes the rows of one INSERT. Nothing is inserted before commit.
type inserter struct {
	lib *library
	ptr unsafe.Pointer
}

// insert begins an INSERT; query has neither FORMAT nor rows. The caller
// closes the inserter before it uses the connection again.
func (c *conn) insert(query []byte, format string, params map[string]string) (*inserter, error) {
	a := newArguments(query, format, params)
	defer a.release()
	i := &inserter{c.lib, c.lib.insert(c.conn, a.query, a.queryLen, a.format, a.formatLen, a.names, a.nameLens, a.values, a.valueLens, a.count)}
	if err := i.err(); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// Write copies data into the engine; it waits while the engine is behind.
func (i *inserter) Write(data []byte) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	if i.lib.insertAppend(i.ptr, unsafe.Pointer(&data[0]), uintptr(len(data))) == 0 {
		return len(data), nil
	}
	if err := i.err(); err != nil {
		return 0, err
	}
	// The engine names the cause only when asked for the outcome.
	r, err := i.commit()
	if err != nil {
		return 0, err
	}
	r.free()
	return 0, errors.New("write rows: refused by the engine")
}

func (i *inserter) commit() (*result, error) { return i.lib.result(i.lib.insertDone(i.ptr)) }

// close frees the inserter; rows that were not committed are dropped.
func (i *inserter) close() { i.lib.insertFree(i.ptr) }

func (i *inserter) err() error {
	if p := i.lib.insertError(i.ptr); p != nil {
		return engineError(text(p))
	}
	return nil
}

// result is what the engine gave back; its bytes live until free.
type result struct {
	lib *library
	ptr unsafe.Pointer
}

func (l *library) result(ptr unsafe.Pointer) (*result, error) {
	if ptr == nil {
		return nil, errors.New("read result: the engine gave none")
	}
	r := &result{l, ptr}
	if p := l.resultError(ptr); p != nil {
		err := engineError(text(p))
		r.free()
		return nil, err
	}
	return r, nil
}

func (r *result) bytes() []byte {
	n := r.lib.resultLength(r.ptr)
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(r.lib.resultBuffer(r.ptr)), int(n))
}

func (r *result) free() { r.lib.resultFree(r.ptr) }

// text copies a C string.
func text(p unsafe.Pointer) string {
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}

// arguments are a query, a format and parameters as the C functions want them.
type arguments struct {
	pin                     runtime.Pinner
	query, format           unsafe.Pointer
	queryLen, formatLen     uintptr
	names, nameLens, values unsafe.Pointer
	valueLens               unsafe.Pointer
	count                   uintptr
}

func newArguments(query []byte, format string, params map[string]string) *arguments {
	a := &arguments{count: uintptr(len(params))}
	a.query, a.queryLen = a.pinned(query), uintptr(len(query))
	a.format, a.formatLen = a.pinned([]byte(format)), uintptr(len(format))
	if len(params) == 0 {
		return a
	}
	var names, values []unsafe.Pointer
	var nameLens, valueLens []uintptr
	for name, value := range params {
		names, nameLens = append(names, a.pinned([]byte(name))), append(nameLens, uintptr(len(name)))
		values, valueLens = append(values, a.pinned([]byte(value))), append(valueLens, uintptr(len(value)))
	}
	a.pin.Pin(&names[0])
	a.pin.Pin(&values[0])
	a.pin.Pin(&nameLens[0])
	a.pin.Pin(&valueLens[0])
	a.names, a.values = unsafe.Pointer(&names[0]), unsafe.Pointer(&values[0])
	a.nameLens, a.valueLens = unsafe.Pointer(&nameLens[0]), unsafe.Pointer(&valueLens[0])
	return a
}

// pinned gives an address that is never nil, because the engine reads even
// empty text through it.
func (a *arguments) pinned(b []byte) unsafe.Pointer {
	if len(b) == 0 {
		b = make([]byte, 1)
	}
	a.pin.Pin(&b[0])
	return unsafe.Pointer(&b[0])
}

func (a *arguments) release() { a.pin.Unpin() }
