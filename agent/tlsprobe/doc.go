// Package tlsprobe finds the files on a node that have TLS code, and where in them the kernel is to look: OpenSSL as a library or inside a program, and
// Go programs.
//
// A [Finder] learns of executable mappings from the kernel's news and, where those are missing, by looking through proc. It opens a file by the mapping,
// judges it once (openssl.go, gotarget.go), and has it probed for all processes, those in containers included: the kernel's probes belong to a file, not
// to a process. What nobody uses any more is left alone again.
//
// Everything that is read was written by somebody else, and may be made to mislead: readers hold little, end soon, and wait for nobody.
package tlsprobe
