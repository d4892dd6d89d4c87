package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded is a NATS server in this process. It opens no port: its clients are in this process too, and find it again after a restart. It is
// safe for concurrent use.
type embedded struct {
	cfg BusConfig

	mu     sync.Mutex
	server *server.Server // nil while it is restarted and after the end
	log    *serverLog     // of the last one that was started
}

// startWait is how long a start may take: restoring a large stream reads all of it.
const startWait = 30 * time.Second

// start starts the server.
//
// A message is acknowledged after it is on the disk, so it outlives a power cut too. Above all that goes for the insert journal: were a plan
// lost whose rows are in the store, they would be inserted again under another token. A sync for each message leaves some 1,000 messages a
// second on a virtual disk (50,000 without), far more than one machine's agent sends, and takes a quarter of a millisecond at best.
func (e *embedded) start(ctx context.Context) error {
	s, err := server.NewServer(&server.Options{
		ServerName:         "ambit",
		DontListen:         true,
		JetStream:          true,
		StoreDir:           e.cfg.Dir,
		SyncAlways:         true,
		JetStreamMaxMemory: 64 << 20,
		JetStreamMaxStore:  e.cfg.MaxBytes + smallBytes + 64<<20,
		NoSigs:             true,
	})
	if err != nil {
		return fmt.Errorf("configure the embedded NATS server: %w", err)
	}
	log := newServerLog(e.cfg.Logger)
	s.SetLogger(log, false, false)
	s.Start()
	wait := startWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	if !s.ReadyForConnections(wait) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return fmt.Errorf("start the embedded NATS server in %s: %s", e.cfg.Dir, log.reason())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server, e.log = s, log
	return nil
}

// stop stops the server.
func (e *embedded) stop() {
	e.mu.Lock()
	s := e.server
	e.server = nil
	e.mu.Unlock()
	if s != nil { // without the mutex: the server logs while it stops
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// errNoServer is temporary, but for the end.
var errNoServer = errors.New("the embedded NATS server is not running")

// InProcessConn implements [nats.InProcessConnProvider]: clients that lost their server come here again.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	s := e.server
	e.mu.Unlock()
	if s == nil {
		return nil, errNoServer
	}
	return s.InProcessConn()
}

// ready says why messages are not taken, nil if they are.
func (e *embedded) ready() error {
	e.mu.Lock()
	s, log := e.server, e.log
	e.mu.Unlock()
	if s == nil {
		return errNoServer
	}
	if cause := log.fault(); cause != "" {
		return fmt.Errorf("the stream takes no messages, since files in %s cannot be written: %s; when there is space again, it goes on by itself", e.cfg.Dir, cause)
	}
	return nil
}

// run restarts the server when it could not write a file, because then it refuses all that should go into that file until it is restarted.
// What it acknowledged before is in its files. It returns when ctx ends, or when the server cannot be started again.
func (e *embedded) run(ctx context.Context) error {
	var wait retry
	for last := time.Now(); ; last = time.Now() {
		e.mu.Lock()
		log := e.log
		e.mu.Unlock()
		select {
		case <-log.broken:
		case <-ctx.Done():
			return nil
		}
		if time.Since(last) > time.Minute {
			wait = retry{}
		}
		e.cfg.Logger.Error("the stream takes no messages until there is space again", "folder", e.cfg.Dir, "error", log.fault())
		for again := true; again; again = e.tryFolder() != nil {
			if !wait.sleep(ctx) {
				return nil
			}
		}
		e.stop()
		if err := e.start(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		e.cfg.Logger.Warn("the stream takes messages again", "folder", e.cfg.Dir)
	}
}

// room is what must fit on the disk before a restart is of use: a block of messages, and the server's notes of its state.
const room = 16 << 20

// tryFolder writes so much into the folder, and removes it.
func (e *embedded) tryFolder() (err error) {
	f, err := os.CreateTemp(e.cfg.Dir, ".room-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, 1<<20)
	for range room / len(block) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return f.Sync()
}
