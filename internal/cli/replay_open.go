package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/detector"
)

// replayCommand is the replay command with a store to load into: that of the configuration, by default the embedded one in the data folder.
func replayCommand() *cobra.Command {
	var flags *pflag.FlagSet
	cmd := newReplayCommand(func(ctx context.Context) (loader, error) { return openLoader(ctx, flags) },
		func(d *detector.Config) error { return configured(flags, d) })
	flags = cmd.Flags()
	flags.String("config", "", "YAML file with more settings, for --load and --from")
	flags.String("data", defaultConfig().Data, "folder of all files that Ambit keeps, for --load and --from")
	return cmd
}

// configured makes a detector's settings those of a collector with this configuration.
func configured(flags *pflag.FlagSet, d *detector.Config) (err error) {
	c, err := loadConfig(flags, "learn")
	if err != nil {
		return err
	}
	d.Learn, d.AlertsPerDay = c.Learn, c.Detector.AlertsPerDay
	if d.Policy, err = detector.ParsePolicy(c.Detector.Policy); err != nil {
		return usageError(err)
	}
	return nil
}

// openLoader opens the store. Of the embedded one, an ambit up that runs on the data folder has the engine; else one is started.
func openLoader(ctx context.Context, flags *pflag.FlagSet) (loader, error) {
	c, err := loadConfig(flags, "learn")
	if err != nil {
		return nil, err
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return nil, err
	}
	if len(c.ClickHouse.Addresses) == 0 {
		lock, err := lockFolder(c.Data)
		if err == nil {
			return startLoader(ctx, c, lock)
		}
		socket := filepath.Join(c.Data, "run", socketName)
		if _, missing := os.Stat(socket); missing != nil || !errors.Is(err, errInUse) {
			return nil, err
		}
		c.ClickHouse.Socket = socket
	}
	s, err := store.Open(ctx, c.ClickHouse.Config)
	if err != nil {
		return nil, err
	}
	if err := s.Migrate(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return storeLoader{s}, nil
}

// startLoader starts an engine for as long as the loader is open.
func startLoader(ctx context.Context, c *config, lock *os.File) (loader, error) {
	u := &up{config: c, log: c.logger(os.Stderr), parts: newParts(io.Discard)}
	u.closed = append(u.closed, lock.Close)
	_, err := c.prepare()
	if err == nil {
		err = u.startStore(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, u.stop())
	}
	return &ownLoader{storeLoader{u.store}, u}, nil
}

// ownLoader ends its engine when it is closed.
type ownLoader struct {
	storeLoader
	up *up
}

// Close implements loader.
func (o *ownLoader) Close() error { return o.up.stop() }
