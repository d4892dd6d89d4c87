// Package spool keeps messages on disk, in order, from when a stream does not take them until they are settled: taken, or given up. It is bounded
// in bytes and age; the oldest go first, and are told to its owner with their time span before they go.
//
// The folder holds a lock, a state and segments. A segment is called by the position of its first message and by how many observations stand in
// all before it, both as 16 hexadecimal digits, so that what a damaged one held is known from the names around it. It begins with a header of 512
// bytes, then come records: a head of 48 bytes and a body. Head and body have a checksum each, so that a damaged body costs one message, and a
// damaged head the rest of its segment. Checksums are CRC-32C (RFC 3720, appendix B.4), which the logs of LevelDB and etcd use, too. Integers are
// little-endian.
//
//	header of a segment            head of a record                    slot of the state
//	 0  magic "ambspool"            0  CRC-32C of bytes 4 to 47         0  magic "ambstate"
//	 8  version, uint16             4  CRC-32C of the body              8  version, uint16
//	10  length of node, uint16      8  length of the body, uint32      10  length of node, uint16
//	12  0, uint32                  12  length of subject, uint16       12  length of note, uint32
//	16  first From, int64          14  length of id, uint16            16  generation, uint64
//	24  newest Until before it     16  length of boot, uint16          24  position of the first that is not settled
//	32  node                       18  0, uint16                       32  observations before it
//	508 CRC-32C of all before      20  observations, uint32            40  newest Until of what is settled
//	                               24  position, uint64                48  node, then note
//	                               32  From, int64, ns since 1970      4092 CRC-32C of all before
//	                               40  Until, likewise
//	                               48  subject, id, boot, data
//
// The state has two slots, which are written in turn and in place: one of them is whole whenever the machine stops, and a full disk does not
// keep it from being written. Later versions keep the first 12 bytes and the checksum's place, so that this one knows them.
//
// A process that is killed loses nothing that Append has taken: the kernel has it. A machine that loses power loses what was appended since Sync;
// where the state is older than the segments, messages come again, which a stream knows by their ids.
package spool
