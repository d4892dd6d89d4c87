package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
)

// Bounds of the live view.
const (
	topPages   = 5 // of 1,000 identities; more are not looked at each time
	topEdges   = 1000
	defaultTop = 20 // rows, where nobody looks
)

func newTopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top [ID]",
		Short: "Show which identities are busiest now, or the edges of one, anew every few seconds",
		Long: `Show which identities are busiest now, or the edges of one, anew every few seconds until interrupted. Rates are of the time between two looks; at first there
are none. Where the output is no terminal, it is shown once, after two looks.`,
		Example: "  ambit top\n  ambit top checkout --every 5s\n  ambit top --sort sent",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneArg("an identity or a part of its URI")(cmd, args)
		},
	}
	server := serverFlag(cmd)
	every := &window{2 * time.Second}
	cmd.Flags().Var(every, "every", "time between two looks")
	sorting := wordFlag(cmd, "sort", "what comes first", "connections", "failed", "denied", "sent", "received", "last")
	text := cmd.Flags().StringP("query", "q", "", "only identities whose URI holds this text")
	rows := cmd.Flags().Int("rows", 0, "so many rows; 0 is what the terminal holds")
	looks := cmd.Flags().Int("looks", 0, "end after so many looks; 0 is never on a terminal")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if every.Duration < 100*time.Millisecond {
			return usagef("--every %s is below 100ms", every)
		}
		if *rows < 0 || *looks < 0 {
			return usagef("--rows and --looks are not negative")
		}
		c, err := newClient(*server)
		if err != nil {
			return err
		}
		t := &top{client: c, out: cmd.OutOrStdout(), every: every.Duration, sort: cmp.Or(*sorting, "connections"), text: *text, rows: *rows, looks: *looks, now: time.Now}
		if len(args) == 1 {
			if t.one, err = c.find(cmd.Context(), args[0]); err != nil {
				return err
			}
		}
		if t.live = terminal(t.out) != nil; !t.live && t.looks == 0 {
			t.looks = 2
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return t.run(ctx)
	}
	return cmd
}

// top looks again and again, and shows what has changed.
type top struct {
	client *client
	out    io.Writer
	live   bool
	one    event.Identity // zero: all identities
	every  time.Duration
	sort   string
	text   string
	rows   int
	looks  int // 0: until ctx ends
	now    func() time.Time

	before map[string]event.Counts
	at     time.Time
}

// topRow is an identity or an edge, with what it did since the look before.
type topRow struct {
	name   string
	state  string
	counts event.Counts // since then
	last   *time.Time
}

func (t *top) run(ctx context.Context) error {
	paint := paintOf(t.out)
	if t.live { // a screen of its own, so that what was there comes back
		fmt.Fprint(t.out, "\x1b[?1049h\x1b[?25l")
		defer fmt.Fprint(t.out, "\x1b[?25h\x1b[?1049l")
	}
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	for look := 1; ; look++ {
		rows, more, err := t.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var screen bytes.Buffer
		switch {
		case err != nil && (!t.live || errors.As(err, new(*wrongUse))):
			return err
		case err != nil: // it may come back
			fmt.Fprintln(&screen, paint.in(red, oneLine(err)))
		default:
			t.draw(&screen, rows, more, paint)
		}
		switch {
		case t.live:
			fmt.Fprintf(t.out, "\x1b[H\x1b[J%s", screen.Bytes())
		case look == t.looks:
			_, err = t.out.Write(screen.Bytes())
		}
		if look == t.looks {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look reads the counts, and gives what was added since the look before; more says that there are identities that were not looked at.
func (t *top) look(ctx context.Context) (rows []topRow, more bool, err error) {
	type total struct {
		topRow
		counts event.Counts
	}
	var all []total
	if t.one.IsZero() {
		query := url.Values{"limit": {"1000"}}
		if t.text != "" {
			query.Set("q", t.text)
		}
		for page := 0; ; page++ {
			var found api.Page[api.Identity]
			if err := t.client.get(ctx, "/api/v1/identities", query, &found); err != nil {
				return nil, false, err
			}
			for i := range found.Items {
				x := &found.Items[i]
				all = append(all, total{topRow{name: x.Identity.String(), state: stateOf(x), last: x.LastUsed}, event.Counts{
					Connections: x.Connections, Failed: x.Failed, Denied: x.Denied, BytesSent: x.BytesSent, BytesReceived: x.BytesReceived}})
			}
			if more = found.NextCursor != ""; !more || page+1 == topPages {
				break
			}
			query.Set("cursor", found.NextCursor)
		}
	} else {
		query := url.Values{"limit": {strconv.Itoa(topEdges)}, "direction": {"any"}}
		var found api.Page[api.Reach]
		if err := t.client.get(ctx, "/api/v1/identities/"+url.PathEscape(t.one.String())+"/reach", query, &found); err != nil {
			return nil, false, err
		}
		more = found.NextCursor != ""
		for i := range found.Items {
			x := &found.Items[i]
			last := x.LastTime
			all = append(all, total{topRow{name: x.Resource.String(), state: string(x.Direction), last: &last}, event.Counts{
				Connections: x.Connections, Failed: x.Failed, Denied: x.Denied, BytesSent: x.BytesSent, BytesReceived: x.BytesReceived}})
		}
	}
	before, known := t.before, t.before != nil
	t.before = make(map[string]event.Counts, len(all))
	for _, x := range all {
		key := x.state + " " + x.name
		if t.one.IsZero() {
			key = x.name
		}
		t.before[key] = x.counts
		if old, was := before[key]; known && (was || x.counts != event.Counts{}) {
			x.topRow.counts = since(x.counts, old)
		}
		rows = append(rows, x.topRow)
	}
	slices.SortStableFunc(rows, t.compare)
	return rows, more, nil
}

// since is what was added. What is less than before was forgotten meanwhile, and counts nothing.
func since(now, before event.Counts) event.Counts {
	less := func(a, b uint64) uint64 { return a - min(a, b) }
	return event.Counts{
		Connections: less(now.Connections, before.Connections), Failed: less(now.Failed, before.Failed), Denied: less(now.Denied, before.Denied),
		BytesSent: less(now.BytesSent, before.BytesSent), BytesReceived: less(now.BytesReceived, before.BytesReceived),
	}
}

func (t *top) compare(a, b topRow) int {
	by := map[string]func(*topRow) uint64{
		"connections": func(r *topRow) uint64 { return r.counts.Connections }, "failed": func(r *topRow) uint64 { return r.counts.Failed },
		"denied": func(r *topRow) uint64 { return r.counts.Denied }, "sent": func(r *topRow) uint64 { return r.counts.BytesSent },
		"received": func(r *topRow) uint64 { return r.counts.BytesReceived }, "last": func(*topRow) uint64 { return 0 },
	}[t.sort]
	last := func(r *topRow) time.Time {
		if r.last == nil {
			return time.Time{}
		}
		return *r.last
	}
	return cmp.Or(cmp.Compare(by(&b), by(&a)), last(&b).Compare(last(&a)), cmp.Compare(a.name, b.name))
}

func (t *top) draw(w *bytes.Buffer, rows []topRow, more bool, paint paint) {
	now := t.now()
	took := now.Sub(t.at)
	if t.at.IsZero() {
		took = 0
	}
	t.at = now
	height, width := t.rows, 0
	if size, err := t.size(); err == nil {
		width = int(size.Col)
		if height == 0 {
			height = max(int(size.Row)-4, 1)
		}
	}
	if height == 0 {
		height = defaultTop
	}
	what := fmt.Sprintf("%d identities", len(rows))
	if !t.one.IsZero() {
		what = fmt.Sprintf("%s: %d edges", oneLineText(t.one.String()), len(rows))
	}
	if more {
		what += ", and more that are not looked at"
	}
	fmt.Fprintf(w, "%s  %s, by %s\n\n", now.Format(time.TimeOnly), what, t.sort)
	var table bytes.Buffer
	tab := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "CONN/S\tFAILED/S\tDENIED/S\tSENT/S\tRECEIVED/S\tLAST\tSTATE\tNAME")
	rate := func(n uint64) float64 {
		if took <= 0 {
			return 0
		}
		return float64(n) / took.Seconds()
	}
	shown := rows[:min(len(rows), height)]
	for i := range shown {
		r := &shown[i]
		fmt.Fprintf(tab, "%.1f\t%.1f\t%.1f\t%s\t%s\t%s\t%s\t%s\n", rate(r.counts.Connections), rate(r.counts.Failed), rate(r.counts.Denied),
			size(uint64(rate(r.counts.BytesSent))), size(uint64(rate(r.counts.BytesReceived))), ago(r.last, now), oneLineText(r.state), oneLineText(r.name))
	}
	_ = tab.Flush() // into memory
	for i, line := range bytes.Split(bytes.TrimRight(table.Bytes(), "\n"), []byte("\n")) {
		text := string(line)
		if runes := []rune(text); width > 0 && len(runes) > width {
			text = string(runes[:width-1]) + "…"
		}
		switch {
		case i == 0:
			text = paint.in(bold, text)
		case shown[i-1].counts.Denied > 0:
			text = paint.in(red, text)
		case shown[i-1].counts.Failed > 0:
			text = paint.in(yellow, text)
		}
		fmt.Fprintln(w, text)
	}
}

// size is that of the terminal.
func (t *top) size() (*unix.Winsize, error) {
	f, ok := t.out.(*os.File)
	if !ok {
		return nil, errors.New("no terminal")
	}
	return unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
}
