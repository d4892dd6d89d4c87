// The traffic program: see package traffic. Its argument is its name.
package main

import (
	"fmt"
	"os"

	"github.com/ambit-nhi/ambit/internal/testenv/traffic"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: traffic NAME")
		os.Exit(2)
	}
	if err := traffic.Run(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "traffic:", err)
		os.Exit(1)
	}
}
