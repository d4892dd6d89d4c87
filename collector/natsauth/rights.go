package natsauth

import (
	"fmt"
	"strings"

	"github.com/nats-io/jwt/v2"

	"github.com/ambit-nhi/ambit/event"
)

// What the agent of a node may do. NODE stands for the node's token of subjects. deploy/nats/agent.conf, for users with a certificate or credentials, is written
// from here by the test of it.
var (
	mayPublish   = []string{"ambit.v1.obs.*.NODE", "ambit.v1.agent.NODE", "ambit.v1.ack.NODE", directGet, directGet + ".>"}
	maySubscribe = []string{"_INBOX.agent.NODE.>", event.SubjectDecisions}
)

// directGet reads decisions.
const directGet = "$JS.API.DIRECT.GET.KV_" + event.BucketDecisions

// rights are those of one node's agent.
func rights(node string) jwt.Permissions {
	return jwt.Permissions{Pub: jwt.Permission{Allow: of(node, mayPublish)}, Sub: jwt.Permission{Allow: of(node, maySubscribe)}}
}

func of(node string, subjects []string) (out jwt.StringList) {
	for _, s := range subjects {
		out = append(out, strings.ReplaceAll(s, "NODE", node))
	}
	return out
}

// userOf is the cluster's name for a service account.
func userOf(account string) (string, error) {
	namespace, name, ok := strings.Cut(account, "/")
	if !ok || namespace == "" || name == "" || strings.ContainsAny(account, ": \t\n") || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is no service account, such as ambit/ambit-agent", account)
	}
	return "system:serviceaccount:" + namespace + ":" + name, nil
}
