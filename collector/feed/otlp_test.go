package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// otlpReceiver takes log records over HTTP and gRPC, with the official messages.
type otlpReceiver struct {
	mu   sync.Mutex
	got  []string
	last *logs.LogRecord
	n    atomic.Int64
}

func (o *otlpReceiver) take(d *logs.LogsData) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range d.ResourceLogs {
		for _, s := range r.ScopeLogs {
			for _, l := range s.LogRecords {
				var doc struct {
					UID     string
					Finding struct{ Count uint64 }
				}
				_ = json.Unmarshal([]byte(l.Body.GetStringValue()), &doc)
				o.got = append(o.got, fmt.Sprintf("%s %d", doc.UID, doc.Finding.Count))
				o.last = l
			}
		}
	}
}

func (o *otlpReceiver) list() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.got...)
}

// Export is the service's only method.
func (o *otlpReceiver) export(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	d := &logs.LogsData{}
	if err := decode(d); err != nil {
		return nil, err
	}
	if o.n.Add(1)%3 == 1 {
		return nil, status.Error(codes.Unavailable, "not now")
	}
	o.take(d)
	return &emptypb.Empty{}, nil
}

func TestOTLPOverGRPC(t *testing.T) {
	o := &otlpReceiver{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "opentelemetry.proto.collector.logs.v1.LogsService", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: o.export}}}, o)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	b := newBus(t)
	findings := burst(t, 1000, 20)
	b.start(nil, map[string]any{"name": "otel", "transport": "otlp", "protocol": "grpc", "url": "http://" + l.Addr().String(), "format": "json", "from": "all", "batch": map[string]any{"size": 100}})
	b.publish(findings...)
	await(t, "all to arrive", func() bool { return complete(o.list(), findings) })
	checkOrder(t, o.list(), findings)
	o.mu.Lock()
	defer o.mu.Unlock()
	attributes := map[string]string{}
	for _, a := range o.last.Attributes {
		attributes[a.Key] = a.Value.GetStringValue()
	}
	if o.last.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_ERROR || o.last.SeverityText != "high" || o.last.EventName != "ambit.new-reach" || attributes["ambit.owasp"] != "NHI5:2025,NHI8:2025" || attributes["ambit.uid"] == "" || o.last.TimeUnixNano != uint64(noon.UnixNano()) {
		t.Errorf("got %+v", o.last)
	}
}

func TestOTLPOverHTTP(t *testing.T) {
	o := &otlpReceiver{}
	var reject atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		d := &logs.LogsData{}
		if err != nil || r.URL.Path != "/v1/logs" || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, d) != nil {
			t.Errorf("%v: %s %s", err, r.URL, r.Header)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		if reject.Load() { // partial_success: 1 rejected, "full"
			inner := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
			inner = protowire.AppendString(protowire.AppendTag(inner, 2, protowire.BytesType), "full")
			_, _ = w.Write(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner))
			return
		}
		o.take(d)
	}))
	t.Cleanup(server.Close)
	b := newBus(t)
	findings := burst(t, 300, 20)
	feeds := b.start(nil, map[string]any{"name": "otel", "transport": "otlp", "url": server.URL, "format": "json", "from": "all"})
	b.publish(findings...)
	await(t, "all to arrive", func() bool { return complete(o.list(), findings) })
	checkOrder(t, o.list(), findings)
	reject.Store(true)
	answer, err := feeds.Test(t.Context(), "otel")
	if err != nil || answer.Taken || answer.Error != "the receiver rejects 1 of 1 log records: full" {
		t.Errorf("got %+v, %v", answer, err)
	}
}

func FuzzReadExported(f *testing.F) {
	f.Add([]byte{10, 2, 8, 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := readExported(data); err != nil && err != errAnswer {
			t.Fatal(err)
		}
	})
}
