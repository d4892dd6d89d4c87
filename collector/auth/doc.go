// Package auth knows who sends requests to the API: by a static token, by a token of an OpenID provider, or by a SPIFFE certificate. It only says who
// somebody is, and the role; what a role may do is the API's.
package auth
