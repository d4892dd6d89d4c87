package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-nhi/ambit/collector"
	"github.com/ambit-nhi/ambit/collector/natsauth"
)

// natsAuth has a collector tell NATS servers who an agent is, by the token of its Kubernetes service account. Without an issuer, it does not.
type natsAuth struct {
	Issuer          string        `mapstructure:"issuer_file"`      // file with the seed of an account nkey, whose public key the servers have in auth_callout.issuer
	Account         string        `mapstructure:"account"`          // of the servers, that agents belong to
	Audience        string        `mapstructure:"audience"`         // that tokens must be for
	ServiceAccounts []string      `mapstructure:"service_accounts"` // of agents, as namespace/name
	Life            time.Duration `mapstructure:"life"`             // of a connection, after which the agent shows its token again
}

func defaultNATSAuth() natsAuth {
	return natsAuth{Account: "AMBIT", Audience: "ambit-nats", ServiceAccounts: []string{"ambit/ambit-agent"}, Life: time.Hour}
}

// config is for a key and a cluster.
func (a *natsAuth) config(key nkeys.KeyPair, r natsauth.Reviewer) natsauth.Config {
	return natsauth.Config{Issuer: key, Account: a.Account, Audience: a.Audience, ServiceAccounts: a.ServiceAccounts, Life: a.Life, Reviewer: r}
}

// key is the issuer's.
func (a *natsAuth) key() (nkeys.KeyPair, error) {
	seed, err := readSecret(a.Issuer)
	if err != nil {
		return nil, fmt.Errorf("nats.auth.issuer_file: %w", err)
	}
	defer clear(seed)
	key, err := nkeys.FromSeed(seed)
	if err != nil { // of what is in the file nothing is told
		return nil, fmt.Errorf("nats.auth.issuer_file: %s holds no seed of an account nkey, which begins with SA; `ambit decisions key` makes one", a.Issuer)
	}
	return key, nil
}

// validateNATSAuth says what is wrong with nats.auth, without looking at files.
func (c *config) validateNATSAuth() error {
	a := &c.NATS.Auth
	if a.Issuer == "" {
		return nil
	}
	if len(c.NATS.URLs) == 0 {
		return errors.New("nats.auth.issuer_file is set, and the embedded server has no other users: set nats.urls, too, or neither")
	}
	key, err := nkeys.CreateAccount() // stands for the one in the file
	if err == nil {
		_, err = natsauth.New(a.config(key, &natsauth.Cluster{}))
	}
	if err != nil {
		return fmt.Errorf("nats.auth: %w", err)
	}
	return nil
}

func natsAuthMetrics(s *natsauth.Service) prometheus.Collector {
	return collector.Counters("ambit_nats_auth_total", "Agents that asked NATS servers for entry by token, by what became of it.", s.Counters)
}

// startNATSAuth answers NATS servers about agents, before anything that may take long: while nobody answers, no agent gets in.
func (u *up) startNATSAuth(ctx context.Context) error {
	a := &u.config.NATS.Auth
	if a.Issuer == "" {
		return nil
	}
	key, err := a.key()
	if err != nil {
		return usageError(err)
	}
	cluster, err := natsauth.NewCluster(u.config.Kubernetes.Kubeconfig)
	if err != nil {
		return fmt.Errorf("nats.auth: %w", err)
	}
	service, err := natsauth.New(a.config(key, cluster))
	if err != nil {
		return usageError(fmt.Errorf("nats.auth: %w", err))
	}
	u.metrics.MustRegister(natsAuthMetrics(service))
	u.natsAuth = service
	return u.parts.start(ctx, "nats-auth", func(ctx context.Context, ready func(string)) error {
		defer cluster.Close()
		nc, err := u.bus.Connect("ambit auth")
		if err != nil {
			return err
		}
		defer closeConnection(nc)
		return service.Run(ctx, nc, func() { ready("answers for account " + a.Account) })
	})
}
