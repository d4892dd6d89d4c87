// Command demo tells Ambit's story in under 90 seconds, with nothing pretended: it starts `ambit up` on a temporary folder, runs small programs in
// cgroups of their own against real listeners, lets them be learned, makes one reach something new and another fall silent, and prints what
// Ambit saw at each step.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	binary := flag.String("ambit", "bin/ambit", "the program to tell the story of")
	program := flag.String("program", "", "run as one of the story's programs: addresses to reach, each second, separated by commas")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: demo [-ambit bin/ambit], as root; make demo builds what it needs first")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if flag.NArg() == 4 { // dir name role address
		if err := service(ctx, flag.Arg(0), flag.Arg(1), flag.Arg(2), flag.Arg(3)); err != nil {
			fmt.Fprintln(os.Stderr, flag.Arg(1)+":", err)
			os.Exit(1)
		}
		return
	}
	if *program != "" {
		reach(ctx, *program)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 85*time.Second)
	defer cancel()
	if err := tell(ctx, *binary); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// tell runs the story. Everything it starts is gone when it returns.
func tell(ctx context.Context, binary string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("watching the kernel needs root: run it with sudo")
	}
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("\n\033[1m[%2.0f s] "+format+"\033[0m\n", append([]any{time.Since(began).Seconds()}, args...)...)
	}
	binary, err = filepath.Abs(binary)
	if err != nil {
		return err
	}
	s, err := newStage(ctx, binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	say("Ambit starts on an empty folder. It learns for 12 seconds here, where a day is normal.")
	shop, err := newAuthority(s.data)
	if err != nil {
		return err
	}
	if err := s.start("--learn", "12s", "--interval", "1s"); err != nil {
		return err
	}

	say("Two programs begin to work, each in a cgroup of its own: checkout talks to a database and a cache, reports to the database.")
	database, err := s.listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cache, err := s.listen("udp", "[::1]:0")
	if err != nil {
		return err
	}
	checkout, err := s.run("checkout", "tcp:"+database, "udp:"+cache)
	if err != nil {
		return err
	}
	reports, err := s.run("reports", "tcp:"+database)
	if err != nil {
		return err
	}
	fmt.Printf("  database %s, cache %s\n", database, cache)
	orders, err := s.mutual(shop, "payments", "orders")
	if err != nil {
		return err
	}
	if err := s.waitState("stable", checkout, reports); err != nil {
		return err
	}

	say("Their normal reach is learned.")
	if err := s.show("identities", "--query", "ambit-demo"); err != nil {
		return err
	}
	if err := s.show("reach", s.identity("checkout")); err != nil {
		return err
	}

	say("orders and payments speak mutual TLS 1.3. Nothing of that can be read on the wire, and still both ends are known by their certificates.")
	if err := s.waitMutual("orders", "payments"); err != nil {
		return err
	}
	for _, name := range []string{"orders", "payments"} {
		if err := s.show("reach", "spiffe://"+shopDomain+"/"+name, "--direction", "any"); err != nil {
			return err
		}
	}
	orders.end()

	say("Now checkout reaches something that it never reached, and reports ends.")
	reports.end()
	secret, err := s.listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	checkout.end()
	if _, err := s.run("checkout", "tcp:"+database, "udp:"+cache, "tcp:"+secret); err != nil {
		return err
	}
	at := time.Now()
	if err := s.waitFinding(secret); err != nil {
		return err
	}
	fmt.Printf("  the finding is there %s after the program was started\n", time.Since(at).Round(time.Millisecond))
	if err := s.show("findings"); err != nil {
		return err
	}
	if err := s.showExplanation(); err != nil {
		return err
	}

	say("Which identities have fallen silent? reports, after 8 seconds of nothing; a real window is 90 days.")
	if err := s.waitUnused("reports", 8*time.Second); err != nil {
		return err
	}
	if err := s.show("report", "unused", "--window", "8s"); err != nil {
		return err
	}

	say("And what was watched, and what was lost?")
	if err := s.show("report", "coverage", "--window", "1m"); err != nil {
		return err
	}
	say("The end. Everything that was started is being stopped.")
	return nil
}
