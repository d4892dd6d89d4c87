// Package api serves Ambit's HTTP API: identities, their reach, findings, reports, events, health and metrics.
//
// The routes are in routes.go and, for others, in openapi.yaml, which the API serves itself. Answers are JSON, errors are problem documents
// (RFC 9457), lists come in pages.
package api
