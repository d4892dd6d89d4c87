package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// outSubject is where a feed to Ambit's own server publishes, unless its configuration says otherwise. The stream AMBIT_FEEDS keeps it.
const outSubject = "ambit.v1.feed.out."

// natsSender publishes to a stream, which must exist. Of one identity at most one document is on its way, so that they keep their order.
type natsSender struct {
	o  *opening
	js jetstream.JetStream
	nc *nats.Conn // nil where it is Ambit's own
}

var validSubject = regexp.MustCompile(`^[A-Za-z0-9_{}-]+(\.[A-Za-z0-9_{}-]+)*$`)

func checkNATS(c *Config) error {
	c.Subject = cmp.Or(c.Subject, outSubject+c.Name)
	if !validSubject.MatchString(c.Subject) || !checkTemplate(c.Subject) {
		return errors.New("subject is not made of words and dots, with {severity}, {rule}, {namespace} or {owner} in it, at most")
	}
	if strings.HasPrefix(c.Subject, "ambit.") && !strings.HasPrefix(c.Subject, outSubject) {
		return errors.New("subject is one of Ambit's own; feeds may use " + outSubject + "*")
	}
	if (c.User == "") != c.Token.isZero() {
		return errors.New("user and token (the password) go together")
	}
	if c.URL == "" {
		return nil
	}
	return c.checkURL(c.URL, "url", "tls", "nats")
}

func openNATS(o *opening) (sender, error) {
	if o.URL == "" {
		return &natsSender{o: o, js: o.js}, nil
	}
	opts := []nats.Option{nats.Name("ambit feed " + o.Name), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.Timeout(o.Timeout), nats.IgnoreDiscoveredServers(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})} // what matters comes back from publishing
	if o.User != "" {
		password, err := o.secret(o.Token)
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.UserInfo(o.User, password))
	}
	if strings.HasPrefix(o.URL, "tls:") {
		config, err := o.TLS.config()
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.Secure(config))
	}
	nc, err := nats.Connect(o.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &natsSender{o, js, nc}, nil
}

func (s *natsSender) close() {
	if s.nc != nil {
		s.nc.Close()
	}
}

func (s *natsSender) send(ctx context.Context, docs []Document) (receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	done := make([]bool, len(docs))
	var answer string
	var failed error
	for failed == nil {
		acks := map[int]jetstream.PubAckFuture{}
		busy := map[string]bool{}
		for i := range docs {
			who := docs[i].subject()
			if done[i] || busy[who] {
				continue
			}
			busy[who] = true
			m := nats.NewMsg(place(s.o.Subject, docs[i].Record, word))
			m.Data = docs[i].Body
			m.Header.Set("Content-Type", s.o.maker.contentType)
			ack, err := s.js.PublishMsgAsync(m, jetstream.WithMsgID(s.o.Name+"/"+docs[i].UID+"/"+strconv.FormatInt(docs[i].Time.UnixNano(), 10)+"/"+string(docs[i].Life)))
			if err != nil {
				failed = fmt.Errorf("publish: %w", err)
				break
			}
			acks[i] = ack
		}
		if len(acks) == 0 {
			break
		}
		for i, ack := range acks {
			select {
			case a := <-ack.Ok():
				done[i] = true
				answer = fmt.Sprintf("stored in %s as message %d", a.Stream, a.Sequence)
			case err := <-ack.Err():
				failed = fmt.Errorf("publish: %w", err)
			case <-ctx.Done():
				failed = fmt.Errorf("publish: %w", ctx.Err())
			}
		}
	}
	n := 0
	for n < len(done) && done[n] {
		n++
	}
	if failed != nil && errors.Is(failed, jetstream.ErrNoStreamResponse) {
		failed = fmt.Errorf("%w: does a stream there take %s?", failed, s.o.Subject)
	}
	return receipt{n, answer}, failed
}
