//go:build !noengine

package engine

import (
	"fmt"

	"github.com/ebitengine/purego"
)

// errNoEngine is nil where this build can load the library.
var errNoEngine error

// load opens the library at path. It is never unloaded.
func load(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load ClickHouse library %s: %w", path, err)
	}
	l := &library{}
	for _, f := range []struct {
		name string
		into any
	}{
		{"chdb_connect", &l.connect},
		{"chdb_close_conn", &l.close},
		{"chdb_query_with_params_n", &l.query},
		{"chdb_stream_query_with_params_n", &l.stream},
		{"chdb_stream_fetch_result", &l.streamFetch},
		{"chdb_stream_cancel_query", &l.streamStop},
		{"chdb_stream_insert_with_params_n", &l.insert},
		{"chdb_stream_append", &l.insertAppend},
		{"chdb_stream_done", &l.insertDone},
		{"chdb_stream_insert_error", &l.insertError},
		{"chdb_destroy_insert_stream", &l.insertFree},
		{"chdb_destroy_query_result", &l.resultFree},
		{"chdb_result_buffer", &l.resultBuffer},
		{"chdb_result_length", &l.resultLength},
		{"chdb_result_error", &l.resultError},
		{"chdb_result_elapsed", &l.resultElapsed},
		{"chdb_result_storage_rows_read", &l.readRows},
		{"chdb_result_storage_bytes_read", &l.readBytes},
		{"chdb_result_rows_written", &l.writtenRows},
		{"chdb_result_bytes_written", &l.writtenBytes},
		{"chdb_set_signal_handlers_enabled", &l.setSignalHandlers},
	} {
		symbol, err := purego.Dlsym(handle, f.name)
		if err != nil {
			return nil, fmt.Errorf("load ClickHouse library %s: no function %s; run `make engine` for the version Ambit needs", path, f.name)
		}
		purego.RegisterFunc(f.into, symbol)
	}
	symbol, err := purego.Dlsym(purego.RTLD_DEFAULT, "sigaction")
	if err != nil {
		return nil, fmt.Errorf("find sigaction: %w", err)
	}
	purego.RegisterFunc(&l.sigaction, symbol)
	l.keepSignals(func() { l.setSignalHandlers(0) })
	return l, nil
}
