// Package tlswire reads what TLS says in plain view on the wire: who a client asks for, what both agree on, and the certificates of TLS 1.2 and before.
//
// It takes the parts of segments that the kernel side tells ([bpf.Hello]), puts the two directions of each connection together again, and parses records
// and messages as RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2) and RFC 6066 (server names) lay them out. All of it are foreign bytes: sizes, numbers and times
// are bounded, and what is refused is counted by its cause. There is no I/O here, and no goroutine.
package tlswire
