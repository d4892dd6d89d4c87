// Package store keeps what Ambit knows in ClickHouse, and asks it. It is the only place that speaks to the database, whether that is the embedded
// engine behind its unix socket or a real cluster.
//
// Tables are made by the numbered files in schema, whose comments say why they are as they are; questions are the files in query. Rows go in
// as structs matched by column name. Observations go in under a token, so that repeating an insert after a crash counts nothing twice;
// everything else is a minimum, a maximum or a replacement, and may be repeated at will.
package store
