// Command demo tells Ambit's story in under 90 seconds.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/internal/demo/story"
)

func main() {
	if story.Program() {
		return
	}
	binary := flag.String("ambit", "bin/ambit", "the program to tell the story of")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: demo [-ambit bin/ambit], as root; make demo builds what it needs first")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 85*time.Second)
	defer cancel()
	if err := story.Tell(ctx, story.Story{Binary: *binary}); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
