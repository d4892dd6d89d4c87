// Command ambit watches what every non-human identity on a machine reaches.
package main

import (
	"os"

	"github.com/ambit-nhi/ambit/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
