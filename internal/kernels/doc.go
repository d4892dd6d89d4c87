// Command kernels runs the live kernel tests of bpf/ and agent/ on the kernels that people run: each in a virtual machine of its own, in software,
// so that it works wherever Go, apt and dpkg do, without root.
//
// Kernels, QEMU and busybox are Debian's packages, fetched by a private apt below .cache/kernels: the system's own sources are read, to learn which
// mirror to ask, and never changed. A test must pass on every kernel, or skip in the words
//
//	skip: needs <feature>, Linux >= X.Y
//
// on kernels older than X.Y. What the verifiers say of each program is held against bpf/verifier.txt.
package main
