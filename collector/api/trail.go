package api

import (
	"context"
	"errors"
	"maps"
	"net/http"

	"github.com/ambit-nhi/ambit/collector/audit"
)

// audited does something that changes what Ambit knows or does. Before, it writes down who does it: what cannot be written down is not done. What goes
// wrong after that is written down as well.
func (s *Server) audited(r *http.Request, action, subject string, detail map[string]string, do func() error) error {
	who := principal(r)
	detail = maps.Clone(detail)
	if detail == nil {
		detail = map[string]string{}
	}
	detail["request_id"] = requestID(r)
	if _, err := s.Audit.Append(r.Context(), who.Name, action, subject, detail); err != nil {
		s.log.Error("write the audit trail", "action", action, "error", err)
		return problem(http.StatusServiceUnavailable, "the audit trail cannot be written, so nothing was changed; the log of the collector says why")
	}
	err := do()
	if err == nil {
		return nil
	}
	detail[audit.Failed] = audit.Why(err)
	if p := new(Problem); errors.As(err, &p) { // it is written for who asked, and hides what is inside
		detail[audit.Failed] = p.Detail
	} else if r.Context().Err() != nil { // no answer says it, which would be in the log
		s.log.Error("do what is in the audit trail", "action", action, "subject", subject, "request", requestID(r), "error", err)
	}
	// It is written down also where it went wrong because the client is gone.
	if _, also := s.Audit.Append(context.WithoutCancel(r.Context()), who.Name, action, subject, detail); also != nil {
		s.log.Error("write the audit trail", "action", action, "error", also)
	}
	return err
}
