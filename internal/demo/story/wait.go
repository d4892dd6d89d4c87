package story

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
)

func (s *Stage) ask(v any, args ...string) error {
	out, err := exec.CommandContext(s.ctx, s.story.Binary, append(args, "-o", "json", "--server", s.URL)...).Output()
	if err != nil {
		return fmt.Errorf("ambit %s: %w", args[0], err)
	}
	return json.Unmarshal(out, v)
}

// wait asks until done says so.
func (s *Stage) wait(what string, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-s.ctx.Done():
			return fmt.Errorf("wait for %s: the story takes too long", what)
		}
	}
}

func (s *Stage) waitState(state string, programs ...*program) error {
	last := ""
	return s.wait("state "+state, func() (bool, error) {
		var page api.Page[api.Identity]
		if err := s.ask(&page, "identities", "--query", s.query()); err != nil {
			return false, err
		}
		there := 0
		line := ""
		for _, i := range page.Items {
			for _, p := range programs {
				if i.Identity.String() == s.Identity(p.name) {
					line += fmt.Sprintf("  %s: %s %.0f %%", p.name, i.State, 100*i.Progress.Fraction)
					if i.State == state {
						there++
					}
				}
			}
		}
		if line != last {
			fmt.Fprintln(s.story.Out, line)
			last = line
		}
		return there == len(programs), nil
	})
}

// waitMutual waits until one service is seen to reach the other, and the other to be reached, by the identities in their certificates.
func (s *Stage) waitMutual(asks, answers string) error {
	id := func(name string) string { return "spiffe://" + shopDomain + "/" + name }
	seen := func(of, other string) (bool, error) {
		var page api.Page[api.Identity]
		if err := s.ask(&page, "identities", "--query", id(of)); err != nil || len(page.Items) == 0 {
			return false, err
		}
		var reach api.Page[api.Reach]
		if err := s.ask(&reach, "reach", id(of), "--direction", "any"); err != nil {
			return false, err
		}
		for _, r := range reach.Items {
			if strings.HasPrefix(r.Resource.String(), id(other)+":") {
				return true, nil
			}
		}
		return false, nil
	}
	return s.wait("both ends of mutual TLS by their certificates", func() (bool, error) {
		there, err := seen(asks, answers)
		if there && err == nil {
			there, err = seen(answers, asks)
		}
		return there, err
	})
}

func (s *Stage) waitFinding(address string) error {
	port := address[strings.LastIndexByte(address, ':'):]
	return s.wait("the finding", func() (bool, error) {
		var page api.Page[event.Finding]
		if err := s.ask(&page, "findings"); err != nil {
			return false, err
		}
		for _, f := range page.Items {
			if strings.Contains(f.Resource.String(), port+"/") {
				return true, nil
			}
		}
		return false, nil
	})
}

func (s *Stage) showExplanation() error {
	var page api.Page[event.Finding]
	if err := s.ask(&page, "findings"); err != nil {
		return err
	}
	for _, f := range page.Items {
		fmt.Fprintf(s.story.Out, "  why: %s\n", strings.Join(f.Explanation, "\n       "))
	}
	return nil
}

func (s *Stage) waitUnused(program string, window time.Duration) error {
	return s.wait("silence", func() (bool, error) {
		var page struct {
			Items []struct {
				Identity string `json:"identity"`
			} `json:"items"`
		}
		if err := s.ask(&page, "report", "unused", "--window", window.String()); err != nil {
			return false, err
		}
		for _, i := range page.Items {
			if i.Identity == s.Identity(program) {
				return true, nil
			}
		}
		return false, nil
	})
}
