// Package web serves Ambit's pages: what reaches what, what is odd, what nobody uses. It renders HTML on the server from the same answers as the API's;
// scripts make it live, and what is read needs none. What it changes, it asks of the API in the name of who is logged in, so that roles, approval and
// the audit trail are the same for all.
package web
