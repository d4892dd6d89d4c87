package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/decision"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/event"
)

// reportConfig says which reports are made on a schedule.
type reportConfig struct {
	KeyFile string `mapstructure:"key_file"` // signs them; empty: report.nk in the data folder, which is made
	Unused  struct {
		Every  string        `mapstructure:"every"` // 24h, 7d, …; off: never
		Window time.Duration `mapstructure:"window"`
		Dir    string        `mapstructure:"dir"` // of the files; empty: reports in the data folder
	} `mapstructure:"unused"`
}

const (
	reportOff     = "off"
	reportKeyName = "report.nk"
	reportFolder  = "reports"
)

func defaultReport() (c reportConfig) {
	c.Unused.Every, c.Unused.Window = "24h", 90*24*time.Hour
	return c
}

// every is the time between two reports, 0 for none.
func (c *reportConfig) every() (time.Duration, error) {
	if c.Unused.Every == reportOff {
		return 0, nil
	}
	d, err := report.ParseWindow(c.Unused.Every)
	if err == nil && d < time.Minute {
		err = errors.New("want a minute at least")
	}
	if err != nil {
		return 0, fmt.Errorf("report.unused.every: %w; or off", err)
	}
	return d, nil
}

func (c *reportConfig) validate() error {
	_, err := c.every()
	if w := c.Unused.Window; w < time.Hour || w > 400*24*time.Hour {
		err = errors.Join(err, fmt.Errorf("report.unused.window %s is not from 1h to 400d", w))
	}
	return err
}

// startReports makes reports on a schedule.
func (u *up) startReports(ctx context.Context, reports *report.Reporter) error {
	c := &u.config.Report
	every, err := c.every()
	if err != nil || every == 0 {
		return err
	}
	key, err := u.config.reportKey()
	if err != nil {
		return fmt.Errorf("report.key_file: %w", err)
	}
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("report.key_file: %w", err)
	}
	folder := c.Unused.Dir
	if folder == "" {
		folder = filepath.Join(u.config.Data, reportFolder)
	}
	s := &collector.Schedule{Bus: u.bus, Every: every, Log: u.log, Report: &unusedSchedule{u, reports, folder, key}}
	return u.parts.start(ctx, "reports", func(ctx context.Context, ready func(string)) error {
		ready(fmt.Sprintf("of unused identities in %s, every %s, signed with %s", folder, report.FormatWindow(every), public))
		return s.Run(ctx)
	})
}

func (c *config) reportKey() (nkeys.KeyPair, error) {
	if c.Report.KeyFile != "" {
		return decision.LoadKey(c.Report.KeyFile)
	}
	return decision.EnsureKey(filepath.Join(c.Data, reportKeyName))
}

// unusedSchedule makes the report of unused identities.
type unusedSchedule struct {
	up      *up
	reports *report.Reporter
	folder  string
	key     nkeys.KeyPair
}

// Last implements [collector.ScheduledReport].
func (s *unusedSchedule) Last(ctx context.Context) (time.Time, error) {
	return s.reports.LastUnused(ctx, time.Now())
}

// Make implements [collector.ScheduledReport].
func (s *unusedSchedule) Make(ctx context.Context, tell func(context.Context, []event.Finding) error) error {
	made, err := s.reports.MakeUnused(ctx, time.Now(), s.up.config.Report.Unused.Window, s.folder, s.key)
	if err == nil {
		err = tell(ctx, made.Findings)
	}
	if err == nil {
		err = s.reports.Keep(ctx, made)
	}
	if err != nil {
		return err
	}
	s.up.log.Info("made a report", "report", made.Run.Report, "file", made.Run.File, "identities", made.Run.Total, "findings", len(made.Findings))
	if made.Held > 0 {
		s.up.log.Warn("a report lists more unused identities than make findings at once; the rest follow with the next reports", "left", made.Held)
	}
	return nil
}

// reuseIdentities is for how long at most reports of a large estate share what was read of all identities. They say when that was.
const reuseIdentities = 30 * time.Second
