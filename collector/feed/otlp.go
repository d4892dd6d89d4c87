package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	about "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// otlpMethod is the export of logs over gRPC. Its request is, byte for byte, LogsData: the official module has the service's own types in a package
// that needs a gateway besides.
const otlpMethod = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

// otlp exports log records over OTLP, by HTTP or gRPC. The body is the document, the attributes what one filters by.
type otlp struct {
	o     *opening
	post  *webhook         // by HTTP
	conn  *grpc.ClientConn // by gRPC
	token string
}

func checkOTLP(c *Config) error {
	if c.Protocol != "http" && c.Protocol != "grpc" {
		return errors.New("protocol is not one of http, grpc")
	}
	if c.URL == "" {
		return errors.New("url is missing, such as https://otel.example.com:4318")
	}
	return c.checkURL(c.URL, "url", "https", "http")
}

func openOTLP(o *opening) (sender, error) {
	s := &otlp{o: o}
	if o.Protocol == "http" {
		path := "/v1/logs"
		if strings.HasSuffix(strings.TrimSuffix(o.URL, "/"), path) {
			path = ""
		}
		var err error
		s.post, err = newWebhook(o, path)
		return s, err
	}
	var err error
	if s.token, err = o.secret(o.Token); err != nil {
		return nil, err
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("url cannot be read")
	}
	security := insecure.NewCredentials()
	if u.Scheme == "https" {
		config, err := o.TLS.config()
		if err != nil {
			return nil, err
		}
		security = credentials.NewTLS(config)
	}
	if s.conn, err = grpc.NewClient("passthrough:///"+u.Host, grpc.WithTransportCredentials(security)); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return s, nil
}

func (s *otlp) close() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.post != nil {
		s.post.close()
	}
}

func (s *otlp) send(ctx context.Context, docs []Document) (receipt, error) {
	request, err := proto.Marshal(otlpData(s.o.making, s.o.Format, docs))
	if err != nil {
		return receipt{}, refusedForGood("encode log records: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	var answer exported
	if s.post != nil {
		answer, err = s.overHTTP(ctx, request)
	} else {
		answer, err = s.overGRPC(ctx, request)
	}
	if err != nil {
		return receipt{}, err
	}
	// Of a part that was rejected nobody says which one it is, so that all is sent again, in smaller parts.
	if answer.rejected > 0 {
		return receipt{}, refusedForGood("the receiver rejects %d of %d log records: %s", answer.rejected, len(docs), answer.message)
	}
	return receipt{len(docs), strings.TrimSpace(fmt.Sprintf("%d log records were accepted %s", len(docs), answer.message))}, nil
}

// exported is what a receiver says of an export, the partial_success of its answer.
type exported struct {
	rejected uint64
	message  string
}

var errAnswer = errors.New("the answer is not one of OTLP")

// readExported reads an ExportLogsServiceResponse: field 1 holds rejected_log_records (1) and error_message (2).
func readExported(data []byte) (exported, error) {
	var e exported
	fields := func(data []byte, visit func(n protowire.Number, kind protowire.Type, value []byte) error) error {
		for len(data) > 0 {
			n, kind, tag := protowire.ConsumeTag(data)
			if tag < 0 {
				return errAnswer
			}
			size := protowire.ConsumeFieldValue(n, kind, data[tag:])
			if size < 0 {
				return errAnswer
			}
			if err := visit(n, kind, data[tag:tag+size]); err != nil {
				return err
			}
			data = data[tag+size:]
		}
		return nil
	}
	err := fields(data, func(n protowire.Number, kind protowire.Type, value []byte) error {
		if n != 1 || kind != protowire.BytesType {
			return nil
		}
		inner, _ := protowire.ConsumeBytes(value)
		return fields(inner, func(n protowire.Number, kind protowire.Type, value []byte) error {
			switch {
			case n == 1 && kind == protowire.VarintType:
				e.rejected, _ = protowire.ConsumeVarint(value)
			case n == 2 && kind == protowire.BytesType:
				text, _ := protowire.ConsumeBytes(value)
				e.message = oneLine(string(text)) // what is shown of it is cut behind the secrets
			}
			return nil
		})
	})
	return e, err
}

// rawCodec has gRPC carry bytes that are protobuf already.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("encode %T: it is not bytes", v)
	}
	return *b, nil
}

func (rawCodec) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("decode %T: it is not bytes", v)
	}
	*b = append((*b)[:0], data...)
	return nil
}

func (s *otlp) overHTTP(ctx context.Context, body []byte) (exported, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.post.url+s.post.path, bytes.NewReader(body))
	if err != nil {
		return exported{}, errors.New("make a request: the URL cannot be used")
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	if s.post.auth != "" {
		r.Header.Set("Authorization", s.post.auth)
	}
	got, err := s.post.http.Do(r)
	if err != nil {
		return exported{}, withoutURL(err)
	}
	defer got.Body.Close()
	data, err := io.ReadAll(io.LimitReader(got.Body, 1<<20))
	if got.StatusCode != http.StatusOK {
		return exported{}, judge(got, got.Status, time.Now())
	}
	if err != nil {
		return exported{}, fmt.Errorf("read the answer: %w", err)
	}
	if strings.HasPrefix(got.Header.Get("Content-Type"), "application/x-protobuf") {
		return readExported(data)
	}
	return exported{}, nil
}

func (s *otlp) overGRPC(ctx context.Context, body []byte) (exported, error) {
	if s.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.token)
	}
	var answer []byte
	err := s.conn.Invoke(ctx, otlpMethod, &body, &answer, grpc.ForceCodec(rawCodec{}))
	if err == nil {
		return readExported(answer)
	}
	st := status.Convert(err)
	r := &refusal{err: fmt.Errorf("the receiver answers %s: %s", st.Code(), st.Message())}
	r.final = st.Code() == codes.InvalidArgument || st.Code() == codes.OutOfRange
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			r.after = min(info.GetRetryDelay().AsDuration(), maxAfter)
		}
	}
	return exported{}, r
}

func otlpData(m *making, format string, docs []Document) *logs.LogsData {
	records := make([]*logs.LogRecord, len(docs))
	for i := range docs {
		d := &docs[i]
		attributes := []*common.KeyValue{text("ambit.uid", d.UID), text("ambit.rule", d.rule()), text("ambit.activity", string(d.Life)), text("ambit.format", format), text("enduser.id", d.subject())}
		if f := d.Finding; f != nil {
			attributes = append(attributes, text("ambit.status", string(f.Status)), text("k8s.namespace.name", f.Workload.Namespace), text("k8s.pod.name", f.Workload.Pod),
				text("host.name", f.Node), text("ambit.resource", f.Resource.String()), text("ambit.owasp", strings.Join(clipAll(f.OWASP), ",")), text("ambit.attack", strings.Join(clipAll(f.Attack), ",")))
		}
		attributes = append(attributes, text("ambit.owner", d.Owner), text("ambit.test", truth(d.Test)))
		var kept []*common.KeyValue
		for _, a := range attributes {
			if a.Value.GetStringValue() != "" {
				kept = append(kept, a)
			}
		}
		records[i] = &logs.LogRecord{
			TimeUnixNano: uint64(max(d.at().UnixNano(), 0)), ObservedTimeUnixNano: uint64(max(d.Time.UnixNano(), 0)),
			SeverityNumber: logs.SeverityNumber(words(d.severity()).OTLP), SeverityText: string(d.severity()), EventName: "ambit." + d.rule(),
			Body: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: strings.ToValidUTF8(string(d.Body), "?")}}, Attributes: kept,
		}
	}
	service := []*common.KeyValue{text("service.name", "ambit"), text("service.version", m.Version), text("host.name", m.Host)}
	for _, k := range sortedKeys(m.Labels) {
		service = append(service, text(k, m.Labels[k]))
	}
	return &logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{
		Resource:  &about.Resource{Attributes: service},
		ScopeLogs: []*logs.ScopeLogs{{Scope: &common.InstrumentationScope{Name: "github.com/ambit-nhi/ambit/collector/feed", Version: m.Version}, LogRecords: records}},
	}}}
}

func text(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: clip(value)}}}
}
