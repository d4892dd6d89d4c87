// Package e2e holds the tests of the whole: the built program, on the live kernel, with its own NATS and ClickHouse, from a connection to a
// finding. They run as root and are named TestKernel….
package e2e
