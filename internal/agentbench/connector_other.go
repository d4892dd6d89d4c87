//go:build !amd64

package main

// connector is written in machine code, of which there is only one kind yet.
func connector(uint16) []byte { panic("agentbench runs on amd64 only") }
