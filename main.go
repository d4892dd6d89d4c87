// Command ambit watches what every non-human identity on a machine reaches.
package main

import (
	"os"

	"github.com/ambit-nhi/ambit/internal/cli"
)

// version is what a release calls itself: -ldflags "-X main.version=…". Empty: what Go noted of the sources.
var version string

func main() {
	cli.Version = version
	os.Exit(cli.Main(os.Args[1:]))
}
