// Package story tells Ambit's story with nothing pretended: it starts `ambit up` on a temporary folder, runs small programs in cgroups of their own
// against real listeners, lets them be learned, makes one reach something new and another fall silent, and prints what Ambit saw at each step.
package story

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Act is a part of the story that somebody may wait for.
type Act string

// The acts that Story.Before is called before.
const (
	Start  Act = "start"  // of Ambit, on a folder that is empty yet
	Change Act = "change" // what is normal is learned, and checkout is about to reach something new
	End    Act = "end"    // all is told, and still runs
)

// Story is what Tell needs. All but Binary may be left empty.
type Story struct {
	Binary string    // the program to tell the story of
	Out    io.Writer // for the story
	Err    io.Writer // for what Ambit and the programs complain of; it may be called from several goroutines
	Env    []string  // more for Ambit
	Node   string    // name of this machine
	Parent string    // folder of the cgroup in which the story has its own
	Units  bool      // its cgroups are named like those of systemd's services, by which the programs are known then
	// Addresses to listen at; without them, free ports of loopback.
	Database, Cache, Secret string
	// Before is called before an act, which waits for it. What it says in error ends the story.
	Before func(context.Context, Act, *Stage) error
}

// Tell tells the story, as root. Everything it starts is gone when it returns.
func Tell(ctx context.Context, story Story) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("watching the kernel needs root: run it with sudo")
	}
	if story.Out == nil {
		story.Out = os.Stdout
	}
	if story.Err == nil {
		story.Err = os.Stderr
	}
	if story.Binary, err = filepath.Abs(story.Binary); err != nil {
		return err
	}
	if story.Node == "" {
		if story.Node, err = os.Hostname(); err != nil {
			return err
		}
	}
	if story.Before == nil {
		story.Before = func(context.Context, Act, *Stage) error { return nil }
	}
	s, err := newStage(ctx, &story)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return s.play()
}

func (s *Stage) play() error {
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(s.story.Out, "\n\033[1m[%2.0f s] "+format+"\033[0m\n", append([]any{time.Since(began).Seconds()}, args...)...)
	}

	if err := s.story.Before(s.ctx, Start, s); err != nil {
		return err
	}
	say("Ambit starts on an empty folder. It learns for 12 seconds here, where a day is normal.")
	shop, err := newAuthority(s.Data)
	if err != nil {
		return err
	}
	if err := s.start("--learn", "12s", "--interval", "1s"); err != nil {
		return err
	}

	say("Two programs begin to work, each in a cgroup of its own: checkout talks to a database and a cache, reports to the database.")
	database, err := s.listen("tcp", cmp.Or(s.story.Database, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	cache, err := s.listen("udp", cmp.Or(s.story.Cache, "[::1]:0"))
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
	fmt.Fprintf(s.story.Out, "  database %s, cache %s\n", database, cache)
	orders, err := s.mutual(shop, "payments", "orders")
	if err != nil {
		return err
	}
	if err := s.waitState("stable", checkout, reports); err != nil {
		return err
	}

	say("Their normal reach is learned.")
	if err := s.show("identities", "--query", s.query()); err != nil {
		return err
	}
	if err := s.show("reach", s.Identity("checkout")); err != nil {
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
	if err := s.story.Before(s.ctx, Change, s); err != nil {
		return err
	}
	orders.end()

	say("Now checkout reaches something that it never reached, and reports ends.")
	reports.end()
	secret, err := s.listen("tcp", cmp.Or(s.story.Secret, "127.0.0.1:0"))
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
	fmt.Fprintf(s.story.Out, "  the finding is there %s after the program was started\n", time.Since(at).Round(time.Millisecond))
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
	if err := s.story.Before(s.ctx, End, s); err != nil {
		return err
	}
	say("The end. Everything that was started is being stopped.")
	return nil
}
