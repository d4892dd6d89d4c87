package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/ambit-nhi/ambit/event"
)

// Evaluation is a question as the AuthZEN Authorization API 1.0 asks it: may this subject do that to this resource? Fields that are not known here are passed over, as
// it wants. The subject's ID is an identity; the resource's ID is a resource such as dns:api.example.com:443/tcp, or its type is the part before the first colon.
type Evaluation struct {
	Subject struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"subject"`
	Action struct {
		Name string `json:"name"` // accept asks about an inbound connection, anything else about an outbound one
	} `json:"action"`
	Resource struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"resource"`
	Context map[string]any `json:"context"`
}

// EvaluationAnswer is the answer, with why.
type EvaluationAnswer struct {
	Decision bool              `json:"decision"`
	Context  EvaluationContext `json:"context"`
}

// EvaluationContext says why an answer is as it is.
type EvaluationContext struct {
	ID          string            `json:"id,omitempty"` // of the decision that denies, or in a dry run would
	Code        string            `json:"code"`
	ReasonAdmin map[string]string `json:"reason_admin"` // by language
}

// postEvaluation answers whether an access is allowed. Every answer is in the audit trail, so nobody asks without saying who asks.
func (s *Server) postEvaluation(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	who := principal(r)
	if who.Name == anonymousName {
		return permit(Principal{anonymousName, Nobody}, Viewer)
	}
	if id := r.Header.Get("X-Request-ID"); id != "" && len(id) <= 128 {
		w.Header().Set("X-Request-ID", id)
	}
	var q Evaluation
	if err := readLenient(w, r, &q); err != nil {
		return err
	}
	for _, field := range []struct{ name, text string }{
		{"subject.type", q.Subject.Type}, {"subject.id", q.Subject.ID}, {"action.name", q.Action.Name}, {"resource.type", q.Resource.Type}, {"resource.id", q.Resource.ID},
	} {
		if field.text == "" {
			return problem(http.StatusBadRequest, "%s is missing", field.name)
		}
		if len(field.text) > maxQuery {
			return problem(http.StatusBadRequest, "%s is longer than %d bytes", field.name, maxQuery)
		}
	}
	id, err := event.ParseIdentity(q.Subject.ID)
	if err != nil {
		return problem(http.StatusBadRequest, "subject.id: %v", err)
	}
	direction := event.Outbound
	if q.Action.Name == "accept" {
		direction = event.Inbound
	}
	more := map[string]string{"action": clip(q.Action.Name)}
	if id := w.Header().Get("X-Request-ID"); id != "" {
		more["request"] = id
	}
	a, err := s.Decisions.Evaluate(r.Context(), who.Name, id, direction, askedResource(q.Resource.Type, q.Resource.ID), s.Scopes, more)
	if err != nil {
		return decisionError(err)
	}
	return writeJSON(w, EvaluationAnswer{a.Allowed, EvaluationContext{a.Decision, a.Code, map[string]string{"en": a.Reason}}})
}

// askedResource is the text of a resource whose kind may stand in its type alone.
func askedResource(kind, id string) string {
	for _, prefix := range []string{"dns:", "svc:", "service:", "net:", "node:", "port:", "spiffe:", "x509:"} {
		if strings.HasPrefix(id, prefix) {
			return id
		}
	}
	return kind + ":" + id
}

// readLenient reads a body whose unknown fields are passed over.
func readLenient(w http.ResponseWriter, r *http.Request, v any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return problem(http.StatusUnsupportedMediaType, "the content type must be application/json")
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	if err := d.Decode(v); err != nil {
		if large := new(http.MaxBytesError); errors.As(err, &large) {
			return problem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBody)
		}
		return problem(http.StatusBadRequest, "the body cannot be read: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return problem(http.StatusBadRequest, "the body cannot be read: there is more than one JSON value")
	}
	return nil
}

// AuthZEN says where what can be asked, as AuthZEN wants it to be found.
type AuthZEN struct {
	Point      string `json:"policy_decision_point"`
	Evaluation string `json:"access_evaluation_endpoint"`
}

func (s *Server) getAuthZEN(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	base := "http://"
	if r.TLS != nil {
		base = "https://"
	}
	base += r.Host
	return writeJSON(w, AuthZEN{base, base + "/access/v1/evaluation"})
}
