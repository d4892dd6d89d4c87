package inventory

import (
	"maps"
	"slices"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// Equal says whether two declarations say the same of the same identity, whenever they said it.
func Equal(a, b *event.Declaration) bool {
	return a.Identity == b.Identity && a.Kind == b.Kind && a.Source == b.Source && a.SourceName == b.SourceName && a.Namespace == b.Namespace &&
		a.Name == b.Name && a.Owner == b.Owner && a.Purpose == b.Purpose && a.Environment == b.Environment && a.Domain == b.Domain &&
		a.Privilege == b.Privilege && slices.Equal(a.PrivilegeReasons, b.PrivilegeReasons) && slices.Equal(a.Tokens, b.Tokens) &&
		a.BusinessFunction == b.BusinessFunction && second(a.Created).Equal(second(b.Created)) && second(a.Expires).Equal(second(b.Expires)) &&
		maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// second is as exact as sources are.
func second(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}
