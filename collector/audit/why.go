package audit

import (
	"context"
	"errors"
)

// Why is what a record says of an error, for everybody who may read the trail. What went wrong inside, with names of servers and queries, is for the log.
func Why(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "whoever asked went away before it was done"
	case errors.Is(err, context.DeadlineExceeded):
		return "it took too long"
	}
	return "it could not be done; the collector's log says why"
}
