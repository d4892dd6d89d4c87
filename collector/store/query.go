package store

import (
	_ "embed"
	"encoding/base64"
	"strings"
)

// The questions, one file each.
var (
	//go:embed query/identities.sql
	identitiesSQL string
	//go:embed query/reach.sql
	reachSQL string
	//go:embed query/findings.sql
	findingsSQL string
	//go:embed query/unused.sql
	unusedSQL string
	//go:embed query/watched.sql
	watchedSQL string
	//go:embed query/silent_nodes.sql
	silentNodesSQL string
	//go:embed query/gaps.sql
	gapsSQL string
	//go:embed query/losses.sql
	lossesSQL string
	//go:embed query/inventory.sql
	inventorySQL string
	//go:embed query/inventory_sources.sql
	inventorySourcesSQL string
	//go:embed query/restore_nodes.sql
	restoreNodesSQL string
	//go:embed query/restore_identities.sql
	restoreIdentitiesSQL string
	//go:embed query/attribution.sql
	attributionSQL string
	//go:embed query/unattributed.sql
	unattributedSQL string
	//go:embed query/credentials.sql
	credentialsSQL string
	//go:embed query/last_credentials.sql
	lastCredentialsSQL string
	//go:embed query/reach_tls.sql
	reachTLSSQL string
	//go:embed query/forgotten.sql
	forgottenSQL string
	//go:embed query/audit.sql
	auditSQL string
	//go:embed query/restore_reach.sql
	restoreReachSQL string
)

// cursor makes the opaque text that stands for the last key of a page.
func cursor(key ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(key, "\x00")))
}

// parseCursor reads a cursor of n parts; the empty one is n empty parts.
func parseCursor(text string, n int) ([]string, error) {
	if text == "" {
		return make([]string, n), nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, ErrCursor
	}
	key := strings.Split(string(b), "\x00")
	if len(key) != n {
		return nil, ErrCursor
	}
	return key, nil
}

// bound gives the limit of a page: standard where none is asked for, never more than most.
func bound(limit, standard, most int) int {
	if limit <= 0 {
		return standard
	}
	return min(limit, most)
}

// page cuts off the row that was asked for only to learn whether more follow.
func page[T any](rows []T, limit int, key func(*T) string) ([]T, string) {
	if len(rows) <= limit {
		return rows, ""
	}
	rows = rows[:limit]
	return rows, key(&rows[limit-1])
}
