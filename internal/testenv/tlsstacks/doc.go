// Package tlsstacks runs the TLS stacks of real programs over loopback, as clients and as servers, and tells what both ends know of each
// connection: the truth that an observer from outside is measured by.
//
// What Debian does not have, fetch.sh gets. The programs in gotls and programs are spoken to by lines of JSON. A server reads one array of Ends,
// says {"listening": [addresses]}, then a Truth for each connection. A client says {"ready": true}, reads arrays of Ends, dials those of an array
// at once, says a Truth for each and {"done": true}. Both end with their input. On each connection the client asks by HTTP/1.1 and the server
// answers "ok" and closes.
package tlsstacks
