package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/feed"
	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/report"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/collector/triage"
	"github.com/ambit-nhi/ambit/event"
)

func (c *config) validateFeeds() error {
	_, err := feed.Parse(c.Feeds)
	return err
}

// newFeeds makes the feeds of the configuration, which is validated.
func (u *up) newFeeds(reports *report.Reporter, desk *triage.Desk) (*feed.Feeds, error) {
	list, err := feed.Parse(u.config.Feeds)
	if err != nil {
		return nil, usageError(err)
	}
	f, err := feed.New(feed.Options{
		Feeds: list, Connect: u.bus.Connect, Owner: u.ownerOf(reports.Rules), Metrics: u.metrics, Log: u.log, Version: readBuildInfo().Version, Host: u.config.Node,
		Decide: func(ctx context.Context, id string, kind event.VerdictKind, reason, by string, until time.Time) (event.Finding, error) {
			found, err := desk.Decide(ctx, id, kind, reason, by, until)
			if errors.Is(err, store.ErrNotFound) || errors.Is(err, triage.ErrInvalid) { // it would be so again
				return found, feed.ErrUnknown
			}
			return found, err
		},
	})
	if err != nil {
		return nil, usageError(err)
	}
	return f, nil
}

// ownerOf looks owners up in the inventory, as its rules have them.
func (u *up) ownerOf(rules inventory.Rules) func(ctx context.Context, id event.Identity) (string, error) {
	return func(ctx context.Context, id event.Identity) (string, error) {
		var declared []event.Declaration
		err := u.store.Declarations(ctx, []event.Identity{id}, rules.NeedsPairs(), func(d *event.Declaration) error {
			declared = append(declared, *d)
			return nil
		})
		if err != nil {
			return "", err
		}
		now := time.Now()
		seen := &inventory.Seen{Identity: id, Kind: store.Kind(id), First: now, Last: now}
		if _, path, ok := strings.Cut(id.String(), "/ns/"); ok { // as Kubernetes' own identities have it
			seen.Namespace, seen.ServiceAccount, _ = strings.Cut(path, "/sa/")
		}
		v := rules.Judge(seen, declared, true, now)
		if v == nil {
			return "", nil
		}
		return v.Owner, nil
	}
}

// startFeeds delivers to the feeds' outputs, as the last part of the collector: what the others publish is there.
func (u *up) startFeeds(ctx context.Context, f *feed.Feeds) error {
	names := f.Names()
	if len(names) == 0 {
		return nil
	}
	return u.parts.start(ctx, "feeds", func(ctx context.Context, ready func(string)) error {
		return f.Run(ctx, func() { ready("to " + joined(names)) })
	})
}
