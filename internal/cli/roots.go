package cli

// Mozilla's authorities, for where the machine has none: the image holds no file but the program, and feeds and OpenID providers have public certificates. Where
// there are some, these do not count.
import _ "golang.org/x/crypto/x509roots/fallback"
