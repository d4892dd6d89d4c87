//go:build noengine

package engine

import "errors"

// errNoEngine says that this build leaves the embedded engine out: it is linked statically, for images without a C library and for machines that
// the engine does not run on.
var errNoEngine = errors.New("this build of ambit has no embedded ClickHouse: name servers in clickhouse.addresses, or use the build with the engine")

func load(string) (*library, error) { return nil, errNoEngine }
