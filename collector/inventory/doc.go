// Package inventory knows what should exist: which identities Kubernetes, SPIRE and lists made by people declare, what rules say of them, and
// how that fits to what was seen.
//
// Parsers, rules and judgement are pure; package kube watches a cluster. What a parser cannot read for certain it refuses,
// with the line and the field, so that a malformed entry never becomes a wrong identity.
package inventory
