package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/inventory/kube"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// inventoryRules are validated.
func (c *config) inventoryRules() inventory.Rules {
	rules, _ := inventory.ParseRules(c.Inventory.Rules)
	return rules
}

func (c *config) validateInventory() error {
	_, err := inventory.ParseRules(c.Inventory.Rules)
	if name := c.Inventory.Cluster; name == "" || len(name) > 253 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		err = errors.Join(err, fmt.Errorf("inventory.cluster %q is empty, longer than 253 bytes or has spaces", name))
	}
	return err
}

// startInventory starts what tells the store which service accounts there are, where a Kubernetes API is to be asked. It does not wait for the API.
func (u *up) startInventory(ctx context.Context) error {
	c := u.config
	if !c.kubernetesWanted() {
		return nil
	}
	td, err := event.ParseTrustDomain(c.TrustDomain)
	if err != nil {
		return err
	}
	source, err := kube.New(kube.Config{
		Kubeconfig: c.Kubernetes.Kubeconfig, TrustDomain: td, Template: c.identityTemplate(), Cluster: c.Inventory.Cluster,
		LegacyTokens: c.Inventory.LegacyTokens, Logger: u.log,
	})
	if errors.Is(err, kube.ErrPodIdentities) {
		u.log.Warn("the inventory holds no service accounts", "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	return u.parts.start(ctx, "inventory", func(ctx context.Context, ready func(string)) error {
		ready("of Kubernetes, as " + c.Inventory.Cluster)
		return source.Run(ctx, func(ctx context.Context, all []event.Declaration, refused int) error {
			_, err := u.store.ReplaceInventory(ctx, store.Inventory{
				Source: event.SourceKubernetes, Name: c.Inventory.Cluster, Declarations: all, Refused: refused, Time: time.Now().UTC(),
			})
			return err
		})
	})
}
