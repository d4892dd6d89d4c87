// Package detector learns what each identity normally reaches, and tells when one leaves that.
//
// It is a pure state machine: observations and proofs of watching go in, findings come out. It does no I/O and has no clock; every time is
// an event's time, so that the same input gives the same findings, live, replayed, or after its state was rebuilt from the store.
//
// An identity is learned while its node is watched: learning time is observed time, and a gap in watching does not count. What it reaches
// while learning is normal. What a stable identity reaches for the first time is a finding, told once, and does not become normal by being
// told. See [Detector.Observe].
package detector
