package decision

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Bounds of a preview.
const (
	previewDays  = 30
	previewItems = 1000 // workloads and resources that are told apart
	previewNames = 100  // identities that are listed
	previewLife  = 15 * time.Minute
)

// Preview says what a decision would have refused lately.
type Preview struct {
	Request     Request          `json:"request"` // as it was understood
	Since       time.Time        `json:"since"`
	Identities  []event.Identity `json:"identities"` // that it names, the first 100
	Connections uint64           `json:"connections"`
	Items       []store.Preview  `json:"items"`                  // by workload and resource, the most connections first
	More        bool             `json:"more,omitempty"`         // there are more than 1000 items; connections are those of these
	Notes       []string         `json:"notes"`                  // what to think of
	NeedsSecond bool             `json:"needs_second,omitempty"` // somebody else must approve it
	Token       string           `json:"token"`                  // that this was shown; good for 15 minutes
}

// Preview looks at what was observed in the last 30 days.
func (s *Service) Preview(ctx context.Context, who string, r Request) (*Preview, error) {
	p, err := s.preview(ctx, who, r)
	s.metrics.request("preview", err)
	return p, err
}

func (s *Service) preview(ctx context.Context, who string, r Request) (*Preview, error) {
	if _, err := s.able(); err != nil {
		return nil, err
	}
	now := s.moment()
	d, err := s.check(&r, now)
	if err != nil {
		return nil, err
	}
	out := &Preview{Request: r, Since: now.Add(-previewDays * 24 * time.Hour), Notes: []string{}}
	if out.Identities, err = s.store.KnownIdentities(ctx, r.Identity, r.Glob, previewNames+1); err != nil {
		return nil, err
	}
	if len(out.Identities) == 0 {
		return nil, s.exists(ctx, &r)
	}
	if out.Items, err = s.store.PreviewDecision(ctx, d, out.Since, previewItems+1); err != nil {
		return nil, err
	}
	if len(out.Items) > previewItems {
		out.Items, out.More = out.Items[:previewItems], true
	}
	if out.Items == nil {
		out.Items = []store.Preview{}
	}
	for i := range out.Items {
		out.Connections += out.Items[i].Connections
	}
	out.NeedsSecond = r.Approve || s.cfg.Approval == ApprovalAll || s.cfg.Approval == ApprovalEnforce && r.Mode == event.Enforce
	out.Notes = append(out.Notes, s.notes(out, d)...)
	if len(out.Identities) > previewNames {
		out.Identities = out.Identities[:previewNames]
	}
	out.Token, err = s.token(who, &r, now.Add(previewLife))
	return out, err
}

func (s *Service) notes(p *Preview, d *event.Decision) []string {
	var notes []string
	if n := len(p.Identities); n > previewNames {
		notes = append(notes, fmt.Sprintf("the pattern names more than %d identities", previewNames))
	} else if d.Glob {
		notes = append(notes, fmt.Sprintf("the pattern names %d identities that are known, and all that will be", n))
	}
	if len(p.Items) == 0 {
		notes = append(notes, fmt.Sprintf("no connection of the last %d days would have been refused", previewDays))
	}
	if t, err := event.ParseTarget(d.To); err == nil && t.Kind == event.TargetDNS {
		notes = append(notes, "connections to an address of this name that were seen without the name are not counted here")
	}
	if p.NeedsSecond {
		notes = append(notes, "another person must approve it")
	}
	if d.Mode == event.DryRun {
		notes = append(notes, "it is a dry run: nothing is refused, and what would be is counted")
	}
	return notes
}

// token proves for a while that somebody was shown the preview of a request.
func (s *Service) token(who string, r *Request, until time.Time) (string, error) {
	mac, err := s.mac(who, r, until.Unix())
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, uint64(until.Unix())), mac...)), nil
}

func (s *Service) mac(who string, r *Request, until int64) ([]byte, error) {
	data, err := json.Marshal(struct {
		Who     string
		Request *Request
		Until   int64
	}{who, r, until})
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	h := hmac.New(sha256.New, s.secret)
	h.Write(data)
	return h.Sum(nil), nil
}

// checkToken says why a request cannot be enforced.
func (s *Service) checkToken(token, who string, r *Request, now time.Time) error {
	if token == "" {
		return fmt.Errorf("%w: to enforce, look at the preview first and send its token, or send \"yes\": true", ErrPreview)
	}
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(data) != 8+sha256.Size {
		return fmt.Errorf("%w: this is no token of a preview", ErrPreview)
	}
	until := int64(binary.BigEndian.Uint64(data))
	mac, err := s.mac(who, r, until)
	if err != nil {
		return err
	}
	switch {
	case !hmac.Equal(mac, data[8:]):
		return fmt.Errorf("%w: the preview was of another request, or shown to somebody else", ErrPreview)
	case now.Unix() > until:
		return fmt.Errorf("%w: the preview was shown more than %s ago; look again", ErrPreview, previewLife)
	}
	return nil
}
