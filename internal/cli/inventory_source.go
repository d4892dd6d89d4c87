package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ambit-nhi/ambit/collector/inventory"
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
