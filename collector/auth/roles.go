package auth

import (
	"fmt"
	"strings"

	"github.com/ambit-nhi/ambit/collector/api"
	"github.com/ambit-nhi/ambit/event"
)

// Grant gives a role to those whose name fits a pattern, as [event.Fits] says.
type Grant struct {
	Pattern string
	Role    api.Role
}

// ParseGrants reads "pattern=role" each.
func ParseGrants(texts []string) ([]Grant, error) {
	var out []Grant
	for _, text := range texts {
		i := strings.LastIndexByte(text, '=')
		if i <= 0 {
			return nil, fmt.Errorf("%.80q is not <who>=<role>, such as ambit-admins=admin", text)
		}
		role, err := api.ParseRole(text[i+1:])
		if err != nil {
			return nil, fmt.Errorf("%.80q: %w", text, err)
		}
		domain, _, _ := strings.Cut(strings.TrimPrefix(text[:i], "spiffe://"), "/")
		if strings.Trim(text[:i], "*/") == "" || strings.HasPrefix(text, "spiffe://") && strings.Contains(domain, "*") {
			return nil, fmt.Errorf("%.80q gives everybody the role %s; name at least the trust domain", text, role)
		}
		out = append(out, Grant{text[:i], role})
	}
	return out, nil
}

// granted is the highest role that a name has; [api.Nobody] where none fits.
func granted(grants []Grant, name string) (role api.Role) {
	for _, g := range grants {
		if g.Role > role && event.Fits(g.Pattern, name) {
			role = g.Role
		}
	}
	return role
}
