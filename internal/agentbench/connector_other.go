//go:build !amd64

package main

// connector is written in machine code, of which there is only one kind yet; main refuses other machines.
func connector(uint16) []byte { return nil }
