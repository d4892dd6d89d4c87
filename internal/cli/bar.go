package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// bar shows on a terminal how far long work is, and nothing elsewhere.
type bar struct {
	w    io.Writer // nil where nobody looks
	told bool
}

func barOf(cmd *cobra.Command) *bar {
	if w := cmd.ErrOrStderr(); terminal(w) != nil {
		return &bar{w: w}
	}
	return &bar{}
}

// barWidth is how many letters the bar has.
const barWidth = 24

// say shows how many of all are done.
func (p *bar) say(what string, done, all int) {
	if p.w == nil || all <= 0 {
		return
	}
	p.told = true
	filled := min(done, all) * barWidth / all
	fmt.Fprintf(p.w, "\r[%s%s] %d of %d %s\x1b[K", strings.Repeat("#", filled), strings.Repeat(" ", barWidth-filled), done, all, what)
}

// wait says what is waited for, and for how long already, until stop is called. What comes at once is not told.
func (p *bar) wait(what string) (stop func()) {
	if p.w == nil {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		began := time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.told = true
				fmt.Fprintf(p.w, "\r%s: %s\x1b[K", oneLineText(what), span(time.Since(began)))
			case <-end:
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// done takes the bar away.
func (p *bar) done() {
	if p.told {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// paint colours a word on a terminal whose user did not ask for none (https://no-color.org).
type paint bool

func paintOf(w io.Writer) paint {
	return paint(terminal(w) != nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

// Colours of words.
const (
	red    = "31"
	yellow = "33"
	green  = "32"
	bold   = "1"
)

func (p paint) in(colour, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
