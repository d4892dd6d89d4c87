package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/detector"
	"github.com/ambit-nhi/ambit/event"
)

// newReplayCommand makes the command. open opens the store that --load writes to and --from reads; settings make the detector of the latter one like
// that of a collector.
func newReplayCommand(open func(context.Context) (loader, error), settings ...func(*detector.Config) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay FILE... | replay --from TIME [--to TIME]",
		Short: "Give recorded or stored observations to the detector and print what it finds",
		Long: `Replay reads recorded observations (JSON Lines, plain or gzip; - is standard input), gives them to the detector in the order of the
lines, and prints the findings, sorted by their first time, with their final counts. All times come from the observations: the same
recordings give the same output, byte for byte.

Each recording counts as watched without a break, on each of its nodes, from the first line of the node to the last. What lies
between two recordings does not. Learning begins with nothing.

With --load the observations, their findings and the time watched are also stored, in the data folder or in the ClickHouse servers of the
configuration. Loading a recording again does not count it twice, as long as the store remembers the inserts. Nothing is stored if any line
is invalid, unless --skip-invalid is given. A detector that runs on the same data takes what was loaded for known when it starts again.

With --from it hunts in the past instead: it gives the detector the stored observations of that time, with the identities as they were then,
of the data folder or of the ClickHouse servers of the configuration, also while ambit up runs. What came in the time before, --baseline, is
learned as normal; its own findings are left out. Nothing is changed by it. Findings that people approved are told again.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("from") || cmd.Flags().Changed("to") {
				if len(args) > 0 {
					return usagef("%s takes recordings or --from, not both", cmd.CommandPath())
				}
				return nil
			}
			if len(args) == 0 {
				return usagef("%s takes recordings, but got none; name a file, or - for standard input", cmd.CommandPath())
			}
			if i := slices.Index(args, "-"); i >= 0 && slices.Contains(args[i+1:], "-") {
				return usagef("%s reads standard input once, but - is named twice", cmd.CommandPath())
			}
			return nil
		},
	}
	form := outputFlag(cmd)
	*form = outputJSON
	cmd.Flags().Lookup("output").DefValue = string(outputJSON)
	cmd.Flags().Lookup("output").Usage = "form of the output; json is one finding per line"
	config := detector.Default()
	learn := &window{config.Learn}
	cmd.Flags().Var(learn, "learn", "observed time after which an identity is stable")
	skip := cmd.Flags().Bool("skip-invalid", false, "skip invalid lines, and say how many there were")
	check := cmd.Flags().Bool("fail-on-findings", false, "exit with 3 if there are findings")
	load := cmd.Flags().Bool("load", false, "also store the observations and findings")
	past := &hunt{baseline: &window{14 * 24 * time.Hour}}
	cmd.Flags().StringVar(&past.from, "from", "", "hunt in what is stored since this time, this day, or so long ago (7d)")
	cmd.Flags().StringVar(&past.to, "to", "", "until this time; by default until now")
	cmd.Flags().Var(past.baseline, "baseline", "how long before --from is learned as normal")
	cmd.Flags().StringSliceVar(&past.rules, "rule", nil, "only findings of these rules")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		if past.asked() {
			for _, set := range settings {
				if err := set(&config); err != nil {
					return err
				}
			}
		}
		if !past.asked() || cmd.Flags().Changed("learn") {
			config.Learn = learn.Duration
		}
		if err := config.Validate(); err != nil {
			return usagef("replay: %w", err)
		}
		if err := checkRules(past.rules); err != nil {
			return err
		}
		if *load && past.asked() {
			return usagef("replay: --load goes with recordings; what --from reads is stored already")
		}
		if *load && slices.Contains(files, "-") {
			return usagef("replay: --load reads its input twice, which standard input cannot; save it to a file")
		}
		r := &replay{
			detector: detector.New(config), skip: *skip, input: cmd.InOrStdin(), progress: newProgress(cmd.ErrOrStderr()),
			findings: map[string]event.Finding{},
		}
		var findings []event.Finding
		var x *hunter
		var err error
		if past.asked() {
			x, findings, err = runHunt(cmd.Context(), r, past, open, time.Now())
		} else {
			findings, err = r.run(cmd.Context(), files)
		}
		if err == nil && *load {
			var to loader
			if to, err = open(cmd.Context()); err == nil {
				err = errors.Join(r.load(cmd.Context(), to, findings), to.Close())
			}
		}
		r.progress.clear()
		if use := new(wrongUse); errors.As(err, &use) {
			return err
		}
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		if x != nil {
			x.remarks(cmd.ErrOrStderr(), past.baseline.Duration)
		} else {
			r.remarks(cmd.ErrOrStderr())
		}
		if len(past.rules) > 0 {
			findings = slices.DeleteFunc(findings, func(f event.Finding) bool { return !slices.Contains(past.rules, f.Rule) })
		}
		if err := printFindings(cmd.OutOrStdout(), *form, findings); err != nil {
			return fmt.Errorf("replay: print findings: %w", err)
		}
		if *check && len(findings) > 0 {
			return errFindings
		}
		return nil
	}
	return cmd
}

// replay is one run over recordings.
type replay struct {
	detector *detector.Detector
	skip     bool
	input    io.Reader // standard input
	progress *progress

	findings map[string]event.Finding // the last word on each
	found    []event.Finding          // buffer
	read     []*recording             // those that were read to the end
	invalid  int
	first    error // of the invalid lines
}

// run detects, and gives the findings in their order.
func (r *replay) run(ctx context.Context, files []string) ([]event.Finding, error) {
	for i, file := range files {
		rec, err := r.open(file)
		if err != nil {
			return nil, err
		}
		boot := strconv.Itoa(i) // one recording is one unbroken stretch of watching, so no two may share it
		err = r.each(ctx, rec, func(o *event.Observation) error {
			s := rec.watch(o)
			r.detector.Cover(o.Node, boot, s.From, s.Until)
			r.keep(r.detector.Observe(o, r.found[:0]))
			return nil
		})
		if err = errors.Join(err, rec.close()); err != nil {
			return nil, err
		}
		r.read = append(r.read, rec)
	}
	r.keep(r.detector.Pending(r.found[:0]))
	findings := make([]event.Finding, 0, len(r.findings))
	for _, f := range r.findings {
		findings = append(findings, f)
	}
	sortFindings(findings)
	return findings, nil
}

func sortFindings(findings []event.Finding) {
	slices.SortFunc(findings, func(a, b event.Finding) int {
		return cmp.Or(a.FirstTime.Compare(b.FirstTime), strings.Compare(a.ID, b.ID))
	})
}

func (r *replay) keep(found []event.Finding) {
	for _, f := range found {
		r.findings[f.ID] = f
	}
	r.found = found
}

// each gives the valid observations of a recording. What is passed to visit is its own to keep.
func (r *replay) each(ctx context.Context, rec *recording, visit func(*event.Observation) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := rec.next()
		if err == io.EOF {
			return nil
		}
		var o event.Observation
		if err == nil {
			o, err = event.ParseObservation(line)
		} else if !errors.Is(err, errLongLine) {
			return fmt.Errorf("%s:%d: %w", rec.name, rec.line, err)
		}
		r.progress.show(rec)
		if err == nil {
			if err = visit(&o); err != nil {
				return err
			}
			continue
		}
		if err = fmt.Errorf("%s:%d: %w", rec.name, rec.line, err); !r.skip {
			return fmt.Errorf("%w; fix or remove the line, or use --skip-invalid", err)
		}
		if r.invalid++; r.first == nil {
			r.first = err
		}
	}
}

// remarks says what was left out.
func (r *replay) remarks(w io.Writer) {
	if r.invalid > 0 {
		fmt.Fprintf(w, "replay: invalid lines skipped: %d; the first is %s\n", r.invalid, oneLine(r.first))
	}
	counters := r.detector.Counters()
	for _, cause := range slices.Sorted(maps.Keys(counters)) {
		fmt.Fprintf(w, "replay: counted by the detector, %s: %d\n", cause, counters[cause])
	}
}

func printFindings(w io.Writer, form output, findings []event.Finding) error {
	if form != outputJSON {
		return print(w, form, nil, findings, replayColumns())
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for i := range findings {
		if err := e.Encode(&findings[i]); err != nil {
			return err
		}
	}
	return nil
}

func replayColumns() []column[event.Finding] {
	type row = event.Finding
	severity := func(f *row) string { return string(f.Severity) }
	rule := func(f *row) string { return f.Rule }
	identity := func(f *row) string { return f.Identity.String() }
	resource := func(f *row) string { return f.Resource.String() }
	count := func(f *row) string { return strconv.FormatUint(f.Count, 10) }
	number := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	return []column[row]{
		{"FIRST TIME", func(f *row) string { return f.FirstTime.Format(time.DateTime) }, "first_time", func(f *row) string { return stamp(&f.FirstTime) }},
		{Name: "last_time", Value: func(f *row) string { return stamp(&f.LastTime) }},
		{"SEVERITY", severity, "severity", severity},
		{"RULE", rule, "rule", rule},
		{"IDENTITY", identity, "identity", identity},
		{"RESOURCE", resource, "resource", resource},
		{"COUNT", count, "count", count},
		{Name: "id", Value: func(f *row) string { return f.ID }},
		{Name: "title", Value: func(f *row) string { return f.Title }},
		{Name: "score", Value: func(f *row) string { return number(f.Score) }},
		{Name: "confidence", Value: func(f *row) string { return number(f.Confidence) }},
		{Name: "node", Value: func(f *row) string { return f.Node }},
		{Name: "explanation", Value: func(f *row) string { return strings.Join(f.Explanation, " ") }},
	}
}
