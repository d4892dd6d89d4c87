/* What crosses to Go of TLS. The Go types are generated from these. */
#pragma once

#define TLS_PAYLOAD 4096 /* of a record at most: certificates are rarely longer than 2 KiB */
#define PEER_CERTIFICATES 4 /* of a chain, the leaf among them: enough to judge it */

enum kind { BOUND = 1, PEER_CERTIFICATE, OWN_CERTIFICATE, SESSION, RANDOM, VERIFIED, ALPN, DONE, FREED, GO_DONE };

/* record.flags */
enum { FLAG_CLIENT = 1, FLAG_RESUMED = 2, FLAG_VERIFIED = 4, FLAG_OK = 8 };

/* A socket's connection, as it was when it was told. */
struct ends {
	__u64 cookie; /* of the socket; 0 while not known */
	__u64 local[2], remote[2]; /* IPv4 as ::ffff:a.b.c.d, network order */
	__u16 local_port, remote_port; /* host order */
	__u32 edge; /* 0 while not known */
};

/* A record begins with this; its payload follows. */
struct record {
	__u64 at; /* monotonic ns */
	__u64 cgroup;
	__u64 connection; /* address in the process */
	struct ends ends;
	__u32 target;
	__u32 tgid;
	__u32 tid;
	__u32 index;  /* of a certificate in its chain */
	__u32 length; /* of the payload before it was cut to TLS_PAYLOAD */
	__u16 version;
	__u8 kind;
	__u8 flags;
};

#define CALLERS 16
struct range {
	__u32 from, to; /* file offsets */
};

/* What programs must know of a target. */
struct target {
	struct range callers[CALLERS]; /* who calls for a handshake's sake; none: anyone */
	__u32 error_at; /* of X509_STORE_CTX; 0 if not known */
};

/* Where Go's structures have their fields, in bytes. */
struct go_layout {
	__u32 conn, is_client, handshake_complete, version, cipher_suite, did_resume, peer_certificates, verified_chains, server_name, client_protocol, sysfd, raw;
};

/* What was lost, by cause. Append only. */
enum loss {
	RING_FULL,       /* a record was dropped */
	CERTIFICATE_CUT, /* a certificate was longer than TLS_PAYLOAD */
	FAULT,           /* memory of a program could not be read */
	WINDOW_LOST,     /* too many handshakes within one another */
	CONNECTION_LOST, /* a connection could not be remembered */
	LOSSES,
};

/* No map holds these. */
const struct record *_record __attribute__((unused));
const enum loss *_loss __attribute__((unused));
const enum kind *_kind __attribute__((unused));
