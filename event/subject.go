package event

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// JetStream streams and the subjects they hold.
const (
	StreamObservations = "AMBIT_OBS"
	StreamFindings     = "AMBIT_FINDINGS"
	StreamDead         = "AMBIT_DEAD"
	StreamAcks         = "AMBIT_ACKS"
	StreamAudit        = "AMBIT_AUDIT"

	SubjectObservations = "ambit.v1.obs.>"     // ambit.v1.obs.<partition>.<node>
	SubjectAgents       = "ambit.v1.agent.>"   // ambit.v1.agent.<node>
	SubjectDeclared     = "ambit.v1.declare.>" // ambit.v1.declare.<partition>: what inventories and scopes say of identities
	SubjectShared       = "ambit.v1.share.>"   // ambit.v1.share.<partition>: what its detector tells those of the others
	SubjectFindings     = "ambit.v1.finding.>" // ambit.v1.finding.<severity>.<rule>
	SubjectAcks         = "ambit.v1.ack.*"     // ambit.v1.ack.<node>: what nodes did about decisions
	SubjectDead         = "ambit.v1.dead.>"    // ambit.v1.dead.<cause>: messages that were refused
	SubjectAudit        = "ambit.v1.audit.>"   // ambit.v1.audit.<kind>-<verb>: who did what
)

// Decisions are in a key-value bucket. Copies of its changes go to subjects for those who may not make consumers.
const (
	BucketDecisions  = "ambit_decisions"
	SubjectDecisions = "ambit.v1.decision.>" // ambit.v1.decision.<key>
)

// DefaultPartitions is how many partitions identities are spread over.
const DefaultPartitions = 16

// MaxPartitions bounds that.
const MaxPartitions = 1024

// Partition is the partition of an identity: FNV-1a of its URI modulo partitions. It decides which collector learns the identity, so it
// never changes for a given number of partitions.
func Partition(id Identity, partitions int) int {
	h := fnv.New32a()
	h.Write([]byte(id.uri))
	return int(h.Sum32() % uint32(partitions))
}

// ObservationSubject is where a node publishes the batches of a partition.
func ObservationSubject(partition int, node string) string {
	return "ambit.v1.obs." + strconv.Itoa(partition) + "." + NodeToken(node)
}

// DeclaredSubject is where changes of what is declared of the identities of a partition are published.
func DeclaredSubject(partition int) string { return "ambit.v1.declare." + strconv.Itoa(partition) }

// SharedSubject is where the detector of a partition tells those of the others what they must know of its identities.
func SharedSubject(partition int) string { return "ambit.v1.share." + strconv.Itoa(partition) }

// AgentSubject is where a node publishes its heartbeats.
func AgentSubject(node string) string { return "ambit.v1.agent." + NodeToken(node) }

// DecisionSubject is where a copy of a change of a decision goes.
func DecisionSubject(id string) string { return "ambit.v1.decision." + id }

// AckSubject is where a node tells what it did about decisions.
func AckSubject(node string) string { return "ambit.v1.ack." + NodeToken(node) }

// AgentInbox is where answers to a node's agent come. A server lets nobody else listen there.
func AgentInbox(node string) string { return "_INBOX.agent." + NodeToken(node) }

// FindingSubject is where a finding is published.
func FindingSubject(f *Finding) string {
	return fmt.Sprintf("ambit.v1.finding.%s.%s", f.Severity, f.Rule)
}

// AuditSubject is where the record of an action, <kind>.<verb>, is published.
func AuditSubject(action string) string {
	return "ambit.v1.audit." + strings.ReplaceAll(action, ".", "-")
}

// NodeToken makes one subject token of a node's name: subjects are split at dots, and node names often are host names. Where a name had to
// be changed, a hash of it is appended, so that no two nodes share a token.
func NodeToken(node string) string {
	token := pathSegment(node)
	if !strings.Contains(token, ".") {
		return token
	}
	return strings.ReplaceAll(token, ".", "-") + "-" + shortHash(node)
}

// HeartbeatID is the Nats-Msg-Id of a heartbeat, which has a number of its own there.
func HeartbeatID(node, boot string, number uint64) string {
	return node + "/" + boot + "/heartbeat/" + strconv.FormatUint(number, 10)
}

// MessageID is the Nats-Msg-Id of a batch: node, one start of its agent, and the number of the message since then.
func MessageID(node, boot string, sequence uint64) string {
	return node + "/" + boot + "/" + strconv.FormatUint(sequence, 10)
}
