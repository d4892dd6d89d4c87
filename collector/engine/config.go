package engine

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"
)

// ServerConfig says where and how large the engine runs.
type ServerConfig struct {
	Data         string // folder of the engine's files; made 0700 if absent; one process at a time
	Socket       string // path of the unix socket, at most 107 bytes, in a folder only its owner may enter
	Library      string // path of libchdb.so; empty: Find
	ConfigFile   string // ClickHouse's own configuration, for what is not here; empty: none
	MemoryMiB    int    // queries that would take the engine beyond are refused
	MarkCacheMiB int    // memory for the marks of table parts
	MaxQueries   int    // queries that run at once
	MaxWaiting   int    // queries that wait for a slot; more are refused

	StopTimeout time.Duration // how long running queries may go on after Run is told to end

	// Parent, if set, is read until its end, and then Run ends: the read side
	// of a pipe whose write side a parent process holds, so that the engine
	// outlives its parent in no case. A pipe and not PR_SET_PDEATHSIG, because
	// that signal comes when the *thread* that started the child ends, which
	// the Go runtime decides. Run closes it.
	Parent io.ReadCloser

	Log *slog.Logger // nil: slog.Default()
}

// DefaultServerConfig suits one machine that Ambit shares with others.
func DefaultServerConfig() ServerConfig {
	return ServerConfig{
		MemoryMiB:    2048,
		MarkCacheMiB: 64,
		MaxQueries:   16,
		MaxWaiting:   240,
		StopTimeout:  20 * time.Second,
	}
}

// Validate reports all that is wrong with the configuration.
func (c *ServerConfig) Validate() error {
	var errs []error
	if c.Data == "" {
		errs = append(errs, errors.New("no data folder: set --data"))
	}
	if c.Socket == "" {
		errs = append(errs, errors.New("no socket: set --socket"))
	} else if path, err := filepath.Abs(c.Socket); err == nil && len(path) > maxSocketPath {
		errs = append(errs, fmt.Errorf("socket path %s is %d bytes long and unix sockets allow %d: choose a shorter one", path, len(path), maxSocketPath))
	}
	for _, n := range []struct {
		name         string
		value, least int
	}{{"memory", c.MemoryMiB, 256}, {"mark-cache", c.MarkCacheMiB, 1}, {"max-queries", c.MaxQueries, 1}, {"max-waiting", c.MaxWaiting, 0}} {
		if n.value < n.least {
			errs = append(errs, fmt.Errorf("--%s is %d and must be at least %d", n.name, n.value, n.least))
		}
	}
	if c.StopTimeout <= 0 {
		errs = append(errs, fmt.Errorf("--stop-timeout is %v and must be more than 0", c.StopTimeout))
	}
	return errors.Join(errs...)
}

// Flags adds the flags of `ambit clickhouse` to set; parsing them fills c.
func (c *ServerConfig) Flags(set *flag.FlagSet) {
	set.StringVar(&c.Data, "data", c.Data, "folder of the engine's files")
	set.StringVar(&c.Socket, "socket", c.Socket, "unix socket to serve ClickHouse's HTTP interface on")
	set.StringVar(&c.Library, "library", c.Library, "path of libchdb.so (default: beside ambit, or in .cache)")
	set.StringVar(&c.ConfigFile, "config-file", c.ConfigFile, "ClickHouse configuration (XML or YAML) for what no flag sets, such as remote_servers")
	set.IntVar(&c.MemoryMiB, "memory", c.MemoryMiB, "memory limit of the engine in MiB")
	set.IntVar(&c.MarkCacheMiB, "mark-cache", c.MarkCacheMiB, "memory for the marks of table parts in MiB")
	set.IntVar(&c.MaxQueries, "max-queries", c.MaxQueries, "queries that run at once")
	set.IntVar(&c.MaxWaiting, "max-waiting", c.MaxWaiting, "queries that may wait to run")
	set.DurationVar(&c.StopTimeout, "stop-timeout", c.StopTimeout, "how long running queries may go on when the engine stops")
}

// arguments are the flags that give this configuration.
func (c *ServerConfig) arguments() []string {
	args := []string{
		"--data=" + c.Data,
		"--socket=" + c.Socket,
		"--memory=" + strconv.Itoa(c.MemoryMiB),
		"--mark-cache=" + strconv.Itoa(c.MarkCacheMiB),
		"--max-queries=" + strconv.Itoa(c.MaxQueries),
		"--max-waiting=" + strconv.Itoa(c.MaxWaiting),
		"--stop-timeout=" + c.StopTimeout.String(),
	}
	if c.Library != "" {
		args = append(args, "--library="+c.Library)
	}
	if c.ConfigFile != "" {
		args = append(args, "--config-file="+c.ConfigFile)
	}
	return args
}

// engineArgs are what the library takes at its first connection. All times
// are UTC, whatever the machine's zone is.
func (c *ServerConfig) engineArgs() []string {
	args := []string{
		"--path=" + c.Data,
		"--timezone=UTC",
		fmt.Sprintf("--max_server_memory_usage=%d", c.MemoryMiB<<20),
		fmt.Sprintf("--mark_cache_size=%d", c.MarkCacheMiB<<20),
		"--uncompressed_cache_size=0",
	}
	if c.ConfigFile != "" {
		args = append(args, "--config-file="+c.ConfigFile)
	}
	return args
}
