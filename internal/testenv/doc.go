// Package testenv gives tests real parts to run against, each gone when the test ends: a NATS server, the engine, cgroups, namespaces.
package testenv
