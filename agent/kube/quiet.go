package kube

import (
	"context"
	"log/slog"
	"sync"

	"k8s.io/klog/v2"
)

// quietClient has the client library, which logs for itself and has one logger for the whole program, log at debug level.
var quietClient = sync.OnceFunc(func() { klog.SetSlogLogger(slog.New(quiet{})) })

// quiet hands on to the default logger as it is when something is logged.
type quiet struct {
	attributes []slog.Attr
}

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return slog.Default().Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if !q.Enabled(ctx, r.Level) { // the library does not ask before it logs errors
		return nil
	}
	r.Level = slog.LevelDebug
	r.AddAttrs(q.attributes...)
	return slog.Default().Handler().Handle(ctx, r)
}

func (q quiet) WithAttrs(attributes []slog.Attr) slog.Handler {
	return quiet{append(q.attributes[:len(q.attributes):len(q.attributes)], attributes...)}
}

func (q quiet) WithGroup(string) slog.Handler { return q }
