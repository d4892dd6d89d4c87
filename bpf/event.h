/* What crosses to Go. The Go types are generated from these by way of the maps that hold them. */
#pragma once

/* edge_key.flags. What was turned to an address is not what was asked for there: two edges. */
enum { EDGE_INBOUND = 1, EDGE_IPV6 = 2, EDGE_OVERFLOW = 4, EDGE_TURNED = 8 };

/* What an edge is: the identity of the unit of counting. */
struct edge_key {
	__u64 cgroup;     /* of the socket, not of the current task */
	__u64 executable; /* outbound only: file, user and terminal in one number; 0 if unknown */
	__u64 address[2]; /* of the peer, IPv4 as ::ffff:a.b.c.d, network order */
	__u16 port;       /* of the service, host order: the peer's for outbound, our own for inbound */
	__u8 protocol;    /* IPPROTO_* */
	__u8 flags;
	__u32 unused;
};

/* What happened on an edge. One cache line; counters only grow while the edge lives. */
struct edge {
	__u64 opened;     /* tried or accepted since the edge was made */
	__u64 inherited;  /* found open by the inventory */
	__u64 failed;
	__u64 closed;
	__u64 sent;       /* payload bytes */
	__u64 received;
	__u64 last;       /* monotonic ns, as of the agent's last tick */
	__u32 error;      /* errno of the last failed connect */
	__u32 number;     /* the edge's own number: generation << 16 | index */
};

/* Who runs: a process, by its executable file. */
struct process {
	__u64 file;       /* number of the executable file, key of executables; 0 if unknown */
	__u64 inode;
	__u32 device;     /* kernel's dev_t: major << 20 | minor */
	__u32 uid;
	__u32 tgid;
	__u32 interactive; /* a terminal is attached */
};

/* Who made an edge, and when: beside the counters so that they stay in one line. */
struct origin {
	struct edge_key key;
	struct process process; /* for inbound, who listens */
	__u64 first;            /* monotonic ns */
	__u32 number;           /* as edge.number; 0 while the slot was never used */
	/* Two that may come later in the edge's life, ports in host order, 0 while not known; read the port before the address. */
	__u16 dialled_port;     /* what the program asked for, where another program turned it elsewhere */
	__u16 local_port;       /* of the first established outbound TCP connection, toward service_ranges only */
	__u64 dialled[2];
	__u64 local[2];
};

/* What a task asks for, until its socket says where it went. */
struct asked {
	__u64 check; /* of the socket and all that follows: two that meet here are told */
	__u64 address[2];
	__u64 port;
	struct process process; /* TCP */
};

/* The name of an executable file, from exec. */
struct executable {
	__u64 inode;
	__u32 device;
	__u32 unused;
	char path[240]; /* as it was executed: may be relative, or a symbolic link */
};

struct cgroup_name {
	char path[512]; /* below the cgroup root; "/a/b" */
};

/* Where connections are waited for. */
struct listener {
	__u64 cgroup;
	__u16 port;
	__u16 protocol;
	__u32 unused;
};

/* The peer that a UDP socket last spoke to of its own accord, by the socket's cookie. */
struct flow {
	struct edge_key key;
	struct process process;
	__u32 number; /* of the edge; NO_EDGE until a datagram was sent */
	__u32 connected;
};

#define NO_EDGE 0xffffffff

/* A DNS answer as it was received: a datagram, or a part of a TCP segment. */
#define DNS_HEADER 12     /* a shorter datagram is no answer */
#define ANSWER_BYTES 1232 /* the size that resolvers agree on since the DNS flag day of 2020 */
#define SEGMENT_PARTS 4   /* records for one TCP segment, at most */
struct answer {
	__u64 cgroup;
	__u64 flow;      /* the socket's cookie */
	__u32 sequence;  /* of the first byte in the stream, which begins with 0; TCP only */
	__u16 length;    /* of the payload, before it was cut to ANSWER_BYTES */
	__u16 tcp;
	__u8 payload[ANSWER_BYTES];
};

/* Bytes of a TLS hello as they stand in a TCP segment. */
#define HELLO_BYTES 2048 /* a post-quantum hello is as long */
#define HELLO_SHORT 576  /* other hellos */
#define HELLO_TINY 64    /* of who writes them bit by bit */
struct hello_origin {
	__u64 at;        /* monotonic ns */
	__u64 cookie;    /* of the socket */
	__u64 cgroup;
	__u32 edge;      /* number; 0 while not known */
	__u32 tgid;      /* who sends; 0 if unknown */
	__u32 sequence;  /* of the first byte, as TCP counts */
	__u32 out;
	__u64 local[2], remote[2]; /* of the socket; IPv4 as ::ffff:a.b.c.d, network order */
	__u16 local_port, remote_port; /* host order; 0 while not known */
	__u32 unused;
};

struct hello {
	struct hello_origin origin;
	__u32 length;    /* of the payload */
	__u8 payload[HELLO_BYTES]; /* or one of the others */
};

struct running {
	__u64 file;
	__u64 inode;
	__u32 device;
	__u32 tgid;
};

/* An open TCP socket, as the inventory finds it. */
struct open_socket {
	__u64 socket; /* the same for all who share it */
	__u32 number; /* of its edge */
	__u32 unused;
};

/* What was lost or could not be told, by cause. Append only. */
enum counter {
	EDGES_FULL,        /* a new edge found no free slot */
	EDGE_RING_FULL,    /* a new edge was not announced; the next scan finds it */
	EDGE_QUOTA,        /* connections counted on their cgroup's overflow edge */
	TAG_OVERFLOW,      /* a socket could not be tagged */
	TAG_LOST,          /* a connection ended without tag: older than us, or lost */
	TAG_STALE,         /* a connection ended after its edge was given away */
	ANSWER_RING_FULL,  /* a DNS answer was dropped */
	ANSWER_CUT,        /* a DNS answer, or a TCP segment of one, was longer than is kept */
	CGROUP_UNKNOWN,    /* a socket without cgroup */
	UDP_FLOW_FULL,     /* a UDP socket could not be remembered */
	HELLO_RING_FULL,   /* a part of a TLS hello was dropped */
	HELLO_CUT,         /* a TLS hello was longer than is told, or came out of order */
	HELLO_EARLY,       /* a TLS hello came before its socket was there */
	COUNTERS,
};

/* No map holds these: named here, or the object would not carry them to where the Go types are made. */
const struct running *_running __attribute__((unused));
const struct open_socket *_open_socket __attribute__((unused));
const enum counter *_counter __attribute__((unused));
