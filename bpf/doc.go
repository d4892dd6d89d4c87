// Package bpf is the kernel side: programs that count who reaches what in maps, and the loader that reads them.
//
// The C sources begin at ambit.bpf.c, which lists the hook families in reading order; event.h is what crosses to Go. The object and the Go
// types are generated ("make generate") and committed, so building needs no clang.
//
// A connection is a map lookup and an add. A new edge is announced once, without waking anyone: the reader polls. All else is read from
// memory that both sides share.
package bpf
