package natsauth

import (
	"fmt"
	"strings"

	"github.com/nats-io/jwt/v2"

	"github.com/ambit-nhi/ambit/event"
)

// rights are those of deploy/nats/agent.conf, to which a test holds them. node is the node's token of subjects.
func rights(node string) jwt.Permissions {
	return jwt.Permissions{
		Pub: jwt.Permission{Allow: jwt.StringList{
			"ambit.v1.obs.*." + node, "ambit.v1.agent." + node, "ambit.v1.ack." + node,
			"$JS.API.DIRECT.GET.KV_" + event.BucketDecisions, "$JS.API.DIRECT.GET.KV_" + event.BucketDecisions + ".>",
		}},
		Sub: jwt.Permission{Allow: jwt.StringList{"_INBOX.agent." + node + ".>", event.SubjectDecisions}},
	}
}

// userOf is the cluster's name for a service account.
func userOf(account string) (string, error) {
	namespace, name, ok := strings.Cut(account, "/")
	if !ok || namespace == "" || name == "" || strings.ContainsAny(account, ": \t\n") || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is no service account, such as ambit/ambit-agent", account)
	}
	return "system:serviceaccount:" + namespace + ":" + name, nil
}
