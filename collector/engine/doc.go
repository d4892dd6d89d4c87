// Package engine runs ClickHouse inside Ambit, so that one machine needs no
// database beside it.
//
// The engine is libchdb, ClickHouse as a shared library. It lives in a process
// of its own, `ambit clickhouse`, for three reasons: it may be killed or run
// out of memory without taking the collector along, its memory is counted
// apart, and a collector that crashes cannot tear a merge in two.
//
//	ambit up ── Supervisor ──stdin, stderr──► ambit clickhouse ── Server ── libchdb
//	    └────── clickhouse-go ───unix socket, HTTP────────────────┘
//
// Server answers the part of ClickHouse's HTTP interface that clickhouse-go
// uses, so the client code is the same for the embedded engine and for a
// cluster: Protocol HTTP and a DialContext that dials the unix socket. There
// are no users and no passwords; whoever can open the socket owns the data,
// therefore the socket is 0600 in a folder that only its owner may enter.
//
// Differences from a ClickHouse server that a client can notice: no native
// protocol, no sessions (every request has settings of its own), no external
// tables, asynchronous inserts run at once, and no query log. SQL may read any
// file that this process can read, so text written by users must run with the
// setting readonly=1.
package engine
