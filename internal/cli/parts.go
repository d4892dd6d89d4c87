package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// parts are what runs in this process, in the order of starting. Each part ends before those that it stands on.
type parts struct {
	out    io.Writer // told when a part is ready
	failed chan error
	list   []*part
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done
}

func newParts(out io.Writer) *parts { return &parts{out: out, failed: make(chan error, 1)} }

// start runs a part until it calls ready, which says what there is to say of it. Canceling ctx gives up waiting; the part itself ends with
// stop.
func (p *parts) start(ctx context.Context, name string, run func(ctx context.Context, ready func(detail string)) error) error {
	begin := time.Now()
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &part{name: name, cancel: cancel, done: make(chan struct{})}
	p.list = append(p.list, s)
	ready := make(chan string, 1)
	var once sync.Once
	go func() {
		defer close(s.done)
		s.err = run(inner, func(detail string) { once.Do(func() { ready <- detail }) })
		if inner.Err() == nil {
			err := s.err
			if err == nil {
				err = fmt.Errorf("%s ended by itself", name)
			}
			select {
			case p.failed <- err:
			default:
			}
		}
	}()
	select {
	case detail := <-ready:
		fmt.Fprintf(p.out, "%-10s ready in %5.2fs  %s\n", name, time.Since(begin).Seconds(), detail)
		return nil
	case err := <-p.failed: // of this part or of one before
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns nil when ctx ends, or the error of the first part that ended by itself.
func (p *parts) wait(ctx context.Context) error {
	select {
	case err := <-p.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// stop ends the parts, the last one first, each before the next, and gives the errors of those that ended badly when asked to.
func (p *parts) stop() error {
	var faults []error
	for i := len(p.list) - 1; i >= 0; i-- {
		s := p.list[i]
		select {
		case <-s.done: // it ended by itself, and was heard
			s.cancel()
			continue
		default:
		}
		s.cancel()
		<-s.done
		if s.err != nil && !errors.Is(s.err, context.Canceled) {
			faults = append(faults, fmt.Errorf("stop %s: %w", s.name, s.err))
		}
	}
	return errors.Join(faults...)
}
