package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// What went wrong inside is not told.
func TestWhy(t *testing.T) {
	seen := map[string]bool{}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded, errors.New("dial")} {
		why := Why(fmt.Errorf("insert into ambit.findings at db.internal:9440: %w", err))
		if why == "" || strings.Contains(why, "internal") || strings.Contains(why, "context") || strings.Contains(why, "dial") || seen[why] {
			t.Errorf("%v is told as %q", err, why)
		}
		seen[why] = true
	}
}
