package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// killTimeout is how long queries may take to end after they were killed.
const killTimeout = 5 * time.Second

// Server serves the engine on a unix socket. A process can run one, once,
// because the library holds one data folder for the life of its process.
type Server struct {
	config  ServerConfig
	log     *slog.Logger
	library *library
	hello   hello

	slots    chan struct{} // one element per running query
	waiting  atomic.Int64  // queries that run or wait
	sequence atomic.Uint64

	controlLock sync.Mutex
	control     *conn // keeps the engine open, and kills queries
}

// NewServer returns a server; it starts nothing.
func NewServer(config ServerConfig) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure clickhouse: %w", err)
	}
	s := &Server{config: config, log: config.Log, slots: make(chan struct{}, config.MaxQueries)}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s, nil
}

// Run opens the data folder and serves until ctx ends or the parent goes. Then
// it takes no more queries, lets running ones end for StopTimeout, kills the
// rest and closes the engine. What was acknowledged is on disk by then anyway.
func (s *Server) Run(ctx context.Context) error {
	dir, err := filepath.Abs(s.config.Data)
	if err != nil {
		return fmt.Errorf("find data folder: %w", err)
	}
	s.config.Data = dir
	lock, err := lockFolder(ctx, dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := s.openEngine(); err != nil {
		return err
	}
	listener, err := listenPrivate(s.config.Socket)
	if err != nil {
		s.control.close()
		return err
	}
	s.log.Info("clickhouse ready", "version", s.hello.version, "data", dir, "socket", s.config.Socket)
	err = s.serveUntil(ctx, listener)
	if len(s.slots) > 0 {
		// Closing the engine under a running query would crash.
		return errors.Join(err, fmt.Errorf("stop clickhouse: %d queries did not end in %v", len(s.slots), s.config.StopTimeout+killTimeout))
	}
	s.control.close()
	return err
}

func (s *Server) openEngine() error {
	path, err := Find(s.config.Library)
	if err != nil {
		return err
	}
	taken, err := repairDeduplication(s.config.Data)
	if err != nil {
		return err
	}
	if taken > 0 {
		s.log.Info("took back deduplication entries of inserts that a crash cut off", "entries", taken)
	}
	if s.library, err = load(path); err != nil {
		return err
	}
	if s.control, err = s.library.open(s.config.engineArgs()); err != nil {
		return fmt.Errorf("open data folder %s: %w; it may belong to a newer version, or be damaged", s.config.Data, err)
	}
	if s.hello, err = ask(s.control); err != nil {
		s.control.close()
		return fmt.Errorf("query engine: %w", err)
	}
	return nil
}

func (s *Server) serveUntil(ctx context.Context, listener net.Listener) error {
	queries, kill := context.WithCancel(context.Background())
	defer kill()
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: stallLimit,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return queries },
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	var g errgroup.Group
	if parent := s.config.Parent; parent != nil {
		defer context.AfterFunc(ctx, func() { parent.Close() })()
		g.Go(func() error {
			defer end()
			_, err := io.Copy(io.Discard, parent)
			if ctx.Err() == nil {
				s.log.Info("parent process is gone", "error", err)
			}
			return nil
		})
	}
	g.Go(func() error {
		defer end()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve clickhouse: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), s.config.StopTimeout)
		defer cancel()
		if server.Shutdown(grace) == nil {
			return nil
		}
		s.log.Warn("kill queries that still run", "queries", len(s.slots))
		kill()
		last, cancel := context.WithTimeout(context.Background(), killTimeout)
		defer cancel()
		if server.Shutdown(last) != nil {
			server.Close()
		}
		return nil
	})
	return g.Wait()
}
