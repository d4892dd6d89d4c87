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
	//go:embed query/finding_counts.sql
	findingCountsSQL string
	//go:embed query/finding_similar.sql
	findingSimilarSQL string
	//go:embed query/finding_days.sql
	findingDaysSQL string
	//go:embed query/finding_first_uses.sql
	findingFirstUsesSQL string
	//go:embed query/finding_places.sql
	findingPlacesSQL string
	//go:embed query/finding_handshakes.sql
	findingHandshakesSQL string
	//go:embed query/seen.sql
	seenSQL string
	//go:embed query/claimed.sql
	claimedSQL string
	//go:embed query/last_use.sql
	lastUseSQL string
	//go:embed query/declarations.sql
	declarationsSQL string
	//go:embed query/open_findings.sql
	openFindingsSQL string
	//go:embed query/exemptions.sql
	exemptionsSQL string
	//go:embed query/reviews.sql
	reviewsSQL string
	//go:embed query/last_reviews.sql
	lastReviewsSQL string
	//go:embed query/last_run.sql
	lastRunSQL string
	//go:embed query/run_items.sql
	runItemsSQL string
	//go:embed query/found_unused.sql
	foundUnusedSQL string
	//go:embed query/links.sql
	linksSQL string
	//go:embed query/reachers.sql
	reachersSQL string
	//go:embed query/reached.sql
	reachedSQL string
	//go:embed query/exposed.sql
	exposedSQL string
	//go:embed query/exposed_identities.sql
	exposedIdentitiesSQL string
	//go:embed query/credentials_all.sql
	credentialsAllSQL string
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
	//go:embed query/restore_declared.sql
	restoreDeclaredSQL string
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
	//go:embed query/scopes.sql
	scopesSQL string
	//go:embed query/audit.sql
	auditSQL string
	//go:embed query/decisions.sql
	decisionsSQL string
	//go:embed query/decision_preview.sql
	previewSQL string
	//go:embed query/identities_like.sql
	identitiesLikeSQL string
	//go:embed query/acks.sql
	acksSQL string
	//go:embed query/acks_summary.sql
	acksSummarySQL string
	//go:embed query/time_to_revoke.sql
	timeToRevokeSQL string
	//go:embed query/activity_hours.sql
	activityHoursSQL string
	//go:embed query/activity_days.sql
	activityDaysSQL string
	//go:embed query/activity_new.sql
	activityNewSQL string
	//go:embed query/map_links.sql
	mapLinksSQL string
	//go:embed query/map_resources.sql
	mapResourcesSQL string
	//go:embed query/map_findings.sql
	mapFindingsSQL string
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
