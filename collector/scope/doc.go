// Package scope proposes what an identity needs, from what it was seen to reach, compares that with what it is declared to be allowed, and writes
// scopes as policies of other systems. It is pure: what is known comes in, and text goes out. Package simulate proves what a policy allows.
package scope
