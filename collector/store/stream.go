package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// stream inserts into the embedded engine. Rows go out while they are made, some thousand at a time in room that is used again; the engine joins
// them to one block. clickhouse-go holds all rows of an HTTP insert as columns first, and makes these anew for each: six times the memory, and the
// garbage of growing them.
type stream struct {
	client   *http.Client
	database string
}

// streamAnswer is how long the engine may take for an insert, once it has all rows; as clickhouse-go has it.
const streamAnswer = 5 * time.Minute

func newStream(socket, database string) *stream {
	return &stream{database: database, client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 2, ResponseHeaderTimeout: streamAnswer, WriteBufferSize: 256 << 10, DisableCompression: true,
	}}}
}

// whole has the engine make one block, and so one part, of all that an insert sends: by rows, never by bytes.
var whole = map[string]string{"min_insert_block_size_rows": strconv.Itoa(2 * maxBlockRows), "min_insert_block_size_bytes": "0"}

// insertStream sends rows. Its errors are [clickhouse.Exception], those of the connection, or what chunks gave.
func insertStream[T any](ctx context.Context, s *stream, table string, columns []field, settings clickhouse.Settings, chunks iter.Seq2[[]T, error]) error {
	names := make([]string, len(columns))
	for i, f := range columns {
		names[i] = f.name
	}
	query := url.Values{
		"query":    {"INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") FORMAT Native"},
		"database": {s.database}, "async_insert": {"0"},
	}
	for name, value := range whole {
		query.Set(name, value)
	}
	for name, value := range settings {
		query.Set(name, fmt.Sprint(value))
	}
	// The body is made by a goroutine of its own, which has ended when this returns.
	out, body := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/?"+query.Encode(), out)
	if err != nil {
		return err
	}
	made := make(chan error, 1)
	go func() {
		err := writeNative(body, columns, chunks)
		body.CloseWithError(err)
		made <- err
	}()
	answer, err := s.client.Do(request)
	out.CloseWithError(errAnswered)
	if failed := <-made; failed != nil && !errors.Is(failed, errAnswered) && !errors.Is(failed, io.ErrClosedPipe) {
		err = failed
	}
	if answer != nil {
		defer answer.Body.Close()
	}
	if err != nil {
		return err
	}
	return readAnswer(answer)
}

var errAnswered = errors.New("the engine has answered")

// readAnswer makes an error of an answer that is one.
func readAnswer(answer *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if answer.StatusCode == http.StatusOK {
		return err
	}
	message := strings.TrimSpace(string(text))
	code, noCode := strconv.ParseInt(answer.Header.Get("X-ClickHouse-Exception-Code"), 10, 32)
	if noCode != nil {
		return fmt.Errorf("the engine answered %s: %s", answer.Status, firstLine(message))
	}
	message = strings.TrimPrefix(message, fmt.Sprintf("Code: %d. ", code))
	return &clickhouse.Exception{Code: int32(code), Message: strings.TrimPrefix(message, "DB::Exception: ")}
}

// nativeRows are as many rows as go out together.
const nativeRows = 16 * chunkRows

// writeNative writes rows in ClickHouse's format Native: blocks of columns, each with its name and type.
func writeNative[T any](w io.Writer, columns []field, chunks iter.Seq2[[]T, error]) error {
	types, _ := wireTypes(columns)
	held := make([][]byte, len(columns))
	rows := 0
	var head []byte
	flush := func() error {
		head = binary.AppendUvarint(head[:0], uint64(len(columns)))
		head = binary.AppendUvarint(head, uint64(rows))
		for i := range columns {
			head = appendText(appendText(head, types[i].Name), types[i].Type)
			if _, err := w.Write(head); err != nil {
				return err
			}
			if _, err := w.Write(held[i]); err != nil {
				return err
			}
			head, held[i] = head[:0], held[i][:0]
		}
		rows = 0
		return nil
	}
	for chunk, err := range chunks {
		if err != nil {
			return err
		}
		for i, f := range columns {
			held[i] = appendNative(held[i], f, chunk)
		}
		if rows += len(chunk); rows >= nativeRows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if rows == 0 {
		return nil
	}
	return flush()
}

func appendText(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

// appendNative appends one column of rows.
func appendNative[T any](to []byte, f field, rows []T) []byte {
	switch f.kind {
	case reflect.TypeFor[string]():
		return appendEach(to, f, rows, appendText)
	case reflect.TypeFor[time.Time]():
		return appendEach(to, f, rows, func(to []byte, t time.Time) []byte {
			return binary.LittleEndian.AppendUint64(to, uint64(t.UnixMicro()))
		})
	case reflect.TypeFor[netip.Addr]():
		return appendEach(to, f, rows, func(to []byte, a netip.Addr) []byte {
			b := a.As16()
			return append(to, b[:]...)
		})
	case reflect.TypeFor[uint64]():
		return appendEach(to, f, rows, binary.LittleEndian.AppendUint64)
	case reflect.TypeFor[uint32]():
		return appendEach(to, f, rows, binary.LittleEndian.AppendUint32)
	case reflect.TypeFor[uint16]():
		return appendEach(to, f, rows, binary.LittleEndian.AppendUint16)
	case reflect.TypeFor[bool]():
		return appendEach(to, f, rows, func(to []byte, b bool) []byte {
			if b {
				return append(to, 1)
			}
			return append(to, 0)
		})
	}
	panic("no way to write a " + f.kind.String()) // wireTypes knows none either
}

func appendEach[V, T any](to []byte, f field, rows []T, add func([]byte, V) []byte) []byte {
	for i := range rows {
		to = add(to, *(*V)(unsafe.Add(unsafe.Pointer(&rows[i]), f.offset)))
	}
	return to
}
