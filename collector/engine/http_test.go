package engine_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/internal/testenv"
)

// post sends what clickhouse-go does not send but other clients may.
func post(t *testing.T, socket, query string, body io.Reader, header http.Header) (int, string, http.Header) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}, DisableCompression: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://clickhouse/"+query, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}

func TestHTTP(t *testing.T) {
	socket := testenv.Engine(t)
	gzipped := func(s string) io.Reader {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, s)
		w.Close()
		return &b
	}
	many := strings.Repeat("7\tseven\n", 50_000) // longer than what is read to see the statement
	for _, f := range []struct {
		name, query string
		body        io.Reader
		header      http.Header
		status      int
		want        string
	}{
		{"create", "", strings.NewReader("CREATE TABLE t (a UInt32, s String) ENGINE = MergeTree ORDER BY a"), nil, 200, ""},
		{"ping", "ping", nil, nil, 200, "Ok.\n"},
		{"other path", "play", nil, nil, 404, "serves / and /ping"},
		{"rows inline", "", strings.NewReader("INSERT INTO t FORMAT TSV\n" + many), nil, 200, ""},
		{"rows behind the URL's statement", "?query=INSERT+INTO+t+FORMAT+TSV", strings.NewReader("1\ta\n2\tb\n"), nil, 200, ""},
		{"statement continued in the body", "?query=INSERT+INTO+t", strings.NewReader("FORMAT TSV\n3\tc\n"), nil, 200, ""},
		{"gzip", "?query=INSERT+INTO+t+FORMAT+TSV", gzipped("4\td\n"), http.Header{"Content-Encoding": {"gzip"}}, 200, ""},
		{"long VALUES", "", strings.NewReader("INSERT INTO t VALUES " + strings.Repeat("(8, 'eight'),", 20_000) + "(8, 'eight')"), nil, 200, ""},
		{"what came in", "", strings.NewReader("SELECT a, count() FROM t GROUP BY a ORDER BY a"), nil, 200, "1\t1\n2\t1\n3\t1\n4\t1\n7\t50000\n8\t20001\n"},
		{"parameter", "?param_x=a%27b", strings.NewReader("SELECT {x:String}"), nil, 200, "a\\'b\n"},
		{"parameter of an insert", "?param_t=t&query=INSERT+INTO+%7Bt:Identifier%7D+FORMAT+TSV", strings.NewReader("5\te\n"), nil, 200, ""},
		{"format", "?default_format=JSONEachRow", strings.NewReader("SELECT 1 AS x"), nil, 200, "{\"x\":1}\n"},
		{"bad gzip", "", strings.NewReader("SELECT 1"), http.Header{"Content-Encoding": {"gzip"}}, 400, "Code: 33."},
		{"unknown encoding", "", strings.NewReader("SELECT 1"), http.Header{"Content-Encoding": {"zip"}}, 400, "Code: 381."},
		{"session", "?session_id=x", strings.NewReader("SELECT 1"), nil, 501, "sessions are not supported"},
		{"external tables", "", strings.NewReader(""), http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, 501, "external tables are not supported"},
		{"unknown setting", "?no_such_setting=1", strings.NewReader("SELECT 1"), nil, 400, "Code: 115."},
		{"no setting's name", "?a%20b=1", strings.NewReader("SELECT 1"), nil, 400, "Code: 115."},
		{"setting that would end the statement", "?max_threads=1%27,readonly=%270", strings.NewReader("SELECT 1"), nil, 400, "Code: 27."},
		{"long query", "", strings.NewReader("SELECT '" + strings.Repeat("x", 17<<20) + "'"), nil, 413, "Code: 307."},
		{"empty query", "", strings.NewReader(""), nil, 200, ""},
		{"broken rows", "?query=INSERT+INTO+t+FORMAT+Native", strings.NewReader("\x02\xff\xff nonsense"), nil, 400, "Code: 33."},
		{"memory limit", "?max_memory_usage=1000000", strings.NewReader("SELECT groupArray(toString(number)) FROM numbers(1000000)"), nil, 500, "Code: 241."},
	} {
		t.Run(f.name, func(t *testing.T) {
			status, text, header := post(t, socket, f.query, f.body, f.header)
			if status != f.status || f.status == 200 && text != f.want || !strings.Contains(text, f.want) {
				t.Errorf("got %d %.300q, want %d %q", status, text, f.status, f.want)
			}
			if strings.HasPrefix(text, "Code: ") && header.Get("X-Clickhouse-Exception-Code") == "" {
				t.Errorf("no code in the header of %q", text)
			}
		})
	}
}

// TestCutOffInsert loses the client in the middle of its rows.
func TestCutOffInsert(t *testing.T) {
	socket := testenv.Engine(t)
	conn := dial(t, socket, nil)
	exec(t, conn, "CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Repeat("1\n", 100_000)
	fmt.Fprintf(c, "POST /?query=INSERT+INTO+t+FORMAT+TSV HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(rows), rows)
	waitFor(t, "insert to run", func() bool {
		return number(t, conn, "SELECT count() FROM system.processes WHERE query_kind = 'Insert'") == 1
	})
	c.Close()
	waitFor(t, "insert to end", func() bool {
		return number(t, conn, "SELECT count() FROM system.processes WHERE query_kind = 'Insert'") == 0
	})
	if n := number(t, conn, "SELECT count() FROM t"); n != 0 {
		t.Errorf("half an insert stored %d rows", n)
	}
}

// TestTooManyQueries fills the only slot, with nowhere to wait.
func TestTooManyQueries(t *testing.T) {
	config := testenv.EngineConfig(t)
	config.Server.MaxQueries, config.Server.MaxWaiting = 1, 0
	testenv.Supervise(t, config)
	c, err := net.Dial("unix", config.Server.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const endless = "SELECT number FROM numbers(1000000000000)"
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(endless), endless)
	if _, err := c.Read(make([]byte, 12)); err != nil { // it answers, so it holds the slot
		t.Fatal(err)
	}
	query := func() int {
		status, text, _ := post(t, config.Server.Socket, "", strings.NewReader("SELECT 1"), nil)
		if status != 200 && (status != 503 || !strings.HasPrefix(text, "Code: 202.")) {
			t.Fatalf("got %d %q", status, text)
		}
		return status
	}
	if got := query(); got != 503 {
		t.Errorf("query beside the only slot: status %d, want 503", got)
	}
	c.Close()
	waitFor(t, "free slot", func() bool { return query() == 200 })
}
