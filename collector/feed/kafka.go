package feed

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// kafka produces records with the identity as key, so that all about one is in one partition, in order. The producer is idempotent.
type kafka struct {
	o      *opening
	client *kgo.Client
}

var validTopic = regexp.MustCompile(`^[A-Za-z0-9._{}-]{1,249}$`)

func checkKafka(c *Config) error {
	var faults []error
	if len(c.Brokers) == 0 {
		faults = append(faults, errors.New("brokers are missing"))
	}
	for _, b := range c.Brokers {
		faults = append(faults, c.checkAddress(b, "brokers", !c.TLS.isZero()))
	}
	if !validTopic.MatchString(c.Topic) || !checkTemplate(c.Topic) {
		faults = append(faults, errors.New("topic is missing, or is no name of a topic, with {severity}, {rule}, {namespace} or {owner} in it, at most"))
	}
	switch c.SASL {
	case "":
		if c.User != "" || !c.Token.isZero() {
			faults = append(faults, errors.New("user and token need sasl"))
		}
	case "plain", "scram-sha-256", "scram-sha-512":
		if c.User == "" || c.Token.isZero() {
			faults = append(faults, errors.New("sasl needs user and token (the password)"))
		}
		if c.SASL == "plain" && c.TLS.isZero() && !c.Plain {
			faults = append(faults, errors.New("sasl plain shows the password to the network: set tls"))
		}
	default:
		faults = append(faults, errors.New("sasl is not one of plain, scram-sha-256, scram-sha-512"))
	}
	return errors.Join(faults...)
}

func openKafka(o *opening) (sender, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.ClientID("ambit"), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordDeliveryTimeout(max(o.Timeout, time.Second)), kgo.ProduceRequestTimeout(max(o.Timeout, time.Second)), kgo.DialTimeout(o.Timeout), kgo.RetryTimeout(o.Timeout),
		kgo.MaxBufferedRecords(maxBatch), kgo.ProducerLinger(0), kgo.UnknownTopicRetries(2), kgo.DisableClientMetrics(),
		kgo.AllowIdempotentProduceCancellation(), // after a failure the client is made anew, and all is sent again
	}
	if !o.TLS.isZero() {
		config, err := o.TLS.config()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(config))
	}
	if o.SASL != "" {
		password, err := o.secret(o.Token)
		if err != nil {
			return nil, err
		}
		switch o.SASL {
		case "plain":
			opts = append(opts, kgo.SASL(plain.Auth{User: o.User, Pass: password}.AsMechanism()))
		case "scram-sha-256":
			opts = append(opts, kgo.SASL(scram.Auth{User: o.User, Pass: password}.AsSha256Mechanism()))
		default:
			opts = append(opts, kgo.SASL(scram.Auth{User: o.User, Pass: password}.AsSha512Mechanism()))
		}
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	return &kafka{o, client}, nil
}

func (k *kafka) close() { k.client.Close() }

func (k *kafka) send(ctx context.Context, docs []Document) (receipt, error) {
	records := make([]*kgo.Record, len(docs))
	for i := range docs {
		records[i] = &kgo.Record{
			Topic: place(k.o.Topic, docs[i].Record, word), Key: []byte(docs[i].subject()), Value: docs[i].Body, // the time is when it is produced: the client measures its age by it
			Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(k.o.maker.contentType)}, {Key: "ambit-uid", Value: []byte(docs[i].UID)}},
		}
	}
	ctx, cancel := context.WithTimeout(ctx, k.o.Timeout)
	defer cancel()
	results := k.client.ProduceSync(ctx, records...)
	failed := map[*kgo.Record]error{}
	for _, r := range results {
		if r.Err != nil {
			failed[r.Record] = r.Err
		}
	}
	for i, r := range records { // what follows a failure in another partition may have arrived, and is sent again
		err := failed[r]
		if err == nil {
			continue
		}
		if errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.RecordListTooLarge) {
			err = &refusal{final: true, err: err}
		}
		return receipt{taken: i}, fmt.Errorf("produce: %w", err)
	}
	last := records[len(records)-1]
	return receipt{len(docs), fmt.Sprintf("stored in %s, partition %d, offset %d", last.Topic, last.Partition, last.Offset)}, nil
}
