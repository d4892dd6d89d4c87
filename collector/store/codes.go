package store

// passing are the codes of what passes by itself, or when the operator of the database does something. They say nothing about the rows of an
// insert: it is worth trying again. A code that is not here is about the rows.
var passing = map[int32]bool{
	// the operator must do something
	16:  true, // NO_SUCH_COLUMN_IN_TABLE
	60:  true, // UNKNOWN_TABLE
	81:  true, // UNKNOWN_DATABASE
	192: true, // UNKNOWN_USER
	193: true, // WRONG_PASSWORD
	194: true, // REQUIRED_PASSWORD
	497: true, // ACCESS_DENIED
	516: true, // AUTHENTICATION_FAILED
	164: true, // READONLY
	201: true, // QUOTA_EXCEEDED
	218: true, // TABLE_IS_DROPPED
	242: true, // TABLE_IS_READ_ONLY
	774: true, // TABLE_IS_PERMANENTLY_READ_ONLY
	305: true, // TABLE_WAS_NOT_DROPPED

	// memory, threads and load
	159: true, // TIMEOUT_EXCEEDED
	160: true, // TOO_SLOW
	173: true, // CANNOT_ALLOCATE_MEMORY
	202: true, // TOO_MANY_SIMULTANEOUS_QUERIES
	203: true, // NO_FREE_CONNECTION
	236: true, // ABORTED
	241: true, // MEMORY_LIMIT_EXCEEDED
	290: true, // LIMIT_EXCEEDED
	364: true, // RECEIVED_ERROR_TOO_MANY_REQUESTS
	394: true, // QUERY_WAS_CANCELLED
	439: true, // CANNOT_SCHEDULE_TASK
	473: true, // DEADLOCK_AVOIDED
	677: true, // THREAD_WAS_CANCELED
	700: true, // USER_SESSION_LIMIT_EXCEEDED
	735: true, // QUERY_WAS_CANCELLED_BY_CLIENT
	745: true, // SERVER_OVERLOADED
	749: true, // TCP_CONNECTION_LIMIT_REACHED
	762: true, // HTTP_CONNECTION_LIMIT_REACHED
	776: true, // RESOURCE_LIMIT_EXCEEDED
	777: true, // MEMORY_RESERVATION_KILLED
	778: true, // MEMORY_RESERVATION_FAILED

	// files and disks
	23:  true, // CANNOT_READ_FROM_ISTREAM
	24:  true, // CANNOT_WRITE_TO_OSTREAM
	71:  true, // CANNOT_WRITE_AFTER_END_OF_BUFFER
	74:  true, // CANNOT_READ_FROM_FILE_DESCRIPTOR
	75:  true, // CANNOT_WRITE_TO_FILE_DESCRIPTOR
	76:  true, // CANNOT_OPEN_FILE
	77:  true, // CANNOT_CLOSE_FILE
	87:  true, // CANNOT_SEEK_THROUGH_FILE
	88:  true, // CANNOT_TRUNCATE_FILE
	172: true, // CANNOT_CREATE_DIRECTORY
	204: true, // CANNOT_FSYNC
	214: true, // CANNOT_STATVFS
	243: true, // NOT_ENOUGH_SPACE
	294: true, // CANNOT_WRITE_TO_FILE
	363: true, // CANNOT_CREATE_IO_BUFFER
	400: true, // CANNOT_STAT
	424: true, // CANNOT_LINK
	425: true, // SYSTEM_ERROR
	499: true, // S3_ERROR
	531: true, // CANNOT_FSTAT
	586: true, // CANNOT_CREATE_FILE
	734: true, // CANNOT_WRITE_AFTER_BUFFER_CANCELED

	// merges are behind
	252: true, // TOO_MANY_PARTS
	574: true, // DISTRIBUTED_TOO_MANY_PENDING_BYTES
	692: true, // TOO_MANY_MUTATIONS

	// network and replicas
	95:  true, // CANNOT_READ_FROM_SOCKET
	96:  true, // CANNOT_WRITE_TO_SOCKET
	198: true, // DNS_ERROR
	209: true, // SOCKET_TIMEOUT
	210: true, // NETWORK_ERROR
	225: true, // NO_ZOOKEEPER
	244: true, // UNEXPECTED_ZOOKEEPER_ERROR
	254: true, // NO_ACTIVE_REPLICAS
	265: true, // NO_AVAILABLE_REPLICA
	279: true, // ALL_CONNECTION_TRIES_FAILED
	285: true, // TOO_FEW_LIVE_REPLICAS
	286: true, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
	289: true, // REPLICA_IS_NOT_IN_QUORUM
	308: true, // UNEXPECTED_NODE_IN_ZOOKEEPER
	319: true, // UNKNOWN_STATUS_OF_INSERT
	369: true, // ALL_REPLICAS_ARE_STALE
	415: true, // ALL_REPLICAS_LOST
	416: true, // REPLICA_STATUS_CHANGED
	529: true, // NOT_A_LEADER
	659: true, // UNKNOWN_STATUS_OF_TRANSACTION
	999: true, // KEEPER_EXCEPTION

	// exceptions without a code of their own
	1000: true, // POCO_EXCEPTION
	1001: true, // STD_EXCEPTION
	1002: true, // UNKNOWN_EXCEPTION
}
